"""Round trips and handshakes as the ends saw them, of packets that went through the wire's core."""

from __future__ import annotations

from pathlib import Path

from faultlab.analysis.conversations import Conversations
from faultlab.analysis.flow_facts import FlowFacts
from faultlab.analysis.subject import open_subject
from faultlab.checks import run_check
from faultlab.evidence.run_evidence import Evidence, WorkloadRecord
from faultlab.faults import Drop, Fault, Latency, Match

from tests.support.virtual_wire import ACK, CLIENT, MS, PSH, SYN, TCP_SERVER, TO_TCP, tcp
from tests.unit.checks.histories import record

BACK = "tcp-server->client"


def client(payload: bytes = b"", flags: int = ACK, seq: int = 1001, ack: int = 5001) -> bytes:
    return tcp(payload, flags, seq=seq, ack=ack)


def server(flags: int = ACK, seq: int = 5001, ack: int = 1001) -> bytes:
    return tcp(b"", flags, seq=seq, ack=ack, source=TCP_SERVER, target=CLIENT, port=8082, to=20_000)


OPENING = [client(flags=SYN, seq=1000, ack=0), server(SYN | ACK, seq=5000), client()]
FIRST, SECOND = (client(b"x" * 10, PSH | ACK, seq=seq) for seq in (1001, 1011))


def flow(folder: Path, frames: list[bytes], *faults: tuple[str, Fault]) -> tuple[FlowFacts, Conversations]:
    """Frames are sent a millisecond apart."""
    record(folder, frames, faults)
    conversations = Conversations(open_subject(folder))
    return conversations.all[0], conversations


def trips(conversations: Conversations, side: int = 0) -> list[tuple[float, float]]:
    """(when it was over, how long it took), in ms."""
    stream = conversations.streams.of(0, side)
    assert stream is not None
    return [(over / MS, took / MS) for over, took in zip(*stream.round_trips, strict=True)]


def test_a_round_trip_has_the_way_back_in_it(tmp_path: Path) -> None:
    facts, conversations = flow(tmp_path, [*OPENING, FIRST, server(ack=1011)], (BACK, Latency(delay_ms=50)))
    assert trips(conversations) == [(51, 51), (54, 51)]
    assert trips(conversations, 1) == [(2, 1)]
    assert facts.tcp is not None
    assert [side.rtt_p50_ns for side in facts.tcp] == [51 * MS, 1 * MS]


def test_one_capture_alone_has_its_observers_times(tmp_path: Path) -> None:
    flow(tmp_path, [*OPENING, FIRST, server(ack=1011)], (BACK, Latency(delay_ms=50)))
    (alone,) = Conversations(open_subject(tmp_path / "sent.pcapng")).all
    assert alone.handshake_ns == 2 * MS
    assert alone.tcp is not None
    assert [side.rtt_p50_ns for side in alone.tcp] == [1 * MS, 1 * MS]


def test_what_waited_behind_a_lost_segment_measures_no_round_trip(tmp_path: Path) -> None:
    lost = (TO_TCP, Drop(match=Match(payload="x", which=1)))
    _, conversations = flow(tmp_path, [*OPENING, FIRST, SECOND, FIRST, server(ack=1021)], lost)
    assert trips(conversations) == [(1, 1)]


def test_after_it_they_do_again(tmp_path: Path) -> None:
    lost = (TO_TCP, Drop(match=Match(payload="x", which=1)))
    third = client(b"x" * 10, PSH | ACK, seq=1021)
    frames = [*OPENING, FIRST, SECOND, FIRST, server(ack=1021), third, server(ack=1031)]
    assert trips(flow(tmp_path, frames, lost)[1]) == [(1, 1), (8, 1)]


def test_a_handshake_is_what_the_check_says(tmp_path: Path) -> None:
    again = [*OPENING[:2], OPENING[0], *OPENING[1:]]
    faults = (BACK, Drop(match=Match(tcp="syn+ack", which=1))), (BACK, Latency(delay_ms=50))
    facts, _ = flow(tmp_path, again, *faults)
    assert facts.handshake_ns == 53 * MS
    workload = WorkloadRecord("tcp-1", "tcp", "", "", "client", "tcp-server", 8082, "tcp", "length2", 0, 1, 20_000)
    assert run_check("handshake", {}, Evidence(tmp_path, (workload,))).summary.startswith("0.053 s")


def test_a_handshake_that_its_client_never_saw(tmp_path: Path) -> None:
    facts, _ = flow(tmp_path, OPENING, (BACK, Drop(match=Match(tcp="syn+ack"))))
    assert facts.handshake_ns is None


def test_a_side_that_is_silent(tmp_path: Path) -> None:
    facts, conversations = flow(tmp_path, OPENING[:1])
    assert conversations.streams.of(0, 1) is None
    assert facts.tcp is not None
    assert [side.rtt_p50_ns for side in facts.tcp] == [None, None]
