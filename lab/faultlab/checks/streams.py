"""TCP streams put together again from the delivered capture (RFC 9293, 3.4), as the receiving stack must have."""

from __future__ import annotations

from faultlab.evidence.run_evidence import Evidence
from faultlab.network.packets import SYN, TCP, Packet, checksum_right
from faultlab.network.tcp_stream import TcpStream


def streams(evidence: Evidence, node: str, port: int, *, answers: bool = False) -> dict[int, TcpStream]:
    """What was delivered to a TCP port of a node, by the sender's port; a broken checksum does not count.

    With `answers`, what was delivered to a node from that port, by the port that it came to.
    """
    found: dict[int, TcpStream] = {}
    capture = evidence.delivered
    for index in range(len(capture)):
        if capture.node(index) != node:
            continue
        packet = Packet.parse(capture.frame(index))
        key, service = packet.source_port, packet.target_port
        if answers:
            key, service = service, key
        if packet.protocol == TCP and service == port and checksum_right(packet):
            stream = found.setdefault(key, TcpStream())
            if packet.flags & SYN and not stream.opened_by(packet):
                stream = found[key] = TcpStream()
            if packet.flags & SYN or stream.edge >= 0:  # where a stream without its SYN begins, nobody knows
                stream.add(packet)
    return found
