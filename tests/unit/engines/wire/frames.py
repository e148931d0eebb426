"""Frames to send through the wire's core, a clock to send them by, and a recorder that keeps what it is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from struct import pack

from faultlab.engines.transit import PathFlow, PathState, Transit
from faultlab.engines.wire.core import Core
from faultlab.engines.wire.stages import Recorded
from faultlab.faults import Fault
from faultlab.faults.base import FaultAct
from faultlab.network.packets import ACK, TCP, UDP, Packet, with_checksums
from faultlab.network.topology import Network

NODES = Network().nodes(["client", "server", "third"])
THERE, BACK = "client->server", "server->client"
MS = 1_000_000


def udp(
    number: int = 0,
    *,
    source: int = 0,
    target: int = 1,
    port: int = 2000,
    to_port: int = 9000,
    size: int = 60,
    ipv6: bool = False,
) -> bytes:
    """A UDP frame of `size` bytes whose payload starts with its number; `number_of` reads it."""
    room = size - (62 if ipv6 else 42)
    payload = pack("!Q", number).ljust(room, b".")
    datagram = pack("!HHHH", port, to_port, 8 + len(payload), 0) + payload
    return _frame(source, target, UDP, datagram, ipv6)


def tcp(
    seq: int,
    flags: int = ACK,
    payload: bytes = b"",
    *,
    ack: int = 0,
    source: int = 0,
    target: int = 1,
    port: int = 2000,
    to_port: int = 9000,
    ipv6: bool = False,
) -> bytes:
    header = pack("!HHIIBBHHH", port, to_port, seq & 0xFFFFFFFF, ack & 0xFFFFFFFF, 5 << 4, flags, 64_000, 0, 0)
    return _frame(source, target, TCP, header + payload, ipv6)


def _frame(source: int, target: int, protocol: int, segment: bytes, ipv6: bool) -> bytes:
    a, b = NODES[source], NODES[target]
    ethernet = b.mac_bytes + a.mac_bytes + (b"\x86\xdd" if ipv6 else b"\x08\0")
    if ipv6:
        addresses = ip_address(a.ipv6).packed + ip_address(b.ipv6).packed
        ip = b"\x60\0\0\0" + pack("!HBB", len(segment), protocol, 64) + addresses
    else:
        addresses = ip_address(a.ipv4).packed + ip_address(b.ipv4).packed
        ip = b"\x45\0" + pack("!HHHBBH", 20 + len(segment), 0, 0x4000, 64, protocol, 0) + addresses
    return with_checksums(ethernet + ip + segment)


def number_of(frame: bytes) -> int:
    """The number that `udp` wrote into the frame."""
    return int.from_bytes(Packet.parse(frame).payload[:8], "big")


@dataclass(frozen=True)
class Told:
    """One thing that the core told its recorder, as it was at that moment."""

    what: str
    path: str
    flow: str
    packet_id: int
    ordinal: int
    copy: int
    acts: tuple[FaultAct, ...]
    dropped: bool
    injected: bool
    copies: int
    delay: int
    frame: bytes
    original: bytes
    arrived: int
    at: int

    @property
    def effects(self) -> list[str]:
        return [effect.value for _, effect, _ in self.acts]


class ListRecorder:
    """Keeps all it is told, in order."""

    def __init__(self) -> None:
        self.flows: list[tuple[int, str, str]] = []
        self.told: list[Told] = []
        self.notes: list[tuple[str, dict[str, object]]] = []

    def flow(self, number: int, path: PathState, label: str) -> None:
        self.flows.append((number, path.name, label))

    def passed(self, path: PathState, flow: PathFlow, packet_id: int, frame: bytes, payload_at: int, now: int) -> None:
        assert payload_at == Packet.parse(frame).payload_at
        ordinal = flow.ordinal
        self.told.append(
            Told("passed", path.name, flow.label, packet_id, ordinal, 0, (), False, False, 1, 0, frame, frame, now, now)
        )

    def decided(self, path: PathState, flow: PathFlow, packet_id: int, transit: Transit, now: int) -> None:
        assert (flow, packet_id) == (transit.flow, transit.packet_id)
        self._keep("decided", path, transit, now)

    def decided_later(self, path: PathState, transit: Transit) -> None:
        self._keep("later", path, transit, -1)

    def delivered(self, path: PathState, transit: Transit, now: int) -> None:
        self._keep("delivered", path, transit, now)

    def note(self, kind: str, **fields: object) -> None:
        self.notes.append((kind, fields))

    def _keep(self, what: str, path: PathState, transit: Transit, now: int) -> None:
        self.told.append(
            Told(
                what=what,
                path=path.name,
                flow=transit.flow.label,
                packet_id=transit.packet_id,
                ordinal=transit.packet.ordinal,
                copy=transit.packet.copy,
                acts=transit.acts,
                dropped=transit.dropped,
                injected=transit.injected,
                copies=transit.copies,
                delay=transit.delay,
                frame=transit.frame,
                original=transit.original.frame,
                arrived=transit.arrived,
                at=now,
            )
        )

    def noted(self, kind: str) -> list[dict[str, object]]:
        return [fields for name, fields in self.notes if name == kind]

    @property
    def arrivals(self) -> list[Told]:
        """Each packet that came, once, forged ones too."""
        return [told for told in self.told if told.what == "passed" or (told.what == "decided" and not told.copy)]

    @property
    def ends(self) -> list[Told]:
        """How each packet and copy ended: delivered, or dropped."""
        return [told for told in self.told if told.dropped or told.what in ("passed", "delivered")]


class World:
    """A core on virtual time. `late` is how long after a deadline it is served, as a busy loop would."""

    def __init__(
        self,
        seed: int = 1,
        forced_drops: Mapping[tuple[str, str], Recorded] | None = None,
        late: int = 0,
    ) -> None:
        self.recorder = ListRecorder()
        self.core = Core(NODES, seed, self.recorder, forced_drops)
        self.now = 0
        self.late = late
        self.out: list[tuple[int, int, bytes]] = []
        self.sent = 0

    def send(self, frame: bytes, source: int = 0) -> None:
        self.sent += 1
        self._keep(self.core.receive(source, frame, self.now))

    def set_faults(self, path: str, *faults: Fault) -> None:
        self._keep(self.core.set_faults(path, faults, self.now))

    def wait(self, ns: int) -> None:
        """Let time pass; what is due on the way leaves in its time."""
        end = self.now + ns
        while (due := self.core.deadline) is not None and due + self.late <= end:
            self.now = max(self.now, due + self.late)
            self._keep(self.core.release(self.now))
        self.now = end

    def drain(self) -> None:
        """Until nothing waits for a time."""
        while (due := self.core.deadline) is not None:
            self.wait(max(0, due + self.late - self.now))

    def frames_to(self, target: int) -> list[bytes]:
        return [frame for _, node, frame in self.out if node == target]

    def numbers_to(self, target: int) -> list[int]:
        return [number_of(frame) for frame in self.frames_to(target)]

    def times_to(self, target: int) -> list[int]:
        return [at for at, node, _ in self.out if node == target]

    def _keep(self, out: Sequence[tuple[int, bytes]]) -> None:
        self.out += [(self.now, target, frame) for target, frame in out]
