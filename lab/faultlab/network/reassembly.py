"""IP fragments put together as a receiving kernel does (RFC 791, 3.2; RFC 8200, 4.5; RFC 5722).

A datagram is there once each of its bytes is: where one fragment is lost, all is lost, and a second copy of a fragment
changes nothing until there is one of each. Linux gives up on what stays incomplete for 30 s (IPv6: 60 s), on fragments
that overlap, and, of IPv4, on a datagram whose next fragment comes more than 64 fragments of the same sender later
(ipfrag_max_dist; Documentation/networking/ip-sysctl). It also drops fragments while those that wait take more than 4 MB
of its memory (ipfrag_high_thresh): `crowded` says that this may have been. No I/O, no clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from struct import Struct

from faultlab.network.packets import ETHERNET_HEADER, Packet

GIVE_UP_NS = {4: 30_000_000_000, 6: 60_000_000_000}
MOST_BETWEEN = 64
CROWDED = 1000
"""Fragments that wait at once: the kernel takes some 2 to 4 kB for each, whatever its size."""
_U16 = Struct("!H").pack
_MORE = 1 << 13
_Key = tuple[bytes, bytes, int, int]


@dataclass(frozen=True, slots=True)
class Datagram:
    """A whole packet, as it came or as its fragments make it. `parts` are the numbers of the packets it came in."""

    packet: Packet
    parts: tuple[int, ...]


@dataclass(slots=True)
class _Waiting:
    """The fragments so far: the bytes of each, by where they begin."""

    since: int
    last: int
    pieces: dict[int, bytes] = field(default_factory=dict)
    parts: list[int] = field(default_factory=list)
    size: int | None = None

    def add(self, at: int, piece: bytes, more: bool, number: int) -> bool:
        """Whether it fits. A fragment that is there already does, and adds nothing."""
        end = at + len(piece)
        for start, known in self.pieces.items():
            if start <= at and end <= start + len(known):
                return True
            if start < end and at < start + len(known):
                return False
        if (more and len(piece) % 8) or (self.size is not None and end > self.size):
            return False
        if not more:
            self.size = end
        self.pieces[at] = piece
        self.parts.append(number)
        return True

    @property
    def whole(self) -> bytes | None:
        if self.size is None or sum(map(len, self.pieces.values())) != self.size:
            return None
        return b"".join(piece for _, piece in sorted(self.pieces.items()))


class Reassembly:
    """Takes the packets that one node sent or was handed, in order; gives back each that is whole, when it is."""

    def __init__(self) -> None:
        self._waiting: dict[_Key, _Waiting] = {}
        self._counts: dict[bytes, int] = {}
        self._held = 0
        self.crowded = False

    def add(self, packet: Packet, time_ns: int, number: int) -> Datagram | None:
        """`number` is the packet's own in its run; None for a fragment after which others are still missing."""
        if not packet.fragment:
            return Datagram(packet, (number,))
        self._forget(time_ns)
        count = self._counts[packet.source] = self._counts.get(packet.source, 0) + 1
        key = (packet.source, packet.target, packet.protocol, packet.ip_id)
        waiting = self._take(key)
        if waiting is None or (packet.version == 4 and count - waiting.last > MOST_BETWEEN):
            waiting = _Waiting(time_ns, count)
        waiting.last = count
        piece = packet.frame[packet.l4_at : packet.payload_end]
        if not waiting.add((packet.fragment & 0x1FFF) * 8, piece, bool(packet.fragment & _MORE), number):
            return None
        data = waiting.whole
        if data is not None:
            return Datagram(_packet_of(packet, data), tuple(waiting.parts))
        self._waiting[key] = waiting
        self._held += len(waiting.parts)
        self.crowded = self.crowded or self._held > CROWDED
        return None

    def _take(self, key: _Key) -> _Waiting | None:
        waiting = self._waiting.pop(key, None)
        self._held -= len(waiting.parts) if waiting is not None else 0
        return waiting

    def _forget(self, time_ns: int) -> None:
        """What waits longest comes first, but for what was added to since."""
        while self._waiting:
            key, oldest = next(iter(self._waiting.items()))
            if time_ns - oldest.since <= GIVE_UP_NS[4 if len(key[0]) == 4 else 6]:
                return
            self._take(key)


def _packet_of(fragment: Packet, data: bytes) -> Packet:
    """A frame with all of the data behind the addresses of one of its fragments."""
    frame = bytearray(fragment.frame[: ETHERNET_HEADER + (20 if fragment.version == 4 else 40)])
    if fragment.version == 4:
        frame[14], frame[16:18], frame[20:22] = 0x45, _U16(20 + len(data)), b"\0\0"
    else:
        frame[18:20], frame[20] = _U16(len(data)), fragment.protocol
    return Packet.parse(bytes(frame) + data)
