"""What is plotted of a run's packets: where streams stood when, and how long packets took."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lab.captures.columns import I32, I64, Flags
from lab.captures.tcp_marks import Mark
from lab.look.conversations import Conversations
from lab.look.paths import PathFacts
from lab.look.subject import Side, Subject
from lab.packets import ACK, FIN, SYN, TCP
from lab.report.figures import Delays, Points, Way

SEQUENCE_NUMBERS = 1 << 32
NONE = Points.of([], [])
_AGAIN = Mark.RETRANSMISSION | Mark.FAST_RETRANSMISSION | Mark.SPURIOUS_RETRANSMISSION | Mark.OUT_OF_ORDER
"""In the sender's own capture, what seems out of order was sent again."""


@dataclass(frozen=True)
class Conversation:
    """A TCP connection, or all else that two nodes said to each other: its packets' places in `Subject.main`.

    `trouble` counts those that were lost, and those that TCP sent again.
    """

    name: str
    tcp: bool
    places: I64
    trouble: int


@dataclass(frozen=True)
class Course:
    """What is drawn of a conversation: a way for each direction; and of TCP round trips in ms, by who measured them."""

    ways: tuple[Way, ...]
    round_trips: tuple[tuple[str, Points], ...]


def conversations(subject: Subject, flows: Conversations, paths: Sequence[PathFacts]) -> list[Conversation]:
    """In the order they began."""
    side = subject.main
    troubled = _lost(side, paths) | ((flows.marked.marks & _AGAIN.value) != 0)
    tcp = side.columns.protocol == TCP
    named = (*_connections(flows, np.flatnonzero(tcp)), *_pairs(subject, side, np.flatnonzero(~tcp)))
    found = [
        Conversation(name, bool(tcp[places[0]]), places, int(np.count_nonzero(troubled[places])))
        for name, places in named
    ]
    return sorted(found, key=lambda one: int(one.places[0]))


def course(subject: Subject, conversation: Conversation, paths: Sequence[PathFacts]) -> Course:
    """Both directions of it; one that is silent is left out."""
    side, places = subject.main, conversation.places
    is_lost = _lost(side, paths)
    forth = places[side.source[places] == side.source[places[0]]]
    back = places[side.source[places] != side.source[places[0]]]
    if not conversation.tcp:
        return Course(tuple(_count(subject, side, one, is_lost) for one in (forth, back) if len(one)), ())
    streams = [_Stream(subject, one, other) for one, other in ((forth, back), (back, forth)) if len(one)]
    trips = ((one.sender, one.round_trips()) for one in streams)
    return Course(tuple(one.way(is_lost) for one in streams), tuple(trip for trip in trips if len(trip[1])))


def _lost(side: Side, paths: Sequence[PathFacts]) -> Flags:
    """Which packets of a capture never arrived."""
    lost = np.zeros(len(side), np.bool_)
    for path in paths:
        if path.sent_side is side:
            lost[path.pairing.sent[~path.arrived & ~path.waiting]] = True
    return lost


def _connections(flows: Conversations, tcp: I64) -> Iterator[tuple[str, I64]]:
    for number, places in _groups(flows.marked.flow[tcp], tcp):
        if number >= 0:
            yield f"{' to '.join(flows.all[number].ends)}", places


def _pairs(subject: Subject, side: Side, others: I64) -> Iterator[tuple[str, I64]]:
    low, high = np.minimum(side.source, side.target), np.maximum(side.source, side.target)
    for _, places in _groups((low.astype(np.int64) * len(subject.nodes) + high)[others], others):
        first = places[0]
        yield f"{subject.nodes[side.source[first]]} and {subject.nodes[side.target[first]]}", places


def _groups(keys: I64 | I32, places: I64) -> Iterator[tuple[int, I64]]:
    """(key, the places that have it), each in its order."""
    order = np.argsort(keys, kind="stable")
    values, begins = np.unique(keys[order], return_index=True)
    if len(places):
        yield from zip(values.tolist(), np.split(places[order], begins[1:]), strict=True)


def _path(sent: Side, places: I64, nodes: tuple[str, ...]) -> str:
    return f"{nodes[sent.source[places[0]]]}->{nodes[sent.target[places[0]]]}"


class _Stream:
    """A direction of a TCP connection, in bytes from its first sequence number on.

    What lies below the highest byte sent before is sent again: the capture is the sender's own, so that no network has
    changed the order (RFC 9293, 3.4).
    """

    def __init__(self, subject: Subject, places: I64, answers: I64) -> None:
        sent = subject.main
        columns = sent.columns
        takes = columns.payload[places].astype(np.int64) + ((columns.flags[places] & (SYN | FIN)) != 0)
        first = int(columns.seq[places[0]])
        self.path = _path(sent, places, subject.nodes)
        self.sender = subject.nodes[sent.source[places[0]]]
        self._places = places
        self._times = sent.time_ns[places]
        self._start = (columns.seq[places].astype(np.int64) - first) % SEQUENCE_NUMBERS
        self._end = self._start + takes
        self._says = takes > 0
        before = np.concatenate(([0], np.maximum.accumulate(self._end)[:-1]))
        self._again = self._says & (self._start < before)
        self._heard = self._acknowledgements(subject, answers, first)

    def way(self, is_lost: Flags) -> Way:
        seconds, lost = self._times / 1e9, is_lost[self._places]
        anew = self._says & ~self._again
        heard_at, heard = self._heard
        return Way(
            self.path,
            "bytes",
            Points.of(seconds[anew], self._start[anew]),
            Points.of(seconds[lost], self._start[lost]),
            Points.of(seconds[self._again], self._start[self._again]),
            Points.of(heard_at / 1e9, heard),
        )

    def round_trips(self) -> Points:
        """From a segment's sending to the first acknowledgement of it that its sender got, in ms (RFC 6298, 3).

        An acknowledgement measures the newest segment that it covers. None is measured of what was sent twice: nobody
        knows which of the two was answered (Karn's rule, RFC 6298, 3).
        """
        anew = np.flatnonzero(self._says & ~self._again)
        heard_at, heard = self._heard
        advances = np.flatnonzero(np.diff(heard, prepend=0) > 0)
        newest = np.searchsorted(self._end[anew], heard[advances], side="right") - 1
        known = newest >= 0
        segment, at = anew[newest[known]], heard_at[advances[known]]
        _, first = np.unique(segment, return_index=True)
        segment, at = segment[first], at[first]
        once = ~np.isin(self._start[segment], self._start[self._again])
        return Points.of(at[once] / 1e9, (at[once] - self._times[segment[once]]) / 1e6)

    def _acknowledgements(self, subject: Subject, answers: I64, first: int) -> tuple[I64, I64]:
        """(when, how far): what the sender knew to have arrived, from the answers as they were delivered to it."""
        delivered = subject.delivered
        if delivered is None or not len(answers):
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        came = np.flatnonzero(np.isin(delivered.ids, subject.main.ids[answers]))
        came = came[(delivered.columns.flags[came] & ACK) != 0]
        came = came[np.argsort(delivered.time_ns[came], kind="stable")]
        known = (delivered.columns.ack[came].astype(np.int64) - first) % SEQUENCE_NUMBERS
        sane = known <= self._end.max()  # a fault may have changed the number
        return delivered.time_ns[came][sane], np.maximum.accumulate(known[sane])


def merged(courses: Sequence[Course]) -> list[tuple[str, Points]]:
    """The round trips of several connections by the node that measured them, in the order of time."""
    found: dict[str, list[Points]] = {}
    for node, points in (trip for one in courses for trip in one.round_trips):
        found.setdefault(node, []).append(points)
    trips = []
    for node, parts in found.items():
        seconds = np.concatenate([one.seconds for one in parts])
        order = np.argsort(seconds, kind="stable")
        trips.append((node, Points(seconds[order], np.concatenate([one.values for one in parts])[order])))
    return trips


def _count(subject: Subject, sent: Side, places: I64, is_lost: Flags) -> Way:
    """A direction of anything else, packet by packet."""
    times, lost = sent.time_ns[places] / 1e9, is_lost[places]
    number = np.arange(1, len(places) + 1)
    path = _path(sent, places, subject.nodes)
    return Way(
        path, "packets", Points.of(times[~lost], number[~lost]), Points.of(times[lost], number[lost]), NONE, NONE
    )


def delays(paths: Sequence[PathFacts]) -> list[Delays]:
    """Of each path's packets that arrived: when they were sent, how long they took and how long they were to take."""
    return [
        Delays(
            path.path,
            path.sent_ns[path.arrived] / 1e9,
            path.delay_ns[path.arrived] / 1e6,
            path.asked_ns[path.arrived] / 1e6 if path.asked_ns is not None else None,
        )
        for path in paths
        if path.delivered
    ]
