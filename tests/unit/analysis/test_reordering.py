"""Reordering by the examples that RFC 4737 and RFC 5236 give, and by their definitions read word for word."""

from __future__ import annotations

import numpy as np
import pytest
from faultlab.analysis.reordering import density, reordering
from hypothesis import given, settings
from hypothesis import strategies as st

ARRIVALS = {
    # RFC 4737: the arrivals, the extent of each reordered packet, and for how many arrivals before it all were later.
    "7.1": ([1, 2, 3, 5, 6, 7, 8, 4, 9, 10], {4: 4}, {4: 4}),
    "7.2": ([1, 2, 3, 4, 7, 5, 6, 8, 9, 10], {5: 1, 6: 2}, {5: 1, 6: 0}),
    "7.3": ([1, 2, 3, 7, 8, 9, 10, 4, 5, 6, 11], {4: 4, 5: 5, 6: 6}, {4: 4, 5: 0, 6: 0}),
    "7.4": ([1, 2, 3, 6, 7, 4, 5, 8, 9, 10, 12, 13, 11, 14, 15, 16], {4: 2, 5: 3, 11: 2}, {4: 2, 5: 0, 11: 2}),
    "5.3": ([1, 2, 3, 7, 8, 9, 4, 5, 6], {4: 3, 5: 4, 6: 5}, {4: 3, 5: 0, 6: 0}),
}
DENSITIES = {
    # RFC 5236: the arrivals without copies, DT, and how often each displacement.
    "3.1, 1": ([2, 1, 4, 5, 3], 5, {-1: 3, 1: 1, 2: 1}),
    "3.3": ([1, 4, 3, 5, 8, 7, 6], 5, {-2: 1, -1: 1, 0: 3, 1: 1, 2: 1}),
    "4, 5": ([1, 2, 5, 3, 6], 5, {-2: 1, 0: 3, 2: 1}),
    "8, a": ([1, 4, 2, 5, 3, 6, 7, 8], 4, {-2: 1, -1: 1, 0: 4, 1: 1, 2: 1}),
    "8, b": ([1, 2, 4, 5, 6, 7], 3, {0: 6}),
    "8, c": ([1, 3, 2, 4, 5], 2, {-1: 1, 0: 3, 1: 1}),
    "6, a rogue packet": ([1, 5430, 2, 3, 4, 5], 4, {0: 5}),
    "3.4, one that is later than DT": ([2, 3, 4, 5, 6, 1], 3, {0: 5}),
}


@pytest.mark.parametrize("section", ARRIVALS)
def test_the_examples_of_rfc_4737(section: str) -> None:
    arrived, extents, n = ARRIVALS[section]
    found = reordering(np.array(arrived))
    late = [number for number, is_late in zip(arrived, found.reordered, strict=True) if is_late]
    assert dict(zip(late, found.extents.tolist(), strict=True)) == extents
    assert dict(zip(late, found.n.tolist(), strict=True)) == n
    assert found.ratio == len(extents) / len(arrived)
    assert found.degree(1) == sum(one >= 1 for one in n.values()) / len(arrived)


@pytest.mark.parametrize("section", DENSITIES)
def test_the_examples_of_rfc_5236(section: str) -> None:
    arrived, threshold, frequencies = DENSITIES[section]
    total = sum(frequencies.values())
    assert density(np.array(arrived), threshold) == {d: count / total for d, count in frequencies.items()}


def test_nothing_and_nothing_out_of_order() -> None:
    assert reordering(np.zeros(0, np.int64)).density == {}
    assert reordering(np.zeros(0, np.int64)).ratio == 0
    in_order = reordering(np.array([2, 3, 5, 9]))
    assert (in_order.count, in_order.ratio, in_order.density) == (0, 0, {0: 1.0})


arrivals = st.lists(st.integers(1, 30), unique=True, max_size=20)


@given(arrivals)
@settings(max_examples=300, derandomize=True)
def test_each_definition_word_for_word(numbers: list[int]) -> None:
    found = reordering(np.array(numbers, np.int64))
    late = [i for i, number in enumerate(numbers) if any(before > number for before in numbers[:i])]
    assert np.flatnonzero(found.reordered).tolist() == late
    assert found.extents.tolist() == [i - min(j for j in range(i) if numbers[j] > numbers[i]) for i in late]
    assert found.n.tolist() == [
        max(n for n in range(i + 1) if all(numbers[j] > numbers[i] for j in range(i - n, i))) for i in late
    ]


@given(arrivals)
@settings(max_examples=300, derandomize=True)
def test_without_a_threshold_a_receive_index_is_the_next_number_that_arrives_at_all(numbers: list[int]) -> None:
    found = density(np.array(numbers, np.int64), threshold=30)
    displacements = [index - number for index, number in zip(sorted(numbers), numbers, strict=True)]
    assert found == {d: displacements.count(d) / len(numbers) for d in sorted(set(displacements))}


@given(arrivals, st.integers(0, 5))
@settings(max_examples=300, derandomize=True)
def test_a_threshold_bounds_every_displacement(numbers: list[int], threshold: int) -> None:
    found = density(np.array(numbers, np.int64), threshold)
    assert all(abs(displacement) <= threshold for displacement in found)
    assert not numbers or sum(found.values()) == pytest.approx(1)
