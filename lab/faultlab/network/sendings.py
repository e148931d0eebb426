"""What a packet is called in another run: what it carries, and for which time, instead of its number there.

A TCP segment's number in its flow depends on the kernel's timers (a delayed ACK more, a retransmission less), so that
the same number is other bytes in the next run. So do its bounds: where several messages are in flight, TCP cuts its
stream as it happens to find it. The place of a byte in the stream is the same, and what a lost segment means to the
receiver follows from the bytes in it (RFC 9293, 3.4). So a segment is known by a byte: it is the one that contains it,
the first or the n-th that does. A FIN counts as the byte behind the last. All else is called by its number in its flow.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Mapping
from typing import NamedTuple

from faultlab.network.packets import ACK, MASK, RST, SYN, TCP, Packet, stream_offset

STREAM = ("bytes", "FIN")
"""What takes a place in the stream that other segments may take too."""


class Sending(NamedTuple):
    """`what` is SYN, bytes, FIN, RST, ACK or packet; `at` its place in the stream (for ACK: in the peer's; for packet:
    its number in the flow); `times` counts from 1, of bytes and FIN the segments that contain the place."""

    what: str
    at: int
    times: int = 1

    @property
    def is_for_tcp_to_decide(self) -> bool:
        """Retransmissions and pure ACKs: TCP's timers say whether they are sent, not the application."""
        return self.times > 1 or self.what == "ACK"

    @property
    def follows(self) -> Sending:
        """What must have been sent before TCP may decide on this one: the segment itself, or an ACK's connection."""
        return Sending("SYN", 0) if self.what == "ACK" else self._replace(times=1)

    def __str__(self) -> str:
        text = f"{self.what} {self.at}"
        return text if self.times == 1 else f"{text} (sent for time {self.times})"


class RecordedFate(NamedTuple):
    """What became of a sending in a recorded run: by which fault each copy was dropped, and whether another arrived."""

    dropped: Mapping[int, str]
    arrived: bool = False


class Place(NamedTuple):
    """Where a packet begins, and how much of the stream it takes (no less than 1, for what has no bytes)."""

    what: str
    at: int
    size: int = 1


class Sendings:
    """Names the packets of one flow, given in the order they were sent, as they were sent.

    `known` are the places in the stream, as (what, at), by which segments with data or a FIN are known.
    """

    __slots__ = ("_count", "_first_ack", "_first_seq", "_known", "_times")

    def __init__(self, known: Collection[tuple[str, int]] = ()) -> None:
        self._known = sorted((at, what) for what, at in known)
        self._count = 0
        self._times: Counter[tuple[str, int]] = Counter()
        self._first_seq: int | None = None
        self._first_ack: int | None = None

    def names(self, packet: Packet) -> tuple[Sending, ...]:
        """Never one of another packet of the flow; none for a segment without any of the known places."""
        place = self.place(packet)
        if place.what not in STREAM:
            return (self._name(place.what, place.at),)
        first = bisect_left(self._known, (place.at, ""))
        behind = bisect_left(self._known, (place.at + place.size, ""))
        return tuple(self._name(what, at) for at, what in self._known[first:behind])

    def _name(self, what: str, at: int) -> Sending:
        self._times[what, at] += 1
        return Sending(what, at, self._times[what, at])

    def place(self, packet: Packet) -> Place:
        """Counted from the connection's SYN, one way and the other; where that was not seen, the packet's number."""
        self._count += 1
        segment = self._segment(packet) if packet.protocol == TCP and not packet.fragment else None
        return segment or Place("packet", self._count)

    def _segment(self, packet: Packet) -> Place | None:
        flags = packet.flags
        if flags & SYN:
            self._first_seq, self._first_ack = packet.seq, packet.ack if flags & ACK else None
            return Place("SYN", 0)
        if self._first_seq is None:
            return None
        if self._first_ack is None:
            self._first_ack = packet.ack
        at = stream_offset(packet, self._first_seq)
        if flags & RST:
            return Place("RST", at)
        if packet.stream_size:
            return Place("bytes" if packet.payload_end > packet.payload_at else "FIN", at, packet.stream_size)
        return Place("ACK", (packet.ack - self._first_ack) & MASK)
