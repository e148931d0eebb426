"""From the bytes of a query to the bytes of its answer: sans-IO, and safe against any bytes."""

import struct
from dataclasses import dataclass, replace

import dns.exception
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdatatype

from faultlab_services.dns_faults import DnsFault, FaultPlan
from faultlab_services.dns_zone import EDNS_PAYLOAD_BYTES, Zone

HEADER_BYTES = 12
CLASSIC_UDP_BYTES = 512  # RFC 1035 section 4.2.1
MAX_MESSAGE_BYTES = 65535

_QR = 0x8000
_OPCODE = 0x7800


@dataclass(frozen=True)
class Answer:
    """What to send, when, and what to write down; `wire` None means to stay silent."""

    wire: bytes | None
    rcode: str
    qname: str | None = None
    qtype: str | None = None
    delay_s: float = 0.0
    faults: tuple[str, ...] = ()
    truncated: bool = False


class Responder:
    """Answers queries from `zone`, with the faults of `plan`."""

    def __init__(self, zone: Zone, plan: FaultPlan) -> None:
        self._zone = zone
        self._plan = plan

    def respond(self, wire: bytes, over_udp: bool) -> Answer | None:
        """The answer to the bytes of one message; None for what no server may answer: fragments and responses."""
        if len(wire) < HEADER_BYTES:
            return None
        number, flags = struct.unpack_from("!HH", wire)
        if flags & _QR:
            return None
        if flags & _OPCODE:
            return _header_only(number, flags, dns.rcode.NOTIMP)
        try:
            query = dns.message.from_wire(wire)
        except dns.exception.DNSException:
            return _header_only(number, flags, dns.rcode.FORMERR)
        if len(query.question) != 1:
            return _header_only(number, flags, dns.rcode.FORMERR)
        return self._answer(query, over_udp)

    def _answer(self, query: dns.message.Message, over_udp: bool) -> Answer:
        question = query.question[0]
        qtype = dns.rdatatype.to_text(question.rdtype)
        faults = self._plan.strike(question.name, qtype)
        kinds = {fault.kind for fault in faults}
        response = self._response(query, "servfail" in kinds)
        rendered = _render(response, _limit(query) if over_udp else MAX_MESSAGE_BYTES, over_udp and "truncate" in kinds)
        answer = replace(
            rendered,
            qname=question.name.to_text(),
            qtype=qtype,
            delay_s=sum(fault.delay_s for fault in faults),
            faults=tuple(fault.text for fault in faults),
        )
        return _disturbed(answer, faults)

    def _response(self, query: dns.message.Message, failing: bool) -> dns.message.Message:
        if query.edns > 0:
            return _refusal(query, dns.rcode.BADVERS)  # RFC 6891 section 6.1.3
        return _refusal(query, dns.rcode.SERVFAIL) if failing else self._zone.answer(query)


def _header_only(number: int, flags: int, rcode: dns.rcode.Rcode) -> Answer:
    wire = struct.pack("!HHHHHH", number, _QR | flags & _OPCODE | rcode, 0, 0, 0, 0)
    return Answer(wire, dns.rcode.to_text(rcode))


def _refusal(query: dns.message.Message, rcode: dns.rcode.Rcode) -> dns.message.Message:
    response = dns.message.make_response(query, our_payload=EDNS_PAYLOAD_BYTES, pad=0)
    response.set_rcode(rcode)
    return response


def _limit(query: dns.message.Message) -> int:
    """The longest UDP answer that the asker takes (RFC 6891 section 6.2.3)."""
    return max(CLASSIC_UDP_BYTES, query.payload) if query.edns >= 0 else CLASSIC_UDP_BYTES


def _render(response: dns.message.Message, limit: int, cut: bool) -> Answer:
    rcode = dns.rcode.to_text(response.rcode())
    if not cut:
        try:
            return Answer(response.to_wire(max_size=limit, want_shuffle=False), rcode)
        except dns.exception.TooBig:
            pass
    response.flags |= dns.flags.TC
    response.answer, response.authority = [], []
    return Answer(response.to_wire(max_size=limit, want_shuffle=False), rcode, truncated=True)


def _disturbed(answer: Answer, faults: list[DnsFault]) -> Answer:
    kinds = {fault.kind for fault in faults}
    wire = answer.wire
    if "drop" in kinds or wire is None:
        return replace(answer, wire=None)
    if "wrong-id" in kinds:
        return replace(answer, wire=bytes((wire[0] ^ 0xFF, wire[1] ^ 0xFF)) + wire[2:])
    return answer
