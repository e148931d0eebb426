"""Ethernet frames as the lab reads them: offsets, not objects.

`Packet.parse` finds the few fields that faults and the ledger ask for: addresses, ports, TCP flags, sequence and
acknowledgement numbers, where the payload starts. Sources: RFC 791, RFC 8200, RFC 9293, RFC 768.
No I/O, no clock.
"""

from __future__ import annotations

from struct import Struct

ETHERNET_HEADER = 14
IPV4 = 0x0800
IPV6 = 0x86DD
ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58
PROTOCOL_NAMES = {ICMP: "icmp", TCP: "tcp", UDP: "udp", ICMPV6: "icmpv6"}


def protocol_name(protocol: int) -> str:
    """Of a number in an IP header: `tcp`, or `protocol 47` (IANA, Protocol Numbers)."""
    return PROTOCOL_NAMES.get(protocol, f"protocol {protocol}")


FIN, SYN, RST, PSH, ACK, URG = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
FLAG_NAMES = {"fin": FIN, "syn": SYN, "rst": RST, "psh": PSH, "ack": ACK, "urg": URG}

HALF, MASK = 1 << 31, (1 << 32) - 1
"""Of sequence numbers, which are counted modulo 2^32 (RFC 9293, 3.4): less than half of them ahead is ahead."""

_U16 = Struct("!H")
_U32 = Struct("!I")
_PORTS = Struct("!HH")
_TCP_START = Struct("!HHII")
_ICMP_ERRORS = {ICMP: (3, 4, 11, 12), ICMPV6: (1, 2, 3, 4)}
"""Types that quote the packet which caused them (RFC 792; RFC 4443, 2.1)."""
_IPV6_EXTENSIONS = {0, 43, 60}
_IPV6_FRAGMENT = 44


class Packet:
    """One frame, parsed. Offsets count from the start of the frame; `payload_at` is the end where there is none.

    `ordinal` is the packet's number in its flow (from 1) and `copy` its number among duplicates (0 is the
    original); the engine sets both. `stream_at` is the TCP payload's offset in its byte stream, from 0, or -1
    where the engine has not seen the connection's SYN.
    """

    __slots__ = (
        "ack",
        "copy",
        "flags",
        "fragment",
        "frame",
        "ip_id",
        "l3_at",
        "l4_at",
        "ordinal",
        "payload_at",
        "payload_end",
        "protocol",
        "seq",
        "source",
        "source_port",
        "stream_at",
        "target",
        "target_port",
        "version",
    )

    def __init__(self, frame: bytes) -> None:
        self.frame = frame
        self.version = 0
        self.protocol = 0
        self.source = self.target = b""
        self.source_port = self.target_port = 0
        self.flags = self.seq = self.ack = 0
        self.ip_id = 0
        self.fragment = 0
        self.l3_at = self.l4_at = ETHERNET_HEADER
        self.payload_at = self.payload_end = len(frame)
        self.ordinal = self.copy = 0
        self.stream_at = -1

    @classmethod
    def parse(cls, frame: bytes) -> Packet:
        """Never fails: what can't be read stays zero, and a frame cut short has no payload."""
        packet = cls(frame)
        if len(frame) < ETHERNET_HEADER:
            return packet
        ethertype = _U16.unpack_from(frame, 12)[0]
        if ethertype == IPV4 and len(frame) >= 34:
            packet._parse_ipv4()
        elif ethertype == IPV6 and len(frame) >= 54:
            packet._parse_ipv6()
        return packet

    @property
    def payload(self) -> bytes:
        """The transport's payload (for a later IP fragment: the fragment's)."""
        return self.frame[self.payload_at : self.payload_end]

    @property
    def ip_size(self) -> int:
        """The IP packet's size in bytes, header included: what path MTU counts (RFC 1191)."""
        return len(self.frame) - ETHERNET_HEADER

    @property
    def stream_size(self) -> int:
        """Sequence numbers the segment takes: its payload, and one each for SYN and FIN (RFC 9293, 3.4)."""
        size = self.payload_end - self.payload_at
        return size + bool(self.flags & SYN) + bool(self.flags & FIN)

    def _parse_ipv4(self) -> None:
        frame = self.frame
        self.version = 4
        self.protocol = frame[23]
        self.source, self.target = frame[26:30], frame[30:34]
        self.ip_id = _U16.unpack_from(frame, 18)[0]
        self.l4_at = ETHERNET_HEADER + (frame[14] & 0x0F) * 4
        # 0: the device cuts the packet into segments, and each has its own length (offload).
        size = _U16.unpack_from(frame, 16)[0] or len(frame)
        self.payload_end = min(len(frame), ETHERNET_HEADER + size)
        self.fragment = _U16.unpack_from(frame, 20)[0] & 0x3FFF
        self._parse_transport(first_fragment=not self.fragment & 0x1FFF)

    def _parse_ipv6(self) -> None:
        frame = self.frame
        self.version = 6
        self.source, self.target = frame[22:38], frame[38:54]
        size = _U16.unpack_from(frame, 18)[0] or len(frame)  # 0: as for IPv4, or a jumbogram (RFC 2675)
        self.payload_end = min(len(frame), 54 + size)
        header, at, first = frame[20], 54, True
        while (header in _IPV6_EXTENSIONS or header == _IPV6_FRAGMENT) and at + 8 <= len(frame):
            if header == _IPV6_FRAGMENT:
                offset = _U16.unpack_from(frame, at + 2)[0]
                self.fragment = (offset >> 3) | (offset & 1) << 13
                self.ip_id = _U32.unpack_from(frame, at + 4)[0]
                first = not offset >> 3
                size = 8
            else:
                size = (frame[at + 1] + 1) * 8
            header, at = frame[at], at + size
        self.protocol, self.l4_at = header, at
        self._parse_transport(first)

    def _parse_transport(self, first_fragment: bool) -> None:
        frame, at = self.frame, self.l4_at
        self.payload_at = min(at, self.payload_end)
        if not first_fragment:
            return
        if self.protocol == TCP and at + 20 <= self.payload_end:
            self.source_port, self.target_port, self.seq, self.ack = _TCP_START.unpack_from(frame, at)
            self.flags = frame[at + 13]
            self.payload_at = min(at + (frame[at + 12] >> 4) * 4, self.payload_end)
        elif self.protocol == UDP and at + 8 <= self.payload_end:
            self.source_port = _U16.unpack_from(frame, at)[0]
            self.target_port = _U16.unpack_from(frame, at + 2)[0]
            self.payload_at = at + 8


def ahead(number: int, of: int) -> int:
    """How far a sequence number is ahead of another; negative where it lies behind (RFC 1982, 3.2)."""
    return ((number - of + HALF) & MASK) - HALF


class SentStreams:
    """How far each TCP stream was sent, of packets in the order in which their senders sent them.

    `most`: of more streams the oldest are forgotten, and what is sent again of them is not known as such.
    """

    def __init__(self, most: int = 1 << 30) -> None:
        self._most = most
        self._highest: dict[tuple[bytes, int, bytes, int], int] = {}
        self._opened: dict[tuple[bytes, int, bytes, int], int] = {}

    def take(self, packet: Packet) -> tuple[bool, bool]:
        """Of a segment that takes sequence numbers: (it begins a stream, some of them were sent before).

        The second is a retransmission (RFC 4022, tcpRetransSegs: "one or more previously transmitted octets"). A SYN
        with another number begins a stream anew, perhaps on the ports of an earlier one (RFC 9293, 3.4).
        """
        flow = (packet.source, packet.source_port, packet.target, packet.target_port)
        opens = bool(packet.flags & SYN) and self._opened.get(flow) != packet.seq
        if opens:
            self._opened[flow] = packet.seq
            self._highest.pop(flow, None)
        end = (packet.seq + packet.stream_size) & MASK
        before = self._highest.get(flow)
        if before is None or ahead(end, before) > 0:
            self._highest[flow] = end
        if len(self._highest) > self._most:
            oldest = next(iter(self._highest))
            del self._highest[oldest]
            self._opened.pop(oldest, None)
        return opens, before is not None and ahead(packet.seq, before) < 0


def takes_sequence_numbers(packet: Packet) -> bool:
    """Whether it is a TCP segment with data, SYN or FIN; a later IP fragment has no TCP header."""
    return packet.protocol == TCP and not packet.fragment & 0x1FFF and packet.stream_size > 0


def stream_offset(packet: Packet, syn_seq: int) -> int:
    """Where a segment stands in its byte stream, from 0; `syn_seq` is the SYN's sequence number (RFC 9293, 3.4)."""
    return (packet.seq + bool(packet.flags & SYN) - syn_seq - 1) & MASK


def internet_checksum(data: bytes) -> int:
    """The ones' complement of the ones' complement sum of 16-bit words (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    # 2**16 is 1 modulo 65535, so the whole number modulo 65535 is the folded sum (0 and 65535 both stand for zero).
    return 0xFFFF - (int.from_bytes(data, "big") % 0xFFFF)


def with_checksums(frame: bytes) -> bytes:
    """The same frame with its IPv4 header, TCP or UDP checksum made right. A fragment keeps its transport's."""
    packet = Packet.parse(frame)
    out = bytearray(frame)
    if packet.version == 4:
        out[24:26] = b"\0\0"
        out[24:26] = _U16.pack(internet_checksum(bytes(out[ETHERNET_HEADER : packet.l4_at])))
    at = _checksum_at(packet)
    if at is None:
        return bytes(out)
    out[at : at + 2] = b"\0\0"
    value = internet_checksum(_pseudo_header(packet) + bytes(out[packet.l4_at : packet.payload_end]))
    if packet.protocol == UDP and value == 0:
        value = 0xFFFF  # RFC 768: a computed zero is sent as all ones
    out[at : at + 2] = _U16.pack(value)
    return bytes(out)


def shortened(packet: Packet, keep: int) -> bytes:
    """A TCP segment with only the first `keep` bytes of its payload, and without a FIN, which stood after the last."""
    frame = bytearray(packet.frame[: packet.payload_at + keep])
    size = len(frame) - ETHERNET_HEADER
    at, length = (ETHERNET_HEADER + 2, size) if packet.version == 4 else (ETHERNET_HEADER + 4, size - 40)
    frame[at : at + 2] = _U16.pack(length)
    frame[packet.l4_at + 13] &= ~FIN
    return with_checksums(bytes(frame))


def with_sequence(packet: Packet, seq: int) -> bytes:
    """A TCP segment with another sequence number and a right checksum."""
    frame = bytearray(packet.frame)
    frame[packet.l4_at + 4 : packet.l4_at + 8] = _U32.pack(seq)
    return with_checksums(bytes(frame))


def checksum_right(packet: Packet) -> bool:
    """Whether a receiving stack takes the packet: its transport's checksum is right, or it has none to check."""
    at = _checksum_at(packet)
    if at is None or (packet.protocol == UDP and packet.frame[at : at + 2] == b"\0\0" and packet.version == 4):
        return True
    segment = packet.frame[packet.l4_at : packet.payload_end]
    return internet_checksum(_pseudo_header(packet) + segment) in (0, 0xFFFF)


def _checksum_at(packet: Packet) -> int | None:
    """Where the transport's checksum stands; None for a fragment, or a protocol without one that we know."""
    field = {TCP: 16, UDP: 6, ICMPV6: 2}.get(packet.protocol)
    if field is None or packet.fragment or packet.payload_end < packet.l4_at + field + 2:
        return None
    return packet.l4_at + field


def _pseudo_header(packet: Packet) -> bytes:
    """RFC 9293, 3.1 and RFC 8200, 8.1."""
    size = packet.payload_end - packet.l4_at
    if packet.version == 4:
        return packet.source + packet.target + bytes((0, packet.protocol)) + _U16.pack(size)
    return packet.source + packet.target + _U32.pack(size) + bytes((0, 0, 0, packet.protocol))


def with_source_port(packet: Packet, port: int) -> bytes:
    """The frame with another TCP or UDP source port, its checksum as right or wrong as before."""
    return _with_port(packet, packet.l4_at, port)


def with_target_port(packet: Packet, port: int) -> bytes:
    """The frame with another TCP or UDP destination port, its checksum as right or wrong as before."""
    return _with_port(packet, packet.l4_at + 2, port)


def _with_port(packet: Packet, at: int, port: int) -> bytes:
    """Mends the checksum by the difference (RFC 1624, 3): that works for a datagram's first fragment too."""
    out = bytearray(packet.frame)
    old, out[at : at + 2] = _U16.unpack_from(out, at)[0], _U16.pack(port)
    checksum_at = packet.l4_at + (16 if packet.protocol == TCP else 6)
    checksum = _U16.unpack_from(out, checksum_at)[0]
    if packet.protocol == TCP or checksum:
        out[checksum_at : checksum_at + 2] = _mended(checksum, old, port)
    return bytes(out)


def _mended(checksum: int, old: int, new: int) -> bytes:
    """The difference is taken modulo 65535; of its two zeros, UDP keeps the other one for "no checksum" (RFC 768)."""
    return _U16.pack(0xFFFF - (0xFFFF - checksum - old + new) % 0xFFFF)


def quoted(packet: Packet) -> Packet | None:
    """The packet that an ICMP error is about, as far as it is quoted; None where there is none with ports."""
    frame, at = packet.frame, packet.l4_at + 8
    if packet.fragment or at >= packet.payload_end or frame[packet.l4_at] not in _ICMP_ERRORS.get(packet.protocol, ()):
        return None
    cause = Packet.parse(frame[:ETHERNET_HEADER] + frame[at : packet.payload_end])
    if cause.protocol not in (TCP, UDP) or cause.l4_at + 4 > len(cause.frame) or cause.fragment & 0x1FFF:
        return None
    cause.source_port, cause.target_port = _PORTS.unpack_from(cause.frame, cause.l4_at)
    return cause


def with_quoted_port(packet: Packet, cause: Packet, port: int, *, source: bool) -> bytes:
    """The ICMP error with another port in what it quotes, both checksums as right or wrong as before."""
    out = bytearray(packet.frame)
    ports_at = packet.l4_at + 8 + cause.l4_at - ETHERNET_HEADER
    at = ports_at if source else ports_at + 2
    old = _U16.unpack_from(out, at)[0]
    out[at : at + 2] = _U16.pack(port)
    inner, outer = ports_at + (16 if cause.protocol == TCP else 6), packet.l4_at + 2
    has_inner = inner + 2 <= packet.payload_end and (cause.protocol == TCP or out[inner : inner + 2] != b"\0\0")
    # A sum over port and checksum stays what it was where the checksum is mended; so the outer one is mended else.
    mend = inner if has_inner else outer
    out[mend : mend + 2] = _mended(_U16.unpack_from(out, mend)[0], old, port)
    return bytes(out)


def reset_for(packet: Packet, *, towards_sender: bool) -> bytes:
    """A forged RST that the peer of a TCP segment accepts: its sequence number is the next one that peer expects.

    Towards the receiver it stands in the segment's place (seq as the segment's); towards the sender it takes the
    segment's acknowledgement number (RFC 9293, 3.5.3; RFC 5961, 3.2: only the exact next number resets).
    """
    frame = packet.frame
    ethernet = frame[6:12] + frame[0:6] if towards_sender else frame[0:12]
    source, target = packet.source, packet.target
    ports = (packet.source_port, packet.target_port)
    seq, ack, flags = packet.seq, packet.ack, RST | (packet.flags & ACK)
    if towards_sender:
        source, target, ports = target, source, ports[::-1]
        seq, ack, flags = packet.ack, (packet.seq + packet.stream_size) & MASK, RST | ACK
    tcp = _TCP_START.pack(*ports, seq, ack) + bytes((5 << 4, flags)) + bytes(6)
    if packet.version == 4:
        ip = b"\x45\0" + _U16.pack(40) + bytes((0, 0, 0x40, 0, 64, TCP, 0, 0)) + source + target
        return with_checksums(ethernet + b"\x08\x00" + ip + tcp)
    ip = b"\x60\0\0\0" + _U16.pack(20) + bytes((TCP, 64)) + source + target
    return with_checksums(ethernet + b"\x86\xdd" + ip + tcp)
