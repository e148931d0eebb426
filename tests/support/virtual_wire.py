"""The wire's core on virtual time: frames made by hand, a recorder that keeps lists, and a clock that jumps."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address

from faultlab.engines.transit import Out, PathFlow, PathState, Transit
from faultlab.engines.wire.core import Core
from faultlab.engines.wire.stages import Recorded
from faultlab.faults import Effect, Fault
from faultlab.faults.base import FaultAct
from faultlab.network.topology import Network, Node

MS = 1_000_000
FIN, SYN, RST, PSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10
NODES = Network.parse().nodes(["client", "tcp-server", "udp-server"])
CLIENT, TCP_SERVER, UDP_SERVER = NODES
TO_TCP, FROM_TCP = "client->tcp-server", "tcp-server->client"
TO_UDP, FROM_UDP = "client->udp-server", "udp-server->client"


# -- frames ------------------------------------------------------------------------------------------------------------


def sum16(data: bytes) -> int:
    """RFC 1071, word by word: slow, and not the code under test."""
    data += b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def ip_frame(
    source: Node, target: Node, protocol: int, segment: bytes, family: int = 4, checksum_at: int = -1
) -> bytes:
    """An Ethernet frame around a transport's segment, whose checksum is filled in at `checksum_at`."""
    ethernet = target.mac_bytes + source.mac_bytes
    ends = b"".join(ip_address(node.ipv4 if family == 4 else node.ipv6).packed for node in (source, target))
    if checksum_at >= 0:
        pseudo = ends + struct.pack("!II" if family == 6 else "!HH", *_pseudo_tail(family, len(segment), protocol))
        checksum = 0xFFFF - sum16(pseudo + segment) or 0xFFFF
        segment = segment[:checksum_at] + struct.pack("!H", checksum) + segment[checksum_at + 2 :]
    if family == 6:
        return ethernet + b"\x86\xdd\x60\0\0\0" + struct.pack("!HBB", len(segment), protocol, 64) + ends + segment
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(segment), 7, 0x4000, 64, protocol, 0) + ends
    header = header[:10] + struct.pack("!H", 0xFFFF - sum16(header)) + header[12:]
    return ethernet + b"\x08\0" + header + segment


def _pseudo_tail(family: int, size: int, protocol: int) -> tuple[int, int]:
    return (size, protocol) if family == 6 else (protocol, size)


def udp(
    payload: bytes = b"hello", port: int = 20_000, to: int = 41_234, source: Node = CLIENT, target: Node = UDP_SERVER,
    family: int = 4,
) -> bytes:  # fmt: skip
    segment = struct.pack("!HHHH", port, to, 8 + len(payload), 0) + payload
    return ip_frame(source, target, 17, segment, family, 6)


def tcp(
    payload: bytes = b"", flags: int = ACK, seq: int = 1000, ack: int = 5000, port: int = 20_000, to: int = 8082,
    source: Node = CLIENT, target: Node = TCP_SERVER, family: int = 4,
) -> bytes:  # fmt: skip
    segment = struct.pack("!HHIIBBHHH", port, to, seq, ack, 5 << 4, flags, 65_535, 0, 0) + payload
    return ip_frame(source, target, 6, segment, family, 16)


def checksum_right(frame: bytes) -> bool:
    """Whether a receiver would take this frame's TCP or UDP segment (one without IP options or fragments)."""
    if frame[12:14] == b"\x08\0":
        segment, pseudo = frame[34:], frame[26:34] + struct.pack("!HH", frame[23], len(frame) - 34)
        if sum16(frame[14:34]) != 0xFFFF:
            return False
    else:
        segment, pseudo = frame[54:], frame[22:54] + struct.pack("!II", len(frame) - 54, frame[20])
    return sum16(pseudo + segment) == 0xFFFF


# -- what is put down --------------------------------------------------------------------------------------------------


@dataclass
class Entry:
    """What the ledger would hold of one packet, or of one dropped copy of it."""

    path: str
    flow: str
    packet: int
    ordinal: int
    copy: int
    decision: str
    acts: tuple[FaultAct, ...]
    arrived: int
    size: int
    delay: int = 0
    detail: int = 0
    copies: int = 1
    left: list[tuple[int, int]] = field(default_factory=list)

    def did(self, effect: Effect) -> bool:
        return any(done == effect for _, done, _ in self.acts)


class ListRecorder:
    """A `Recorder` that keeps it all in lists."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.originals: dict[int, Entry] = {}
        self.flows: list[tuple[int, str, str]] = []
        self.notes: list[tuple[str, dict[str, object]]] = []

    def flow(self, number: int, path: PathState, label: str) -> None:
        self.flows.append((number, path.name, label))

    def passed(self, path: PathState, flow: PathFlow, packet_id: int, frame: bytes, payload_at: int, now: int) -> None:
        entry = Entry(path.name, flow.label, packet_id, flow.ordinal, 0, "passed", (), now, len(frame))
        entry.left.append((0, now))
        self._add(entry)

    def decided(self, path: PathState, flow: PathFlow, packet_id: int, transit: Transit, now: int) -> None:
        decision = "dropped" if transit.dropped else "injected" if transit.injected else "goes on"
        assert transit.arrived == now
        self._add(self._entry(path, packet_id, transit, decision))

    def decided_later(self, path: PathState, transit: Transit) -> None:
        original = self.originals[transit.packet_id]
        if transit.dropped:
            original.copies -= 1
            if transit.packet.copy:
                self._add(self._entry(path, transit.packet_id, transit, "dropped"))
        if transit.packet.copy == 0:
            original.decision = "dropped" if transit.dropped else "goes on"
            original.acts, original.delay = transit.acts, transit.delay

    def delivered(self, path: PathState, transit: Transit, now: int) -> None:
        self.originals[transit.packet_id].left.append((transit.packet.copy, now))

    def note(self, kind: str, **fields: object) -> None:
        self.notes.append((kind, fields))

    def _entry(self, path: PathState, packet_id: int, transit: Transit, decision: str) -> Entry:
        packet = transit.packet
        return Entry(
            path.name, transit.flow.label, packet_id, packet.ordinal, packet.copy, decision, transit.acts,
            transit.arrived, len(transit.original.frame), transit.delay, transit.detail, transit.copies,
        )  # fmt: skip

    def _add(self, entry: Entry) -> None:
        self.entries.append(entry)
        if entry.copy == 0:
            assert entry.packet not in self.originals
            self.originals[entry.packet] = entry


@dataclass(frozen=True)
class Arrival:
    """A frame handed to a node, and when (ns)."""

    time: int
    node: str
    frame: bytes


class Wire:
    """A core, its recorder, and the clock: `at` is virtual ns and only moves forward."""

    def __init__(
        self,
        seed: int = 1,
        forced_drops: Mapping[tuple[str, str], Recorded] | None = None,
        recorder: ListRecorder | None = None,
    ) -> None:
        self.recorder = recorder or ListRecorder()
        self.core = Core(NODES, seed, self.recorder, forced_drops)
        self.now = 0
        self.arrivals: list[Arrival] = []
        self._index = {node.mac_bytes: number for number, node in enumerate(NODES)}

    def set(self, path: str, *faults: Fault) -> None:
        self._take(self.core.set_faults(path, faults, self.now))

    def send(self, *frames: bytes, at: int | None = None) -> None:
        """From the node whose MAC each frame bears, at virtual time `at` (default: now)."""
        self.until(self.now if at is None else at)
        for frame in frames:
            self._take(self.core.receive(self._index[frame[6:12]], frame, self.now))

    def until(self, at: int) -> None:
        """Let time pass, waking at each deadline."""
        assert at >= self.now
        while self.core.deadline is not None and self.core.deadline <= at:
            self.now = max(self.now, self.core.deadline)
            self._take(self.core.release(self.now))
        self.now = at

    def finish(self) -> None:
        """Until nothing waits for a time any more."""
        while self.core.deadline is not None:
            self.until(max(self.now, self.core.deadline))

    def frames(self, node: Node) -> list[bytes]:
        """What that node got, in order."""
        return [arrival.frame for arrival in self.arrivals if arrival.node == node.name]

    def entries(self, path: str) -> list[Entry]:
        return [entry for entry in self.recorder.entries if entry.path == path]

    def _take(self, out: Sequence[Out]) -> None:
        self.arrivals += [Arrival(self.now, NODES[target].name, frame) for target, frame in out]
