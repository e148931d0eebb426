"""What the receiving end of a TCP stream expects next, by what was delivered to it (RFC 9293, 3.4)."""

from __future__ import annotations

from faultlab.network.packets import MASK, SYN, Packet, ahead

MOST_BEYOND = 10_000
"""Segments kept that lie beyond a hole: more than a window holds."""


class Receiver:
    """`next` is the sequence number it expects; None before anything was delivered."""

    __slots__ = ("_beyond", "next")

    def __init__(self) -> None:
        self.next: int | None = None
        self._beyond: list[tuple[int, int]] = []

    def take(self, packet: Packet) -> None:
        """A segment was delivered whole."""
        start, end = packet.seq, (packet.seq + packet.stream_size) & MASK
        if packet.flags & SYN:
            self.next, self._beyond = end, []
        elif start == end:
            return
        elif self.next is None:
            self.next = end
        elif ahead(start, self.next) <= 0:
            self._go_on(self.next, end)
        elif len(self._beyond) < MOST_BEYOND:
            self._beyond.append((start, end))

    def _go_on(self, next_: int, end: int) -> None:
        """Up to `end`, and over what lies beyond and is joined by it."""
        if ahead(end, next_) > 0:
            next_ = end
        while joined := [one for one in self._beyond if ahead(one[0], next_) <= 0]:
            self._beyond = [one for one in self._beyond if ahead(one[0], next_) > 0]
            next_ = max((next_, *(last for _, last in joined)), key=lambda number: ahead(number, next_))
        self.next = next_
