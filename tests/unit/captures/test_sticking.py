from __future__ import annotations

import numpy as np
from faultlab.captures.sticking import messages_in


def parts(*segments: tuple[int, int], ends: list[int]) -> list[int]:
    offsets, sizes = np.array(segments, np.int64).T
    return messages_in(offsets, sizes, np.array(ends, np.int64)).tolist()


def test_a_segment_for_each_message() -> None:
    assert parts((0, 10), (10, 5), ends=[10, 15]) == [1, 1]


def test_messages_stick_together() -> None:
    assert parts((0, 15), (15, 1), ends=[5, 10, 16]) == [3, 1]


def test_a_message_in_pieces() -> None:
    assert parts((0, 4), (4, 7), (11, 1), ends=[10, 12]) == [1, 2, 1]


def test_what_follows_the_last_end_is_one_message() -> None:
    assert parts((0, 20), (20, 9), ends=[10]) == [2, 1]


def test_an_empty_segment_holds_none() -> None:
    assert parts((10, 0), ends=[10]) == [0]
