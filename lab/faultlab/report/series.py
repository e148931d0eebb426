"""What is plotted of a run's packets: where streams stood when, and how long packets took."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from faultlab.analysis.conversations import Conversations
from faultlab.analysis.paths import PathFacts
from faultlab.analysis.streams import SentStream
from faultlab.analysis.subject import Side, Subject
from faultlab.captures.columns import I32, I64, Flags
from faultlab.captures.tcp_marks import Mark
from faultlab.network.packets import TCP
from faultlab.report.figures import Delays, Points, Way

NONE = Points.of([], [])


@dataclass(frozen=True)
class Conversation:
    """A TCP connection, or all else that two nodes said to each other: its packets' places in `Subject.main`.

    `flow` is the connection's place in `Conversations.all`, None of all else. `trouble` counts the packets that were
    lost, and those that TCP sent again.
    """

    name: str
    flow: int | None
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
    troubled = _lost(side, paths) | ((flows.marked.marks & Mark.RETRANSMISSION.value) != 0)
    tcp = side.columns.protocol == TCP
    named = (*_connections(flows, np.flatnonzero(tcp)), *_pairs(subject, side, np.flatnonzero(~tcp)))
    found = [Conversation(name, flow, places, int(np.count_nonzero(troubled[places]))) for name, flow, places in named]
    return sorted(found, key=lambda one: int(one.places[0]))


def course(subject: Subject, flows: Conversations, conversation: Conversation, paths: Sequence[PathFacts]) -> Course:
    """Both directions of it; one that is silent is left out."""
    side, places = subject.main, conversation.places
    is_lost = _lost(side, paths)
    if conversation.flow is None:
        forth = side.source[places] == side.source[places[0]]
        return Course(tuple(_count(subject, side, places[one], is_lost) for one in (forth, ~forth) if one.any()), ())
    found = (flows.streams.of(conversation.flow, end) for end in (0, 1))
    streams = [stream for stream in found if stream]
    trips = ((subject.nodes[side.source[one.places[0]]], _round_trips(one)) for one in streams)
    ways = tuple(_way(_path(side, one.places, subject.nodes), one, is_lost) for one in streams)
    return Course(ways, tuple(trip for trip in trips if len(trip[1])))


def _round_trips(stream: SentStream) -> Points:
    over_ns, took_ns = stream.round_trips
    return Points.of(over_ns / 1e9, took_ns / 1e6)


def _lost(side: Side, paths: Sequence[PathFacts]) -> Flags:
    """Which packets of a capture never arrived."""
    lost = np.zeros(len(side), np.bool_)
    for path in paths:
        if path.sent_side is side:
            lost[path.pairing.sent[~path.arrived & ~path.waiting]] = True
    return lost


def _connections(flows: Conversations, tcp: I64) -> Iterator[tuple[str, int, I64]]:
    for number, places in _groups(flows.of[tcp], tcp):
        if number >= 0:
            yield " to ".join(flows.all[number].ends), number, places


def _pairs(subject: Subject, side: Side, others: I64) -> Iterator[tuple[str, None, I64]]:
    low, high = np.minimum(side.source, side.target), np.maximum(side.source, side.target)
    for _, places in _groups((low.astype(np.int64) * len(subject.nodes) + high)[others], others):
        first = places[0]
        yield f"{subject.nodes[side.source[first]]} and {subject.nodes[side.target[first]]}", None, places


def _groups(keys: I64 | I32, places: I64) -> Iterator[tuple[int, I64]]:
    """(key, the places that have it), each in its order."""
    order = np.argsort(keys, kind="stable")
    values, begins = np.unique(keys[order], return_index=True)
    if len(places):
        yield from zip(values.tolist(), np.split(places[order], begins[1:]), strict=True)


def _path(sent: Side, places: I64, nodes: tuple[str, ...]) -> str:
    return f"{nodes[sent.source[places[0]]]}->{nodes[sent.target[places[0]]]}"


def _way(path: str, stream: SentStream, is_lost: Flags) -> Way:
    seconds, start, lost = stream.sent_ns / 1e9, stream.start, is_lost[stream.places]
    anew, again = stream.says & ~stream.again, stream.again
    return Way(
        path,
        "bytes",
        Points.of(seconds[anew], start[anew]),
        Points.of(seconds[lost], start[lost]),
        Points.of(seconds[again], start[again]),
        Points.of(stream.heard_ns / 1e9, stream.heard),
    )


def round_trips_by_node(courses: Sequence[Course]) -> list[tuple[str, Points]]:
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
