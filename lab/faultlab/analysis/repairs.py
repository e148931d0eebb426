"""Why TCP sent something again: which packet on the way was lost or spoilt, and by which fault.

A segment that takes sequence numbers, all or some of which were sent before, repairs those segments with them that did
not arrive whole (RFC 9293, 3.8.1). Where all did arrive, an acknowledgement may have been lost on the way back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np

from faultlab.analysis.paths import PathFacts
from faultlab.analysis.subject import Side, Subject
from faultlab.faults.base import Effect
from faultlab.network.packets import ACK, FIN, SYN, TCP, Packet, ahead, checksum_right

_TOLD = 3
_FLIGHT = 1 << 16
"""Segments of a stream that are remembered: more than are ever sent before the first of them is sent again."""
_HEARING_NS = 1_000_000
"""How long an acknowledgement may lie in the receiving host before TCP has read it."""


@dataclass(frozen=True)
class Cause:
    """A packet that did not arrive whole. `fault` is the id of the fault that did it, where a ledger says so."""

    side: Side
    index: int
    fault: str | None
    changed: bool

    @property
    def deed(self) -> str:
        """`which f1 dropped`"""
        what = "changed" if self.changed else "dropped" if self.fault else "lost"
        return f"which {self.fault} {what}" if self.fault else f"{what} on the way"


@dataclass(frozen=True)
class Repair:
    """Packet `index` of `side` sends again what packet `repeats` had.

    `causes` are the segments that it repairs; or, where none was lost, the acknowledgements that were. Neither: TCP
    sent it again though nothing was lost (late, or out of order), or both captures lack what was.
    """

    side: Side
    index: int
    repeats: int
    causes: tuple[Cause, ...]
    answers_lost: bool

    def __str__(self) -> str:
        """`frame 20 repeats frame 2, which f1 dropped`."""
        again, before = f"frame {self.index + 1} repeats", f"frame {self.repeats + 1}"
        if not self.causes:
            return f"{again} {before}, which arrived"
        told = " and ".join(self._told(deed, list(alike)) for deed, alike in groupby(self.causes, lambda one: one.deed))
        return f"{again} {before}, whose acknowledgement was lost: {told}" if self.answers_lost else f"{again} {told}"

    def _told(self, deed: str, causes: list[Cause]) -> str:
        """Of causes that are alike; packets of another capture than the repair's are named with it."""
        numbers = [str(cause.index + 1) for cause in causes[:_TOLD]]
        numbers += [f"{len(causes) - _TOLD} more"] if len(causes) > _TOLD else []
        listed = " and ".join(filter(None, (", ".join(numbers[:-1]), numbers[-1])))
        elsewhere = "" if causes[0].side is self.side else f"{causes[0].side.name} "
        return f"{elsewhere}frame{'s' if len(causes) > 1 else ''} {listed}, {deed}"


def repairs(subject: Subject, facts: Sequence[PathFacts]) -> list[Repair]:
    """Every segment sent again, in the order of time. `facts` are all of the subject's paths."""
    streams: dict[tuple[str, int, str, int], _Stream] = {}
    found = []
    segments = (segment for one in facts for segment in _segments(subject, one))
    for segment in sorted(segments, key=lambda one: one.time):
        stream = streams.setdefault(segment.flow, _Stream())
        back = streams.setdefault((*segment.flow[2:], *segment.flow[:2]), _Stream())
        if repair := stream.sends(segment, back):
            found.append(repair)
    return found


@dataclass(frozen=True, slots=True)
class _Segment:
    """One TCP packet as sent; `lost` says why it did not arrive whole."""

    time: int
    arrived: int
    flow: tuple[str, int, str, int]
    side: Side
    index: int
    seq: int
    size: int
    flags: int
    ack: int
    lost: Cause | None


@dataclass(slots=True)
class _Stream:
    """One direction of a connection. Sequence numbers are counted on past 2^32 from the first that was seen."""

    sent: deque[tuple[int, int, int]] = field(default_factory=lambda: deque(maxlen=_FLIGHT))
    missing: list[tuple[int, int, Cause]] = field(default_factory=list)
    acks_lost: list[tuple[int, Cause]] = field(default_factory=list)
    acks_heard: deque[tuple[int, int]] = field(default_factory=deque)
    end: int | None = None
    syn: int | None = None

    def sends(self, segment: _Segment, back: _Stream) -> Repair | None:
        if segment.flags & SYN and segment.seq != self.syn:  # another connection of the same ports
            self.sent.clear()
            self.acks_heard.clear()
            self.missing, self.acks_lost, self.end, self.syn = [], [], None, segment.seq
        if segment.flags & ACK:
            self._acknowledges(segment)
        if not segment.size:
            return None
        start = segment.seq if self.end is None else _near(segment.seq, self.end)
        end = start + segment.size
        repair = self._repair(segment, start, end, back) if self.end is not None and start < self.end else None
        self.sent.append((start, end, segment.index))
        if segment.lost:
            self.missing.append((start, end, segment.lost))
        elif repair:
            self.missing = [one for one in self.missing if not (start <= one[0] and one[1] <= end)]
        self.end = max(end, self.end or end)
        return repair

    def _acknowledges(self, segment: _Segment) -> None:
        if segment.lost:
            self.acks_lost.append((segment.ack, segment.lost))
        elif self.acks_lost:
            self.acks_heard.append((segment.arrived + _HEARING_NS, segment.ack))

    def unheard(self, now: int) -> list[tuple[int, Cause]]:
        """Acknowledgements that were lost, and that no later one has made up for by then (RFC 9293, 3.4)."""
        heard = None
        while self.acks_heard and self.acks_heard[0][0] <= now:
            _, ack = self.acks_heard.popleft()
            heard = ack if heard is None else max(heard, _near(ack, heard))
        if heard is not None:
            self.acks_lost = [one for one in self.acks_lost if _near(one[0], heard) > heard]
        return self.acks_lost

    def _repair(self, segment: _Segment, start: int, end: int, back: _Stream) -> Repair | None:
        repeats = next((index for a, b, index in reversed(self.sent) if a < end and start < b), None)
        if repeats is None:
            return None  # first sent before the capture began
        causes = tuple(cause for a, b, cause in self.missing if a < end and start < b)
        if causes:
            return Repair(segment.side, segment.index, repeats, causes, False)
        answers = tuple(cause for ack, cause in back.unheard(segment.time) if _near(ack, start) > start)
        return Repair(segment.side, segment.index, repeats, answers, bool(answers))


def _near(number: int, about: int) -> int:
    """The sequence number modulo 2^32 that is nearest to one counted on (RFC 9293, 3.4)."""
    return about + ahead(number, about)


def _segments(subject: Subject, facts: PathFacts) -> Iterator[_Segment]:
    """The TCP packets of one path."""
    side, at = facts.sent_side, facts.pairing.sent
    columns = side.columns
    places = np.flatnonzero((columns.protocol[at] == TCP) & (columns.tcp_header[at] > 0))
    chosen = at[places]
    ports = zip(columns.source_port[chosen].tolist(), columns.target_port[chosen].tolist(), strict=True)
    numbers = zip(
        *(one[chosen].tolist() for one in (columns.seq, columns.payload, columns.flags, columns.ack)), strict=True
    )
    spoilt = ~facts.arrived & ~facts.waiting | facts.changed
    rows = zip(places.tolist(), chosen.tolist(), facts.sent_ns[places].tolist(), ports, numbers, strict=True)
    for place, index, time, (source, target), (seq, payload, flags, ack) in rows:
        flow = (facts.source, source, facts.target, target)
        size = payload + bool(flags & SYN) + bool(flags & FIN)
        lost = _cause(subject, facts, place) if spoilt[place] else None
        yield _Segment(time, time + int(facts.delay_ns[place]), flow, side, index, seq, size, flags, ack, lost)


def _cause(subject: Subject, facts: PathFacts, place: int) -> Cause | None:
    """Why a packet did not arrive whole; None where its change was one that TCP takes no notice of."""
    index, changed = int(facts.pairing.sent[place]), bool(facts.changed[place])
    if changed and _is_taken(facts, place):
        return None
    entry = subject.ledger.by_packet.get(int(facts.sent_side.ids[index])) if subject.ledger else None
    effect = Effect.CHANGED if changed else Effect.DROPPED
    fault = next((fault for fault, did, _ in entry.acts if did == effect), None) if entry else None
    return Cause(facts.sent_side, index, fault, changed)


def _is_taken(facts: PathFacts, place: int) -> bool:
    """Whether TCP takes all of a changed segment for good: its checksum is right, and nothing was cut off."""
    sent = facts.sent_side.frame(int(facts.pairing.sent[place]))
    arrived = facts.delivered_side.frame(int(facts.pairing.delivered[facts.first[place]]))
    return len(arrived) >= len(sent) and checksum_right(Packet.parse(arrived))
