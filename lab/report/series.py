"""What is plotted of a run's packets: where streams stood when, and how long packets took."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lab.captures.columns import I64, Flags
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


def conversations(subject: Subject) -> list[Conversation]:
    """In the order they began; none where there is no ledger, or no capture of what was sent."""
    sent, ledger = subject.sent, subject.ledger
    if sent is None or ledger is None:
        return []
    lost = {entry.packet for entry in ledger.entries if entry.dropped and not entry.copy}
    index = {int(packet): at for at, packet in enumerate(sent.ids)}
    streams: dict[str, list[int]] = {}
    for entry in ledger.entries:
        if entry.packet in index and not entry.copy:
            at = index[entry.packet]
            whole = entry.flow if sent.columns.protocol[at] == TCP else entry.path
            streams.setdefault(whole, []).append(at)
    is_lost = np.isin(sent.ids, np.fromiter(lost, np.uint64, len(lost)))
    return list(_paired(subject, sent, {name: np.array(places) for name, places in streams.items()}, is_lost))


def _paired(subject: Subject, sent: Side, streams: dict[str, I64], is_lost: Flags) -> Iterator[Conversation]:
    done: set[str] = set()
    for name, places in streams.items():
        if name in done:
            continue
        kind, forth, back = _turned(name)
        done |= {name, back}
        answers = streams.get(back, np.zeros(0, np.int64))
        ways = [
            _stream(subject, sent, one, other, is_lost) if kind == "tcp" else _count(subject, sent, one, is_lost)
            for one, other in ((places, answers), (answers, places))
            if len(one)
        ]
        yield Conversation(forth, tuple(ways))


def _turned(name: str) -> tuple[str, str, str]:
    """(protocol, how it is shown, the other direction's name) of `tcp a:1 -> b:2` or of `a->b`."""
    if name.startswith("tcp "):
        source, _, target = name[4:].partition(" -> ")
        return "tcp", f"{source} to {target}", f"tcp {target} -> {source}"
    source, _, target = name.partition("->")
    return "", f"{source} and {target}", f"{target}->{source}"


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
