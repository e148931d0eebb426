"""What each rule says of the last packet of a conversation, and what it takes for that. tests/captures/test_analysis.py
holds the same conversations, and random ones, to tshark."""

from __future__ import annotations

from pathlib import Path

import pytest
from faultlab.captures.tcp_marks import Mark

from tests.support.conversations import Segment, analysed, marks
from tests.support.telling_conversations import TELLING


@pytest.mark.parametrize("name", TELLING)
def test_marks(tmp_path: Path, name: str) -> None:
    expected, segments = TELLING[name]
    assert marks(tmp_path, *segments)[-1] == expected


def test_a_duplicate_ack_has_its_number(tmp_path: Path) -> None:
    acks = [Segment(k, "B", "A", 5000, 1000) for k in range(4)]
    found = analysed(tmp_path, Segment(0, "A", "A", 1000, 5000, 10), *acks).marked
    assert found.duplicate.tolist() == [0, 0, 1, 2, 3]
    assert [Mark(bits) for bits in found.marks.tolist()] == [Mark(0)] * 2 + [Mark.DUPLICATE_ACK] * 3


def test_one_connection_says_nothing_of_another(tmp_path: Path) -> None:
    one = [Segment(k, "A", "A", 1000 + 10 * k, 5000, 10) for k in range(3)]
    other = [Segment(k, "A", "A", 10 * k, 9, 10, host=1) for k in range(3)]
    both = [segment for pair in zip(one, other, strict=True) for segment in pair]
    assert marks(tmp_path, *both) == [Mark(0)] * 6
