"""Each direction of a TCP connection as its own end saw it: what it sent, and the answers as they reached it.

That takes both captures: `sent` to know when a segment left, `delivered` to know when its sender heard of it. What a
single capture tells of an observer in the middle is in `faultlab.captures.tcp_facts`.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from faultlab.analysis.subject import Side, Subject
from faultlab.captures.columns import I32, I64, Columns, Flags
from faultlab.captures.flows import FlowColumns
from faultlab.captures.tcp import unwrapped
from faultlab.captures.tcp_marks import Heard
from faultlab.network.packets import ACK, FIN, MASK, SYN, TCP

_NONE: I64 = np.zeros(0, np.int64)


class SentStream:
    """One direction, in bytes from its first sequence number on.

    `places` are its packets in `Subject.main`. Of each: `start` and `end` in the stream, whether it `says` anything
    (bytes, SYN or FIN), and whether that is said `again`: what lies below the highest byte sent before, for the capture
    is the sender's own, so that no network has changed the order (RFC 9293, 3.4). Times are ns since the first packet.
    """

    def __init__(self, sent: Side, places: I64, delivered: Side | None, answers: I64) -> None:
        """`answers` are the other direction's packets in `delivered`."""
        columns = sent.columns
        flags = columns.flags[places]
        takes = columns.payload[places].astype(np.int64) + (flags & SYN != 0) + (flags & FIN != 0)
        first = int(columns.seq[places[0]])
        self.places = places
        self.sent_ns = sent.time_ns[places]
        self._came_ns = sent.outer_ns[places]
        seq = columns.seq[places].astype(np.int64)
        self.start: I64 = unwrapped(seq, first)
        self.end: I64 = self.start + takes
        self.says: Flags = takes > 0
        before = np.maximum.accumulate(self.end)[:-1]
        self.again: Flags = self.says & np.concatenate(([False], self.start[1:] < before))
        self.heard_ns, self._told_ns, self.heard = (
            (_NONE, _NONE, _NONE) if delivered is None else self._heard(delivered, answers, first)
        )
        """When, and how far, its sender knew it to have arrived."""

    def _heard(self, delivered: Side, answers: I64, first: int) -> tuple[I64, I64, I64]:
        came = answers[(delivered.columns.flags[answers] & ACK) != 0]
        came = came[np.argsort(delivered.time_ns[came], kind="stable")]
        known = (delivered.columns.ack[came].astype(np.int64) - first) & MASK
        sane = known <= self.end.max()  # a fault may have changed the number
        came = came[sane]
        return delivered.time_ns[came], delivered.outer_ns[came], np.maximum.accumulate(known[sane])

    @cached_property
    def round_trips(self) -> tuple[I64, I64]:
        """(when it was over, how long it took): from a segment's sending to the first acknowledgement of it that its
        sender got (RFC 6298, 3).

        An acknowledgement measures the newest segment that it covers, and none where anything that it covers was sent
        twice: nobody knows which of the two was answered (Karn's rule, RFC 6298, 3), nor how long the rest waited.
        """
        anew = np.flatnonzero(self.says & ~self.again)
        known = np.concatenate(([0], self.heard))
        advances = np.flatnonzero(np.diff(known) > 0)
        newest = np.searchsorted(self.end[anew], self.heard[advances], side="right") - 1
        clear = ~self._sent_again_between(known[advances], self.heard[advances])
        measures = (newest >= 0) & clear
        segment, over = anew[newest[measures]], advances[measures]
        _, once = np.unique(segment, return_index=True)
        return self.heard_ns[over[once]], self._told_ns[over[once]] - self._came_ns[segment[once]]

    def _sent_again_between(self, begin: I64, end: I64) -> Flags:
        """Whether any byte from `begin` to before `end` was sent again, of each such pair."""
        started = np.searchsorted(np.sort(self.start[self.again]), end, side="left")
        ended = np.searchsorted(np.sort(self.end[self.again]), begin, side="right")
        return np.asarray(started > ended)


class Streams:
    """The streams of a subject, by its packets' flows and sides (0: who began), as `faultlab.captures.tcp` found them.

    `whole` says whether there is what it takes: both captures, and numbers of the ledger in them.
    """

    def __init__(self, subject: Subject, flow: I32, side: NDArray[np.int8]) -> None:
        main, delivered = subject.main, subject.delivered
        self._main = main
        self.whole = delivered is not None and main is subject.sent and bool(main.ids.any())
        self._delivered = delivered if self.whole else None
        streams = np.where((flow >= 0) & (main.columns.protocol == TCP), flow.astype(np.int64) * 2 + side, -1)
        self._sent_by = _Grouped(streams)
        self._came_by = _Grouped(
            np.append(streams, -1)[_sent_as(main, delivered)] if delivered and self.whole else _NONE
        )

    def of(self, flow: int, side: int) -> SentStream | None:
        """None where that side sent nothing. `flow` is a place in the list of flows."""
        places = self._sent_by.members(flow * 2 + side)
        if not len(places):
            return None
        return SentStream(self._main, places, self._delivered, self._came_by.members(flow * 2 + 1 - side))

    def handshake_ns(self, flow: int) -> int | None:
        """From the first SYN sent to the first SYN-ACK that reached its sender; None where either was not seen."""
        if self._delivered is None:
            return None
        asked = _with_flags(self._main.columns, self._sent_by.members(flow * 2), SYN)
        answered = _with_flags(self._delivered.columns, self._came_by.members(flow * 2 + 1), SYN | ACK)
        if not len(asked) or not len(answered):
            return None
        return int(self._delivered.outer_ns[answered].min() - self._main.outer_ns[asked].min())


class _Grouped:
    """Places by a number that each of them has."""

    def __init__(self, numbers: I64) -> None:
        self._order = np.argsort(numbers, kind="stable")
        self._numbers = numbers[self._order]

    def members(self, number: int) -> I64:
        """In their order."""
        first, last = np.searchsorted(self._numbers, [number, number + 1])
        return self._order[first:last]


def heard(subject: Subject, of: FlowColumns) -> Heard | None:
    """What reached the ends of the flows of `Subject.main`; None where that can't be known (`Streams.whole`).

    Left out is what nobody sent, and what came with another TCP header than it was sent with: its checksum is wrong.
    """
    main, delivered = subject.main, subject.delivered
    if delivered is None or main is not subject.sent or not main.ids.any():
        return None
    sent = _sent_as(main, delivered)
    same = sent >= 0
    for name in ("protocol", "seq", "ack", "flags", "window", "payload"):
        same &= getattr(main.columns, name)[sent] == getattr(delivered.columns, name)
    same &= main.columns.protocol[sent] == TCP
    return Heard(delivered.columns, np.where(same, of.flow[sent], -1).astype(np.int32), of.side[sent])


def _sent_as(main: Side, delivered: Side) -> I64:
    """Of each delivered packet its place in `main`, by the ledger's number; -1 for what nobody sent."""
    order = np.argsort(main.ids, kind="stable")
    ids = main.ids[order]
    at = np.minimum(np.searchsorted(ids, delivered.ids), len(ids) - 1)
    known = (ids[at] == delivered.ids) & (delivered.ids > 0)
    return np.where(known, order[at], np.int64(-1))


def _with_flags(columns: Columns, places: I64, flags: int) -> I64:
    """Those in which of SYN and ACK just these are set."""
    return np.asarray(places[(columns.flags[places] & (SYN | ACK)) == flags])
