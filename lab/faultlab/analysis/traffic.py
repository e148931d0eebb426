"""Counts of each path from the captures as they grow: what a ledger does not say, or is not there yet to say."""

from __future__ import annotations

from collections.abc import Sequence

from faultlab.analysis.capture_tail import Seen
from faultlab.analysis.counts import Counts
from faultlab.network.packets import ACK, Packet, SentStreams, takes_sequence_numbers
from faultlab.network.topology import Node

MOST_FLOWS = 1 << 16
"""Of more, the oldest are forgotten, and a segment of theirs that is sent again is not known as such."""


class Traffic:
    """Takes packets in the order in which they were sent."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._names = [node.name for node in nodes]
        self._by_mac = {node.mac_bytes: node.name for node in nodes}
        self._streams = SentStreams(MOST_FLOWS)
        self.paths: dict[str, Counts] = {}
        """Known are `packets`, `size`, `delivered`, `retransmissions`, `connections`; the rest stays as it is made."""

    def see(self, seen: Seen) -> None:
        """A packet of either side. Frames to or from nobody are on no path."""
        frame = seen.frame
        if seen.side == "delivered":
            path = self._path(self._by_mac.get(frame[6:12]), self._names[seen.node])
            if path is not None:
                path.delivered += 1
            return
        path = self._path(self._names[seen.node], self._by_mac.get(frame[:6]))
        if path is not None:
            path.packets += 1
            path.size += len(frame)
            self._segment(path, Packet.parse(frame))

    def _path(self, source: str | None, target: str | None) -> Counts | None:
        if source is None or target is None or source == target:
            return None
        return self.paths.setdefault(f"{source}->{target}", Counts())

    def _segment(self, path: Counts, packet: Packet) -> None:
        """A segment that takes sequence numbers, none of which is new, is one sent again (RFC 9293, 3.4)."""
        if takes_sequence_numbers(packet):
            opens, again = self._streams.take(packet)
            path.connections += opens and not packet.flags & ACK
            path.retransmissions += again
