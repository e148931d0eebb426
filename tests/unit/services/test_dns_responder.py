import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import pytest
from faultlab_services.dns_faults import FaultPlan, parse_fault
from faultlab_services.dns_responder import Answer, Responder
from faultlab_services.dns_zone import Zone
from hypothesis import given
from hypothesis import strategies as st

RECORDS = {"tcp-server": ["10.77.0.2"], "many": [f"10.1.0.{n}" for n in range(1, 101)]}


def responder(*faults: str) -> Responder:
    zone = Zone("lab", RECORDS)
    return Responder(zone, FaultPlan([parse_fault(fault) for fault in faults], 0, zone.origin))


def ask(query: dns.message.Message, *faults: str, over_udp: bool = True) -> tuple[Answer, dns.message.Message]:
    answer = responder(*faults).respond(query.to_wire(), over_udp)
    assert answer is not None
    assert answer.wire is not None
    return answer, dns.message.from_wire(answer.wire)


def query(name: str = "tcp-server.lab.", payload: int | None = None) -> dns.message.Message:
    return dns.message.make_query(name, "A", use_edns=payload is not None, payload=payload or 0)


def test_golden_bytes() -> None:
    """A query and its answer written by hand (RFC 1035 section 4)."""
    asked = bytes.fromhex("1234 0100 0001 0000 0000 0000 0a 7463702d736572766572 03 6c6162 00 0001 0001")
    answered = bytes.fromhex(
        "1234 8500 0001 0001 0000 0000 0a 7463702d736572766572 03 6c6162 00 0001 0001"
        "c00c 0001 0001 0000003c 0004 0a4d0002"
    )
    answer = responder().respond(asked, over_udp=True)
    assert answer is not None
    assert answer.wire == answered
    assert (answer.rcode, answer.qname, answer.qtype) == ("NOERROR", "tcp-server.lab.", "A")


@pytest.mark.parametrize(
    ("payload", "over_udp", "whole"),
    [(None, True, False), (512, True, False), (1232, True, False), (4096, True, True), (None, False, True)],
)
def test_an_answer_over_the_askers_size_is_truncated(payload: int | None, over_udp: bool, whole: bool) -> None:
    answer, response = ask(query("many.lab.", payload), over_udp=over_udp)
    assert bool(response.flags & dns.flags.TC) is answer.truncated is (not whole)
    assert sum(len(rrset) for rrset in response.answer) == (100 if whole else 0)
    assert response.edns == (-1 if payload is None else 0)


def test_fragments_and_responses_get_no_answer() -> None:
    assert responder().respond(b"", over_udp=True) is None
    assert responder().respond(b"\x12\x34\x01", over_udp=True) is None
    response = dns.message.make_response(query())
    assert responder().respond(response.to_wire(), over_udp=True) is None


def test_other_opcodes_are_not_implemented() -> None:
    update = query()
    update.set_opcode(dns.opcode.STATUS)
    assert ask(update)[1].rcode() == dns.rcode.NOTIMP


@pytest.mark.parametrize(
    "wire",
    [
        bytes.fromhex("1234 0100 0001 0000 0000 0000 ff"),
        bytes.fromhex("1234 0100 0000 0000 0000 0000"),
        bytes.fromhex("1234 0100 0002 0000 0000 0000 0161 00 0001 0001 0162 00 0001 0001"),
        bytes.fromhex("1234 0100 0001 0000 0000 0000 c00c 0001 0001"),
        query().to_wire() + b"junk",
    ],
    ids=["cut", "no question", "two questions", "pointer loop", "trailing junk"],
)
def test_malformed_queries_are_format_errors(wire: bytes) -> None:
    answer = responder().respond(wire, over_udp=True)
    assert answer is not None
    assert answer.wire is not None
    assert answer.wire[:4] == wire[:2] + b"\x80\x01"
    assert len(answer.wire) == 12


def test_an_edns_version_of_the_future() -> None:
    future = query(payload=1232)
    future.use_edns(1, payload=1232)
    assert ask(future)[1].rcode() == dns.rcode.BADVERS


@given(st.one_of(st.binary(max_size=100), st.binary(max_size=60).map(lambda tail: b"\x12\x34\x01\x00\x00\x01" + tail)))
def test_no_bytes_crash_it(wire: bytes) -> None:
    answer = responder("delay=1ms", "wrong-id=50%", "truncate=50%").respond(wire, over_udp=True)
    assert answer is None or answer.wire is None or answer.wire[2] & 0x80


@given(st.data())
def test_no_damaged_query_crashes_it(data: st.DataObject) -> None:
    wire = bytearray(query(payload=1232).to_wire())
    for _ in range(data.draw(st.integers(1, 4))):
        wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    responder().respond(bytes(wire), over_udp=True)


def test_faults() -> None:
    assert ask(query(), "servfail")[1].rcode() == dns.rcode.SERVFAIL
    cut = ask(query(), "truncate")[1]
    assert cut.flags & dns.flags.TC
    assert not cut.answer
    assert ask(query(), "truncate", over_udp=False)[1].answer
    asked = query()
    assert ask(asked, "wrong-id")[1].id != asked.id
    assert ask(query(), "delay=200ms", "delay=100ms")[0].delay_s == pytest.approx(0.3)
    dropped = responder("drop").respond(query().to_wire(), over_udp=True)
    assert dropped is not None
    assert (dropped.wire, dropped.faults) == (None, ("drop",))
