"""Which bytes of one direction's stream were seen: how far it is whole, and what is beyond.

Sequence numbers (RFC 9293, 3.4) are unwrapped to positions, which only grow. A FIN takes one and is no byte.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from faultlab.network.packets import ahead

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
