"""What is plotted of packets that went through the wire's core."""

from __future__ import annotations

from pathlib import Path

from faultlab.analysis.conversations import Conversations
from faultlab.analysis.paths import path_facts
from faultlab.analysis.subject import open_subject
from faultlab.faults import Drop, Fault, Latency, Match
from faultlab.report.figures import Points
from faultlab.report.series import Conversation, Course, conversations, course, delays, round_trips_by_node

from tests.support.virtual_wire import ACK, CLIENT, PSH, SYN, TCP_SERVER, TO_TCP, TO_UDP, tcp
from tests.unit.checks.histories import datagrams, record

BACK = {"source": TCP_SERVER, "target": CLIENT, "port": 8082, "to": 20_000}
OPENING = [tcp(flags=SYN, seq=1000), tcp(flags=SYN | ACK, seq=5000, ack=1001, **BACK), tcp(seq=1001, ack=5001)]
FIRST, SECOND = tcp(b"x" * 10, PSH | ACK, seq=1001, ack=5001), tcp(b"x" * 10, PSH | ACK, seq=1011, ack=5001)
FIRST_ACK, BOTH_ACK = tcp(seq=5001, ack=1011, **BACK), tcp(seq=5001, ack=1021, **BACK)


def courses(folder: Path, frames: list[bytes], *faults: tuple[str, Fault]) -> list[tuple[Conversation, Course]]:
    """Frames are sent a millisecond apart, the first of them at time 0."""
    record(folder, frames, faults)
    subject = open_subject(folder)
    paths = path_facts(subject)
    flows = Conversations(subject)
    return [(one, course(subject, flows, one, paths)) for one in conversations(subject, flows, paths)]


def told(points: Points) -> list[tuple[float, float]]:
    """(ms, value)"""
    return [(round(at * 1e3, 3), value) for at, value in zip(points.seconds, points.values, strict=True)]


def test_a_stream_in_bytes(tmp_path: Path) -> None:
    [(conversation, drawn)] = courses(tmp_path, [*OPENING, FIRST, FIRST_ACK, SECOND, BOTH_ACK])
    assert (conversation.name, conversation.trouble) == ("client:20000 to tcp-server:8082", 0)
    there, back = drawn.ways
    assert (there.path, back.path) == ("client->tcp-server", "tcp-server->client")
    assert told(there.sent) == [(0, 0), (3, 1), (5, 11)]
    assert told(there.acked) == [(1, 1), (4, 11), (6, 21)]
    assert told(back.sent) == [(1, 0)]
    assert not len(there.lost) + len(there.again) + len(back.lost) + len(back.again)


def test_round_trips_end_where_the_answer_arrives(tmp_path: Path) -> None:
    slow = ("tcp-server->client", Latency(delay_ms=50))
    [(_, drawn)] = courses(tmp_path, [*OPENING, FIRST, FIRST_ACK], slow)
    assert [(node, told(points)) for node, points in drawn.round_trips] == [
        ("client", [(51, 51), (54, 51)]),
        ("tcp-server", [(2, 1)]),
    ]


def test_what_was_sent_twice_measures_no_round_trip(tmp_path: Path) -> None:
    lost = (TO_TCP, Drop(match=Match(payload="x", which=1)))
    [(conversation, drawn)] = courses(tmp_path, [*OPENING, FIRST, SECOND, FIRST, FIRST_ACK, BOTH_ACK], lost)
    there = drawn.ways[0]
    assert conversation.trouble == 2
    assert told(there.lost) == [(3, 1)]
    assert told(there.again) == [(5, 1)]
    assert dict(drawn.round_trips)["client"].seconds.tolist() == [0.001, 0.007]


def test_an_acknowledgement_of_two_measures_the_newer(tmp_path: Path) -> None:
    [(_, drawn)] = courses(tmp_path, [*OPENING, FIRST, SECOND, BOTH_ACK])
    assert told(dict(drawn.round_trips)["client"]) == [(1, 1), (5, 1)]


def test_datagrams_are_counted(tmp_path: Path) -> None:
    lost = (TO_UDP, Drop(match=Match(which=2)))
    [(conversation, drawn)] = courses(tmp_path, datagrams([b"one", b"two", b"three"]), lost)
    assert (conversation.name, conversation.flow, conversation.trouble) == ("client and udp-server", None, 1)
    (way,) = drawn.ways
    assert (way.unit, told(way.sent), told(way.lost)) == ("packets", [(0, 1), (2, 3)], [(1, 2)])


def test_delays_of_what_arrived(tmp_path: Path) -> None:
    record(tmp_path, datagrams([b"one", b"two"]), [(TO_UDP, Latency(delay_ms=5))])
    (path,) = delays(path_facts(open_subject(tmp_path)))
    assert path.path == TO_UDP
    assert path.asked_ms is not None
    assert (path.seconds.tolist(), path.measured_ms.tolist(), path.asked_ms.tolist()) == ([0, 0.001], [5, 5], [5, 5])


def test_round_trips_of_several_connections_are_one_trace_a_node() -> None:
    one = Course((), (("client", Points.of([1, 3], [10, 30])), ("server", Points.of([2], [5]))))
    other = Course((), (("client", Points.of([2], [20])),))
    (client, points), (server, _) = round_trips_by_node([one, other])
    assert (client, server) == ("client", "server")
    assert (points.seconds.tolist(), points.values.tolist()) == ([1, 2, 3], [10, 20, 30])
