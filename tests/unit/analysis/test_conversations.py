"""Flows of a subject: their numbers, names and facts; whose packets are whose; and which are worth a look."""

from __future__ import annotations

from pathlib import Path

import pytest
from faultlab.analysis.build_ladder import build_steps
from faultlab.analysis.conversations import Conversations
from faultlab.analysis.overview import overview, overview_of_file
from faultlab.analysis.paths import path_facts
from faultlab.analysis.remarks import remarks
from faultlab.analysis.subject import Subject, open_subject
from faultlab.analysis.telling import telling
from faultlab.errors import UsageError
from faultlab.faults import Drop, Latency, Loss, Match, Reset
from faultlab.report.gather import run_page

from tests.support.virtual_wire import ACK, CLIENT, MS, PSH, SYN, TCP_SERVER, TO_TCP, TO_UDP, ip_frame, tcp, udp
from tests.unit.checks.histories import datagrams, record

PORTS = (20_000, 30_000)
ECHO = ((8, (CLIENT, TCP_SERVER)), (0, (TCP_SERVER, CLIENT)))
"""ICMP types of a question and its answer (RFC 792), and from whom to whom."""


def connection(port: int) -> list[bytes]:
    """A handshake, and a segment that is sent twice."""
    answer = {"source": TCP_SERVER, "target": CLIENT, "port": 8082, "to": port}
    data = tcp(b"x" * 10, PSH | ACK, seq=1001, ack=5001, port=port)
    return [
        tcp(flags=SYN, seq=1000, port=port),
        tcp(flags=SYN | ACK, seq=5000, ack=1001, **answer),  # type: ignore[arg-type]
        tcp(seq=1001, ack=5001, port=port),
        data,
        data,
        tcp(seq=5001, ack=1011, **answer),  # type: ignore[arg-type]
    ]


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    """Two connections, of which the second loses its first data segment, and a datagram between them."""
    fault = Drop(match=Match(payload="x" * 10, port=PORTS[1], which=1))
    record(tmp_path, [*connection(PORTS[0])[:4], *datagrams([b"one"]), *connection(PORTS[1])], [(TO_TCP, fault)])
    return open_subject(tmp_path)


def test_flows_in_the_order_they_began(subject: Subject) -> None:
    flows = Conversations(subject).all
    assert [(one.number, one.stream, str(one), one.packets) for one in flows] == [
        (1, 0, "tcp client:20000 <-> tcp-server:8082", (3, 1)),
        (2, 0, "udp client:20000 <-> udp-server:41234", (1, 0)),
        (3, 1, "tcp client:30000 <-> tcp-server:8082", (4, 2)),
    ]
    assert [one.handshake_ns for one in flows] == [1 * MS, None, 1 * MS]
    assert [one.tcp and [side.retransmissions for side in one.tcp] for one in flows] == [[0, 0], None, [1, 0]]
    assert flows[2].first_ns == 5 * MS


def test_the_packets_of_one_flow(subject: Subject) -> None:
    conversations = Conversations(subject)
    assert conversations.keep(2)(subject.main).nonzero()[0].tolist() == [4]
    assert subject.delivered is not None
    assert conversations.keep(3)(subject.delivered).nonzero()[0].tolist() == [5, 6, 7, 8, 9]
    for number in (0, 4):
        with pytest.raises(UsageError, match="expected 1 to 3"):
            conversations.keep(number)


def test_the_flow_in_which_something_happened_is_told_first(subject: Subject) -> None:
    assert telling(subject, Conversations(subject)) == [3]


def test_the_queries_of_a_resolver_are_told_together(tmp_path: Path) -> None:
    queries = [udp(b"a question", port=port, to=53) for port in range(20_000, 20_005)]
    record(tmp_path, [*queries, *connection(PORTS[0])], [(TO_UDP, Loss(every=1))])
    resolver = open_subject(tmp_path)
    conversations = Conversations(resolver)
    assert telling(resolver, conversations) == [1, 6]
    assert conversations.together(1)(resolver.main).nonzero()[0].tolist() == [0, 1, 2, 3, 4]
    assert conversations.together(6)(resolver.main).nonzero()[0].tolist() == [5, 6, 7, 8, 9, 10]


def test_where_nothing_happened_it_is_the_first(tmp_path: Path) -> None:
    record(tmp_path, connection(PORTS[0])[:4], [(TO_TCP, Latency(delay_ms=5))])
    quiet = open_subject(tmp_path)
    assert telling(quiet, Conversations(quiet)) == [1]


def test_a_segment_sent_again_says_what_it_repeats(subject: Subject) -> None:
    assert remarks(subject, Conversations(subject), path_facts(subject)) == {10: ["repeats frame 9, which f1 dropped"]}


def test_of_one_capture_tcps_analysis_is_all_there_is(subject: Subject) -> None:
    alone = open_subject(subject.path / "sent.pcapng")
    assert remarks(alone, Conversations(alone), path_facts(alone)) == {10: ["retransmission"]}


def test_a_reset_by_the_lab_is_its_connections(tmp_path: Path) -> None:
    """Of three on the same ports the second is reset; the packets of a flow have its RSTs, the report its row."""
    again = [tcp(flags=SYN, seq=at, port=PORTS[0]) for at in (1000, 2000, 3000)]
    data = tcp(b"here", PSH | ACK, seq=2001, port=PORTS[0])
    record(
        tmp_path, [*again[:2], data, again[2], *connection(PORTS[1])], [(TO_TCP, Reset(match=Match(payload="here")))]
    )
    reset = open_subject(tmp_path)
    conversations = Conversations(reset)
    assert [flow.forged_resets for flow in conversations.all] == [(0, 0), (1, 1), (0, 0), (0, 0)]
    steps = build_steps(reset, keep=conversations.keep(2))
    assert [step.what for step in steps if step.forged] == ["RST", "RST"]
    table = next(table for table in run_page(tmp_path, "a run", lambda _: {}).tables if table.id == "flows")
    assert [row[-1] for row in table.rows] == ["–", "by the lab (RST to client:20000 and tcp-server:8082)", "–", "–"]


def test_what_has_no_ports_is_a_flow_of_two_hosts(tmp_path: Path) -> None:
    pings = [ip_frame(*ends, 1, bytes((kind, 0, 0, 0, 0, 1, 0, 1)) + b"x" * 48) for kind, ends in ECHO] * 2
    other = ip_frame(CLIENT, TCP_SERVER, 132, b"an SCTP packet")
    record(tmp_path, [*datagrams([b"one"]), *pings, other])
    subject = open_subject(tmp_path)
    conversations = Conversations(subject)
    assert [(str(one), one.packets, one.bytes) for one in conversations.all] == [
        ("udp client:20000 <-> udp-server:41234", (1, 0), (31, 0)),
        ("icmp client <-> tcp-server", (2, 2), (152, 152)),
        ("protocol 132 client <-> tcp-server", (1, 0), (34, 0)),
    ]
    assert conversations.keep(2)(subject.main).nonzero()[0].tolist() == [1, 2, 3, 4]
    assert subject.delivered is not None
    assert conversations.keep(2)(subject.delivered).nonzero()[0].tolist() == [1, 2, 3, 4]
    assert overview_of_file(tmp_path / "sent.pcapng").flows == overview(open_subject(tmp_path / "sent.pcapng")).flows


def test_an_overview_made_in_one_pass_is_the_one_of_the_whole(subject: Subject) -> None:
    file = subject.path / "sent.pcapng"
    passed, whole = overview_of_file(file), overview(open_subject(file))
    assert passed == whole
    assert [one.packets for one in passed.captures] == [11]
