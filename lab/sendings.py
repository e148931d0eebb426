"""What a packet is called in another run: what it carries, and for which time, instead of its number there.

A TCP segment's number in its flow depends on the kernel's timers (a delayed ACK more, a retransmission less), so that
the same number is other bytes in the next run. Its place in the byte stream is not: what a lost segment means to the
receiver follows from the bytes in it (RFC 9293, 3.4). All else is called by its number in its flow.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from lab.packets import ACK, FIN, RST, SYN, TCP, Packet, stream_offset


class Sending(NamedTuple):
    """`what` is SYN, bytes, FIN, RST, ACK or packet; `at` its place in the stream (for ACK: in the peer's; for packet:
    its number in the flow); `times` counts from 1."""

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


class Sendings:
    """Names the packets of one flow, given in the order they were sent, as they were sent."""

    __slots__ = ("_count", "_first_ack", "_first_seq", "_times")

    def __init__(self) -> None:
        self._count = 0
        self._times: Counter[tuple[str, int]] = Counter()
        self._first_seq: int | None = None
        self._first_ack: int | None = None

    def name(self, packet: Packet) -> Sending:
        """Never the same twice in a flow."""
        self._count += 1
        segment = self._segment(packet) if packet.protocol == TCP and not packet.fragment else None
        if segment is None:
            return Sending("packet", self._count)
        self._times[segment] += 1
        return Sending(*segment, self._times[segment])

    def _segment(self, packet: Packet) -> tuple[str, int] | None:
        """Counted from the connection's SYN, one way and the other; None where that was not seen."""
        flags = packet.flags
        if flags & SYN:
            self._first_seq, self._first_ack = packet.seq, packet.ack if flags & ACK else None
            return "SYN", 0
        if self._first_seq is None:
            return None
        if self._first_ack is None:
            self._first_ack = packet.ack
        at = stream_offset(packet, self._first_seq)
        if flags & RST:
            return "RST", at
        if packet.payload_end > packet.payload_at:
            return "bytes", at
        if flags & FIN:
            return "FIN", at
        return "ACK", (packet.ack - self._first_ack) & 0xFFFFFFFF
