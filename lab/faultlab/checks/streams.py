"""TCP streams put together again from the delivered capture (RFC 9293, 3.4), as the receiving stack must have."""

from __future__ import annotations

from dataclasses import dataclass, field

from faultlab.evidence.run_evidence import Evidence
from faultlab.network.packets import SYN, TCP, Packet, checksum_right

_HALF = 1 << 31


@dataclass
class Stream:
    """One direction of a connection. `data` is what lies in order from the first byte on."""

    first_seq: int | None = None
    data: bytearray = field(default_factory=bytearray)
    segments: int = 0
    _ahead: dict[int, bytes] = field(default_factory=dict)

    def add(self, packet: Packet) -> None:
        """Take in a segment that arrived; bytes that came before are ignored, later ones wait."""
        if packet.flags & SYN:
            self.first_seq = (packet.seq + 1) & 0xFFFFFFFF
            return
        if self.first_seq is None or packet.payload_at == packet.payload_end:
            return
        self.segments += 1
        at = (packet.seq - self.first_seq) & 0xFFFFFFFF
        if at < _HALF:
            known = self._ahead.get(at, b"")
            self._ahead[at] = max(known, packet.payload, key=len)
        self._join()

    def _join(self) -> None:
        joined = True
        while joined:
            joined = False
            for at in sorted(self._ahead):
                if at > len(self.data):
                    return
                payload = self._ahead.pop(at)
                if at + len(payload) > len(self.data):
                    self.data += payload[len(self.data) - at :]
                    joined = True


def streams(evidence: Evidence, node: str, port: int, *, answers: bool = False) -> dict[int, Stream]:
    """What was delivered to a TCP port of a node, by the sender's port; a broken checksum does not count.

    With `answers`, what was delivered to a node from that port, by the port that it came to.
    """
    found: dict[int, Stream] = {}
    capture = evidence.delivered
    for index in range(len(capture)):
        if capture.node(index) != node:
            continue
        packet = Packet.parse(capture.frame(index))
        key, service = packet.source_port, packet.target_port
        if answers:
            key, service = service, key
        if packet.protocol == TCP and service == port and checksum_right(packet):
            if packet.flags & SYN:
                known = found.get(key)
                if known is None or known.first_seq != (packet.seq + 1) & 0xFFFFFFFF:
                    found[key] = Stream()
            found.setdefault(key, Stream()).add(packet)
    return found
