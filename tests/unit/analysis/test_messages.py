"""Messages in segments: whole, in part, and cut at each place that a frame has."""

from __future__ import annotations

import pytest
from faultlab.analysis.messages import Message, contents

LENGTH2 = [Message(0, 0, 2, 12, 12), Message(1, 12, 14, 24, 24), Message(2, 24, 26, 36, 36)]
LINE = [Message(0, 0, 0, 10, 11), Message(1, 11, 11, 21, 22)]


@pytest.mark.parametrize(
    ("begin", "end", "expected"),
    [
        (0, 12, "message 0"),
        (0, 36, "messages 0 to 2"),
        (12, 13, "1 of the 2 length bytes of message 1"),
        (0, 13, "message 0; 1 of the 2 length bytes of message 1"),
        (12, 14, "only the length of message 1"),
        (12, 17, "3 of the 10 bytes of message 1"),
        (13, 24, "the rest of message 1"),
        (13, 20, "a part of message 1"),
        (13, 36, "the rest of message 1; message 2"),
        (0, 26, "messages 0 to 1; only the length of message 2"),
        (36, 40, ""),
    ],
)
def test_length_prefixed(begin: int, end: int, expected: str) -> None:
    assert contents(LENGTH2, begin, end) == expected


@pytest.mark.parametrize(
    ("begin", "end", "expected"),
    [(0, 11, "message 0"), (0, 10, "message 0 without its end mark"), (10, 22, "the rest of message 0; message 1")],
)
def test_lines(begin: int, end: int, expected: str) -> None:
    assert contents(LINE, begin, end) == expected


def test_a_stream_of_which_no_message_is_known() -> None:
    assert contents([], 0, 10) == ""
