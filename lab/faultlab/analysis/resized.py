"""Segments that have other sizes at the far end, because a device cut or joined them (offload: TSO, GSO, GRO, LRO).

Whoever puts a stream's bytes into segments, their sequence numbers stay (RFC 9293, 3.4): a segment arrived where each
of its bytes did, in whatever segments.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from faultlab.analysis.subject import Side
from faultlab.captures.columns import I64, Flags
from faultlab.network.packets import SYN, TCP, ahead

_STREAM = ("source_high", "source_low", "target_high", "target_low", "source_port", "target_port")


@dataclass
class Resized:
    """Segments that were sent and arrived in others: `sent` and `delivered` are places in the lists of packets, of each
    the segment and the arrival of its first byte; `changed` says whether its bytes differ. `pieces` are the arrivals
    that hold bytes of a segment that was sent, of one that did not arrive whole too.
    """

    sent: list[int] = field(default_factory=list)
    delivered: list[int] = field(default_factory=list)
    changed: list[bool] = field(default_factory=list)
    pieces: set[int] = field(default_factory=set)


def resized(sent: Side, sent_at: I64, delivered: Side, delivered_at: I64, of: I64, whole: bool) -> Resized:
    """Among the packets that have no counterpart by `of`. Bytes are compared where both captures hold them `whole`."""
    found = Resized()
    without = np.ones(len(sent_at), bool)
    without[of[of >= 0]] = False
    ours, theirs = _streams(sent, sent_at, without), _streams(delivered, delivered_at, of < 0)
    for stream, segments in ours.items():
        if stream in theirs:
            base = segments[0].begin
            arrivals = _Arrivals(_counted_on(theirs[stream], base))
            for one in _counted_on(segments, base):
                _take(found, one, arrivals, sent if whole else None, delivered)
    return found


@dataclass
class _Segment:
    """Bytes `begin` to `end` of a stream: `place` in the list of packets, `index` in the capture, `at` in the frame."""

    begin: int
    end: int
    place: int
    index: int
    at: int

    def data(self, side: Side, begin: int, end: int) -> bytes:
        return side.frame(self.index)[self.at + begin - self.begin : self.at + end - self.begin]


class _Arrivals:
    """The bytes of a stream that arrived and are not yet taken for those of a segment, in order; some came twice."""

    def __init__(self, segments: Iterator[_Segment]) -> None:
        self.by_place = {one.place: one for one in segments}
        self._left: list[tuple[int, ...]] = sorted((one.begin, one.place, one.end) for one in self.by_place.values())
        self._longest = max(one.end - one.begin for one in self.by_place.values())

    def covering(self, begin: int, end: int) -> Iterator[tuple[int, int, int]]:
        """(place, from, to): the arrivals of these bytes, as far as they go without a gap."""
        while begin < end:
            at = bisect_right(self._left, (begin, 1 << 62, 0)) - 1
            while at >= 0 and self._left[at][2] <= begin:
                if begin - self._left[at][0] > self._longest:
                    return
                at -= 1
            if at < 0:
                return
            until = min(end, self._left[at][2])
            yield self._left[at][1], begin, until
            begin = until

    def within(self, begin: int, end: int) -> Iterator[int]:
        """The places of the arrivals that hold any of these bytes."""
        for at in range(bisect_left(self._left, (begin - self._longest,)), bisect_left(self._left, (end,))):
            if self._left[at][2] > begin:
                yield self._left[at][1]

    def take(self, place: int, begin: int, end: int) -> None:
        """These bytes of an arrival are a segment's; what is left of it stays."""
        first = bisect_left(self._left, (begin - self._longest,))
        rest = next(one for one in islice(self._left, first, None) if one[1] == place and one[0] <= begin < one[2])
        self._left.remove(rest)
        for left in ((rest[0], place, begin), (end, place, rest[2])):
            if left[0] < left[2]:
                insort(self._left, left)


def _take(found: Resized, one: _Segment, arrivals: _Arrivals, sent: Side | None, delivered: Side) -> None:
    parts = list(arrivals.covering(one.begin, one.end))
    found.pieces.update(arrivals.within(one.begin, one.end))
    if not parts or parts[-1][2] < one.end:
        return
    found.sent.append(one.place)
    found.delivered.append(parts[0][0])
    came = (arrivals.by_place[place].data(delivered, begin, end) for place, begin, end in parts)
    found.changed.append(sent is not None and one.data(sent, one.begin, one.end) != b"".join(came))
    for part in parts:
        arrivals.take(*part)


def _streams(side: Side, at: I64, wanted: Flags) -> dict[tuple[int, ...], list[_Segment]]:
    """Of the wanted packets the segments with data, by stream, with the numbers that they have in the packet."""
    columns = side.columns
    places = np.flatnonzero(wanted & (columns.protocol[at] == TCP) & (columns.payload[at] > 0))
    index = at[places]
    begin = columns.seq[index].astype(np.int64) + (columns.flags[index] & SYN != 0)
    keys = zip(*(getattr(columns, name)[index].tolist() for name in _STREAM), strict=True)
    rows = (begin, begin + columns.payload[index], places, index, columns.payload_at[index])
    found: dict[tuple[int, ...], list[_Segment]] = {}
    for key, *row in zip(keys, *(one.tolist() for one in rows), strict=True):
        found.setdefault(key, []).append(_Segment(*row))
    return found


def _counted_on(segments: list[_Segment], base: int) -> Iterator[_Segment]:
    """With numbers that go on past 2^32, each near the one before (RFC 9293, 3.4)."""
    for one in segments:
        size = one.end - one.begin
        base += ahead(one.begin, base)
        yield _Segment(base, base + size, one.place, one.index, one.at)
