"""One direction of a TCP connection, put in order: which bytes of it were seen, and the bytes themselves.

Sequence numbers (RFC 9293, 3.4) are unwrapped to positions, which only grow. A FIN takes one and is no byte.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from heapq import heappop, heappush

from faultlab.network.packets import MASK, SYN, Packet, ahead

_MAX_BLOCKS = 4096
"""Blocks beyond the edge that are remembered; with more, the first hole is given up. It bounds the memory."""


class StreamCoverage:
    """`first` is the position of the first byte, `edge` the one before which all was seen, acknowledged or given up.

    Both are -1 before anything was seen. `missing` counts the bytes before the edge that were not seen. Blocks beyond
    it are sorted and do not touch.
    """

    __slots__ = ("_ends", "_fin", "_starts", "edge", "first", "missing")

    def __init__(self) -> None:
        self.edge = self.first = self._fin = -1
        self.missing = 0
        self._starts: list[int] = []
        self._ends: list[int] = []

    @property
    def in_order(self) -> int:
        """Bytes before the edge."""
        return self.edge - self.first - (0 <= self._fin < self.edge)

    @property
    def seen(self) -> int:
        """Bytes that were seen, each counted once."""
        beyond = sum(self._ends) - sum(self._starts) - (self._fin >= self.edge >= 0)
        return self.in_order - self.missing + beyond

    def place(self, seq: int) -> int:
        """The position of a sequence number: the nearest to the edge of all that it may be."""
        if self.edge < 0:
            return seq
        return self.edge + ahead(seq, self.edge)

    def begin(self, seq: int) -> None:
        """The first byte will have this number; ignored where something is known already."""
        if self.edge < 0:
            self.edge = self.first = seq

    def take(self, seq: int, size: int, fin: bool) -> bool:
        """Bytes from a number on, and a FIN after them. Says whether the edge moved."""
        self.begin(seq)
        start = self.place(seq)
        end = start + size + fin
        if fin:
            self._fin = end - 1
        before = self.edge
        if start <= before:
            self.edge = max(before, end)
        elif end > start:
            self._insert(start, end)
            if len(self._starts) > _MAX_BLOCKS:
                self.missing += self._starts[0] - self.edge
                self.edge = self._starts[0]
        self._join()
        return self.edge > before

    def acknowledged(self, ack: int) -> None:
        """The peer has all before this number: what was not seen of it is missing."""
        if self.edge < 0:
            return
        upto = self.place(ack)
        while upto > self.edge:
            stop = min(upto, self._starts[0]) if self._starts else upto
            self.missing += stop - self.edge
            self.edge = stop
            self._join()

    def _insert(self, start: int, end: int) -> None:
        first, last = bisect_left(self._ends, start), bisect_right(self._starts, end)
        if first < last:
            start, end = min(start, self._starts[first]), max(end, self._ends[last - 1])
        self._starts[first:last], self._ends[first:last] = [start], [end]

    def _join(self) -> None:
        """Blocks that the edge has reached become part of what is whole."""
        while self._starts and self._starts[0] <= self.edge:
            self.edge = max(self.edge, self._ends.pop(0))
            del self._starts[0]


class TcpStream(StreamCoverage):
    """With the bytes: `data` are those that lie in one piece from the first on. Later ones wait for what is missing."""

    __slots__ = ("_waiting", "data")

    def __init__(self) -> None:
        super().__init__()
        self.data = bytearray()
        self._waiting: list[tuple[int, bytes]] = []

    def opened_by(self, packet: Packet) -> bool:
        """Whether this SYN, or the same one sent again, begins the stream; another one begins another connection."""
        return self.first == (packet.seq + 1) & MASK

    def add(self, packet: Packet) -> None:
        """Take in a segment. Bytes that are there already are ignored."""
        seq, payload = (packet.seq + bool(packet.flags & SYN)) & MASK, packet.payload
        self.begin(seq)
        heappush(self._waiting, (self.place(seq) - self.first, payload))
        self.take(seq, len(payload), fin=False)
        while self._waiting and self._waiting[0][0] <= len(self.data):
            at, payload = heappop(self._waiting)
            self.data += payload[len(self.data) - at :]
