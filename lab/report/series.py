"""What is plotted of a run's packets: where streams stood when, and how long packets took."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lab.captures.columns import I32, I64, Flags
from lab.look.flow_facts import Conversations
from lab.look.paths import PathFacts
from lab.look.subject import Side, Subject
from lab.packets import ACK, FIN, SYN, TCP
from lab.report.figures import Delays, Points, Way

SEQUENCE_NUMBERS = 1 << 32
NONE = Points.of([], [])


@dataclass(frozen=True)
class Conversation:
    """A TCP connection, or all else that two nodes said to each other, with a way for each direction."""

    name: str
    ways: tuple[Way, ...]


def conversations(subject: Subject, flows: Conversations, paths: Sequence[PathFacts]) -> list[Conversation]:
    """In the order they began. A TCP connection may be lost in a crowd of them; so each is drawn by itself."""
    side = subject.main
    is_lost = _lost(side, paths)
    tcp = side.columns.protocol == TCP
    found = []
    for name, places in (*_connections(flows, np.flatnonzero(tcp)), *_pairs(subject, side, np.flatnonzero(~tcp))):
        forth = places[side.source[places] == side.source[places[0]]]
        back = places[side.source[places] != side.source[places[0]]]
        ways = [
            _stream(subject, side, one, other, is_lost) if tcp[places[0]] else _count(subject, side, one, is_lost)
            for one, other in ((forth, back), (back, forth))
            if len(one)
        ]
        found.append((places[0], Conversation(name, tuple(ways))))
    return [conversation for _, conversation in sorted(found, key=lambda one: one[0])]


def _lost(side: Side, paths: Sequence[PathFacts]) -> Flags:
    """Which packets of a capture never arrived."""
    lost = np.zeros(len(side), np.bool_)
    for path in paths:
        if path.sent_side is side:
            lost[path.pairing.sent[~path.arrived & ~path.waiting]] = True
    return lost


def _connections(flows: Conversations, tcp: I64) -> Iterator[tuple[str, I64]]:
    for number, places in _groups(flows.of[tcp], tcp):
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


def _stream(subject: Subject, sent: Side, places: I64, answers: I64, is_lost: Flags) -> Way:
    """A direction of a TCP connection in bytes. What lies below the highest byte sent before is sent again: the
    capture is the sender's own, so that no network has changed the order (RFC 9293, 3.4)."""
    columns = sent.columns
    takes = columns.payload[places].astype(np.int64) + ((columns.flags[places] & (SYN | FIN)) != 0)
    first = int(columns.seq[places[0]])
    start = (columns.seq[places].astype(np.int64) - first) % SEQUENCE_NUMBERS
    ends = np.maximum.accumulate(start + takes)
    before = np.concatenate(([0], ends[:-1]))
    says = takes > 0
    again = says & (start < before)
    times = sent.time_ns[places] / 1e9
    lost = is_lost[places]
    return Way(
        _path(sent, places, subject.nodes),
        "bytes",
        Points.of(times[says & ~again], start[says & ~again]),
        Points.of(times[lost], start[lost]),
        Points.of(times[again], start[again]),
        _acknowledged(subject, answers, sent, first),
    )


def _acknowledged(subject: Subject, answers: I64, sent: Side, first: int) -> Points:
    """What the sender knew to have arrived, when it learnt that: from the answers as delivered."""
    delivered = subject.delivered
    if delivered is None or not len(answers):
        return NONE
    came = np.flatnonzero(np.isin(delivered.ids, sent.ids[answers]) & ((delivered.columns.flags & ACK) != 0))
    came = came[np.argsort(delivered.time_ns[came], kind="stable")]
    known = (delivered.columns.ack[came].astype(np.int64) - first) % SEQUENCE_NUMBERS
    return Points.of(delivered.time_ns[came] / 1e9, np.maximum.accumulate(known))


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
