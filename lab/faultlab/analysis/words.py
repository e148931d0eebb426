"""What a packet is, in words: "SYN-ACK", "data 1..103 (102 B)", "DNS query A tcp-server.lab", "datagram 98 B msg-0-7-".

Sequence numbers count from the connection's SYN, which is 0, so that the first byte of data is 1 (RFC 9293, 3.4; as
Wireshark's relative numbers). A range ends before its second number: "data 1..103" is answered by "ACK 103".
"""

from __future__ import annotations

import re
from typing import NamedTuple

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype

from faultlab.analysis.protocols import DNS_PORT
from faultlab.network.packets import ACK, FIN, MASK, RST, SYN, TCP, UDP, Packet, ahead, protocol_name

_TEXT_BYTES = 24
_TEXT = re.compile(rb"[ -~]{3,}")
_ANSWERS_SHOWN = 2


class Direction(NamedTuple):
    """One way of a conversation: addresses as bytes, as they stand in the packet."""

    source: bytes
    source_port: int
    target: bytes
    target_port: int

    @classmethod
    def of(cls, packet: Packet) -> Direction:
        return cls(packet.source, packet.source_port, packet.target, packet.target_port)

    @property
    def back(self) -> Direction:
        return Direction(self.target, self.target_port, self.source, self.source_port)


class Numbering:
    """Sequence numbers relative to their connection's start, for packets given in the order they were sent."""

    def __init__(self) -> None:
        self._first: dict[Direction, int] = {}

    def note(self, packet: Packet) -> None:
        """Learn from a packet where its stream begins: at a SYN, or just before the first byte that is seen."""
        if packet.protocol != TCP or packet.fragment:
            return
        direction = Direction.of(packet)
        if packet.flags & SYN:
            self._first[direction] = packet.seq
            if not packet.flags & ACK:
                self._first.pop(direction.back, None)  # the ports are used anew
        self._first.setdefault(direction, (packet.seq - 1) & MASK)
        if packet.flags & ACK:
            self._first.setdefault(direction.back, (packet.ack - 1) & MASK)

    def seq(self, packet: Packet, direction: Direction) -> int:
        """The segment's first sequence number; negative where it lies before the stream's start."""
        return ahead(packet.seq, self._first.get(direction, packet.seq))

    def ack(self, packet: Packet, direction: Direction) -> int:
        return ahead(packet.ack, self._first.get(direction.back, packet.ack))


def packet_text(packet: Packet, numbering: Numbering, direction: Direction | None = None) -> str:
    """One short phrase. `direction` is the stream it belongs to, where its own ports were changed on the way."""
    if packet.fragment & 0x1FFF:
        return f"fragment at byte {(packet.fragment & 0x1FFF) * 8} ({len(packet.payload)} B)"
    if packet.protocol == TCP:
        return _segment(packet, numbering, direction or Direction.of(packet))
    if packet.protocol == UDP:
        return _datagram(packet)
    return f"{protocol_name(packet.protocol)} {len(packet.payload)} B" if packet.version else "no IP"


def _segment(packet: Packet, numbering: Numbering, direction: Direction) -> str:
    flags, size = packet.flags, packet.payload_end - packet.payload_at
    first, acknowledged = numbering.seq(packet, direction), numbering.ack(packet, direction)
    if flags & RST:
        return "RST"
    words = []
    if flags & SYN:
        words.append("SYN-ACK" if flags & ACK else "SYN")
    if size:
        begin = first + bool(flags & SYN)
        text = _dns(packet.payload[2:]) if DNS_PORT in (packet.source_port, packet.target_port) else None
        words.append(f"data {begin}..{begin + size} ({size} B{f', {text}' if text else ''})")
    if flags & FIN:
        words.append("FIN")
    return " + ".join(words) or (f"ACK {acknowledged}" if flags & ACK else "segment without flags")


def _datagram(packet: Packet) -> str:
    payload, size = packet.payload, packet.payload_end - packet.payload_at
    if packet.fragment:
        whole = int.from_bytes(packet.frame[packet.l4_at + 4 : packet.l4_at + 6]) - 8
        return f"datagram {whole} B, first fragment ({size} B)"
    text = _dns(payload) if DNS_PORT in (packet.source_port, packet.target_port) else None
    return text or " ".join(filter(None, (f"datagram {size} B", _beginning(payload))))


def _beginning(payload: bytes) -> str:
    """The first words of a payload that begins as text; of our own messages their name, `msg-0-7-`."""
    found = _TEXT.match(payload[:_TEXT_BYTES])
    if found is None:
        return ""
    text = found.group().decode()
    ours = re.match(r"msg-\d+-\d+-", text)
    return ours.group() if ours else text


def _dns(payload: bytes) -> str | None:
    """None where it is no DNS message (RFC 1035, 4.1)."""
    try:
        message = dns.message.from_wire(payload, ignore_trailing=True)
    except (dns.exception.DNSException, ValueError):
        return None
    if not message.question:
        return "DNS message without a question"
    question = message.question[0]
    asked = f"{dns.rdatatype.to_text(question.rdtype)} {question.name.to_text(omit_final_dot=True)}"
    if not message.flags & dns.flags.QR:
        return f"DNS query {asked}"
    if message.rcode():
        return f"DNS answer {asked}: {dns.rcode.to_text(message.rcode())}"
    found = [item.to_text() for answer in message.answer for item in answer]
    more = f" and {len(found) - _ANSWERS_SHOWN} more" if len(found) > _ANSWERS_SHOWN else ""
    cut = " (cut short: ask again over TCP)" if message.flags & dns.flags.TC else ""
    return f"DNS answer {asked}: {', '.join(found[:_ANSWERS_SHOWN]) or 'nothing'}{more}{cut}"
