"""Conversations of two ends that lose, repeat, reorder, acknowledge too much, close and open their windows."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from tests.support.conversations import Segment


def conversations(seed: int, count: int, packets: int = 14) -> Iterator[Segment]:
    """So many, one after another, each of another host's."""
    draw = Random(seed)
    for host in range(count):
        start = host * 1e5
        for segment in _conversation(draw, packets, host):
            yield Segment(start + segment.ms, *[getattr(segment, name) for name in _REST])


_REST = [name for name in Segment.__dataclass_fields__ if name != "ms"]


def _conversation(draw: Random, packets: int, host: int) -> Iterator[Segment]:
    next_seq, acks, windows, now = {"A": 1000, "B": 5000}, {"A": 5000, "B": 1000}, {"A": 50, "B": 50}, 0.0
    if draw.random() < 0.7:
        now = draw.choice([1.0, 10.0, 50.0])
        yield Segment(0, "A", "S", 999, 0, 0, 50, host=host)
        yield Segment(now * 0.6, "B", "SA", 4999, 1000, 0, 50, host=host)
        yield Segment(now, "A", "A", 1000, 5000, 0, 50, host=host)
    for _ in range(packets):
        now += draw.choice([0.5, 0.5, 2, 5, 15, 30, 250])
        end = draw.choice("AAB")
        luck = draw.random()
        if luck < 0.25:
            acks[end] = next_seq["B" if end == "A" else "A"]
        elif luck < 0.32:
            acks[end] += draw.choice([-10, -1, 1, 10])
        if draw.random() < 0.1:
            windows[end] = draw.choice([0, 0, 20, 30, 50])
        flags, ahead, size = _kind(draw)
        seq = next_seq[end] + ahead
        yield Segment(now, end, flags, seq, acks[end], size, windows[end], host=host)
        next_seq[end] = max(next_seq[end], seq + size + ("F" in flags or "S" in flags))


def _kind(draw: Random) -> tuple[str, int, int]:
    """Flags, how far it is from the next sequence number, size."""
    return draw.choice(
        [("A", 0, 0)] * 24
        + [("A", 0, size) for size in (10, 10, 10, 1, 20)] * 6
        + [("A", ahead, 10) for ahead in (10, 20, 1)] * 3
        + [("A", -back, size) for back in (10, 20, 30, 1, 11, 21) for size in (10, 1, 20)]
        + [("A", -1, 0), ("A", -1, 1)] * 2
        + [("A", ahead, 0) for ahead in (-10, 10, -1, 1)]
        + [("FA", 0, 0), ("FA", 0, 0), ("FA", 0, 10), ("FA", -10, 10), ("R", 0, 0), ("RA", 0, 0), ("SA", 0, 0)]
    )
