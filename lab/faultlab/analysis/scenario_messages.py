"""Where the messages of a run's streams lie, by the framing that its scenario asked for."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from faultlab_services.framing import PeerError, codec

from faultlab.analysis.build_ladder import Messages, packet_at
from faultlab.analysis.messages import Message
from faultlab.analysis.subject import Subject
from faultlab.analysis.words import Direction
from faultlab.errors import UsageError
from faultlab.network.packets import SYN, TCP
from faultlab.network.standard_lab import TCP_PORTS
from faultlab.network.tcp_stream import TcpStream
from faultlab.scenario.model import parse_scenario
from faultlab.scenario.workloads import TcpWorkload

MOST_BYTES = 4 << 20
"""Of each stream; a ladder of more is nothing that anyone reads."""


def messages_of(subject: Subject) -> Messages:
    """For each direction of a TCP conversation whose framing is known. Nothing for captures from elsewhere."""
    if subject.ledger is None:
        return {}
    framings = _framings(subject)
    found = {}
    for direction, stream in _streams(subject, framings).items():
        framing = framings.get(direction.source_port) or framings[direction.target_port]
        found[direction] = list(_messages(framing, bytes(stream.data)))
    return found


def _framings(subject: Subject) -> dict[int, str]:
    """By port: as the scenario says, and as our servers have them where there is none. A raw stream has no messages."""
    framings = {port: framing for framing, port in TCP_PORTS.items()}
    if "scenario" in subject.run:
        try:
            scenario = parse_scenario(str(subject.run["scenario"]), str(subject.run.get("name", "run")))
        except UsageError:
            return {}  # of a version that wrote scenarios otherwise: what it meant by a port is not known
        framings |= {one.port: one.framing for one in scenario.workloads if isinstance(one, TcpWorkload)}
    return {port: framing for port, framing in framings.items() if framing != "raw"}


def _streams(subject: Subject, framings: dict[int, str]) -> dict[Direction, TcpStream]:
    """What was sent each way; of ports that are used anew, the first connection."""
    side, columns = subject.main, subject.main.columns
    ports = np.array(list(framings), np.uint16)
    framed = (np.isin(columns.source_port, ports) | np.isin(columns.target_port, ports)) & (columns.protocol == TCP)
    telling = framed & ((columns.payload > 0) | (columns.flags & SYN != 0))
    streams, full = dict[Direction, TcpStream](), set[tuple[int, int, int]]()
    for index in np.flatnonzero(telling).tolist():
        way = (int(side.source[index]), int(columns.source_port[index]), int(columns.target_port[index]))
        if way in full:
            continue
        packet = packet_at(side, index)
        stream = streams.setdefault(Direction.of(packet), TcpStream())
        if packet.flags & SYN and stream.edge >= 0 and not stream.opened_by(packet):
            full.add(way)
            continue
        stream.add(packet)
        if stream.seen >= MOST_BYTES:
            full.add(way)
    return streams


def _messages(framing: str, stream: bytes) -> Iterator[Message]:
    """Those that are whole, numbered from 0 as in journals. A prefix comes before a message, a newline after it."""
    kind = codec(framing)
    decoder, start = kind.decoder(), 0
    try:
        found = decoder.feed(stream)
    except PeerError as error:
        found = error.complete
    for number, message in enumerate(found):
        end = start + len(kind.encode(message))
        closing = framing == "line"
        yield Message(number, start, start if closing else end - len(message), end - closing, end)
        start = end
