"""Loss and its bursts by RFC 3357's examples, and Wilson's interval by published figures."""

from __future__ import annotations

import numpy as np
import pytest
from faultlab.analysis.losses import losses, wilson


def test_the_example_of_rfc_3357_section_5() -> None:
    # Packets 2, 5, 7, 9 and 10 of ten are lost.
    found = losses(np.isin(np.arange(1, 11), [2, 5, 7, 9, 10]))
    assert (found.sent, found.lost, found.rate) == (10, 5, 0.5)
    assert found.distances.tolist() == [3, 2, 2, 1]
    assert found.periods.tolist() == [1, 1, 1, 2]


def test_the_example_of_rfc_3357_section_4() -> None:
    found = losses(np.array([letter == "x" for letter in "rrrxrrxxxrxrrxxx"]))
    assert found.periods.tolist() == [1, 3, 1, 3]


@pytest.mark.parametrize("pattern, periods", [("", []), ("rr", []), ("x", [1]), ("xx", [2]), ("xrx", [1, 1])])
def test_the_ends(pattern: str, periods: list[int]) -> None:
    assert losses(np.array([letter == "x" for letter in pattern], bool)).periods.tolist() == periods


@pytest.mark.parametrize(
    "count, total, low, high",
    # R. G. Newcombe (1998), Statistics in Medicine 17, 857-872, table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilsons_interval(count: int, total: int, low: float, high: float) -> None:
    assert wilson(count, total) == pytest.approx((low, high), abs=5e-5)
    assert wilson(total - count, total) == pytest.approx((1 - high, 1 - low), abs=5e-5)


def test_no_sample_says_nothing() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
