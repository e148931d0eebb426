"""Where messages begin and end: TCP keeps no boundaries, so they stick together and fall apart; framing puts them back.

RFC 9293, 3.9.1: SEND and RECEIVE deal in octets, and how many a RECEIVE returns has nothing to do with any SEND. UDP
keeps each datagram whole (RFC 768).
"""

from __future__ import annotations

from pathlib import Path

import pytest
from faultlab.evidence.run_evidence import Evidence
from faultlab.network.packets import TCP, Packet

from tests.degraded.judge import Judge, Judged

SLICED = "toxic: {type: slicer, stream: upstream, average_size: 3B, size_variation: 1B, delay: 200us}"


def reads(judged: Judged) -> list[int]:
    """The sizes of what the raw server read at a time."""
    return [line["size"] for line in judged.arrivals("chunk", "tcp-server")]


def test_messages_stick_together(judge: Judge) -> None:
    """Ten messages of 50 bytes wait behind a lost one, and are read at once with it."""
    judged = judge("""
        workload: [tcp: {to: "tcp-server:8080", framing: raw, messages: 20, size: 50B, window: 20}]
        faults: [{on: client<->tcp-server, latency: 20ms}, {on: client->tcp-server, drop: {data: true, which: [1]}}]
        checks: [reliability]
    """)
    assert sum(reads(judged)) == 20 * 50
    assert max(reads(judged)) > 50


def segments(judged: Judged) -> list[int]:
    """The payloads' sizes of the client's data segments; what TCP sent again, on a machine that stood, counts once."""
    sent = Evidence(Path(judged.result.evidence)).sent
    packets = [Packet.parse(one.frame) for one in sent if one.node == "client"]
    data = [one for one in packets if one.protocol == TCP and one.payload_end > one.payload_at]
    return list({one.seq: one.payload_end - one.payload_at for one in data}.values())


@pytest.mark.parametrize(("nagle", "fewer"), [("false", False), ("true", True)])
def test_nagle_makes_small_messages_stick(nagle: str, fewer: bool, judge: Judge) -> None:
    """RFC 9293, 3.7.4: while the first is unacknowledged (40 ms) the others wait, and leave as one segment.

    Without it each of eight messages, 1 ms apart, is a segment: as many as TCP begins with fit in (RFC 6928).
    """
    judged = judge(f"""
        workload: [tcp: {{to: "tcp-server:8082", framing: length2, messages: 8, size: 20B, window: 8, pace: 1ms,
                          nagle: {nagle}}}]
        faults: [{{on: client<->tcp-server, latency: 20ms}}]
        checks: [reliability, framing]
    """)
    assert (len(segments(judged)) < 8) is fewer


def test_small_segments_split_a_message(judge: Judge) -> None:
    """1,000 bytes and their length in segments of 100 less 12 of options: twelve of them, and nobody notices."""
    judged = judge("""
        workload: [tcp: {to: "tcp-server:8082", framing: length2, messages: 3, size: 1000B, max_segment: 100B}]
        faults: [{on: client->tcp-server, latency: 5ms}]
        checks: [reliability, framing]
    """)
    assert max(segments(judged)) == 88
    assert len(segments(judged)) == 3 * 12


def test_a_message_falls_apart(judge: Judge) -> None:
    """One message of 50 bytes, and each read gets 20 of them at most: the rest comes 200 ms later."""
    judged = judge("""
        workload: [tcp: {to: "tcp-server:8080", framing: raw, messages: 1, size: 50B}]
        faults: [{on: client->tcp-server, cut: {at: [20, 40]}}]
        checks: [reliability]
    """)
    assert reads(judged) == [20, 20, 10]


def test_a_message_that_is_larger_than_a_segment_comes_in_pieces(judge: Judge) -> None:
    """A narrow path spreads the segments of 1,448 bytes over 60 ms, so the server reads what is there."""
    judged = judge("""
        workload: [tcp: {to: "tcp-server:8080", framing: raw, messages: 1, size: 8KiB}]
        faults: [{on: client->tcp-server, rate: 1mbit}]
        checks: [reliability]
    """)
    assert len(reads(judged)) > 1
    assert sum(reads(judged)) == 8192


def test_a_segment_is_cut_once(judge: Judge) -> None:
    """Seven places lie in each message: cut at each, TCP would double its time-out up to 25 s before the last byte."""
    judged = judge("""
        workload: [tcp: {to: "tcp-server:8080", framing: raw, messages: 3, size: 100B}]
        faults: [{on: client->tcp-server, cut: 13}]
        checks: [reliability, {retransmissions: {at_least: 3}}]
    """)
    assert len(reads(judged)) == 6


@pytest.mark.parametrize(("framing", "port", "overhead"), [("line", 8081, 1), ("length2", 8082, 2)])
def test_a_cut_at_each_byte_of_a_frame_is_mended(framing: str, port: int, overhead: int, judge: Judge) -> None:
    """Frames of n bytes, one at a time, cut at each multiple of n + 1: so at each offset in turn, by the network."""
    frame = 10 + overhead
    judged = judge(f"""
        workload: [tcp: {{to: "tcp-server:{port}", framing: {framing}, messages: {frame + 4}, size: 10B}}]
        faults: [{{on: client->tcp-server, cut: {frame + 1}}}]
        checks: [reliability, ordering, framing, {{retransmissions: {{at_least: {frame - 1}}}}}]
    """)
    assert len(judged.arrivals("frame", "tcp-server")) == frame + 4


@pytest.mark.parametrize(("framing", "overhead"), [("length4", 4), ("varint", 1)])
def test_so_it_is_for_framings_of_other_servers(framing: str, overhead: int, judge: Judge) -> None:
    """The same, of a server that is put into the lab as a user's would be."""
    frame = 10 + overhead
    judge(f"""
        server:
          command: [python, -m, faultlab_services, tcp-server, --{framing}-port, "9000"]
          image: fault-lab/node
          port: 9000
        workload: [tcp: {{to: "server:9000", framing: {framing}, messages: {frame + 4}, size: 10B}}]
        faults: [{{on: client->server, cut: {frame + 1}}}]
        checks: [reliability, ordering, framing, {{retransmissions: {{at_least: {frame - 1}}}}}]
    """)


@pytest.mark.parametrize(("framing", "port"), [("line", 8081), ("length2", 8082)])
def test_slices_of_a_few_bytes_are_put_together(framing: str, port: int, judge: Judge) -> None:
    """toxiproxy hands the stream on in slices of 2 to 4 bytes: every message begins and ends in the middle of one."""
    judge(f"""
        workload: [tcp: {{to: "toxiproxy:{port}", framing: {framing}, messages: 30, size: 10B..200B, window: 30}}]
        faults: [{{on: "toxiproxy:{port}", {SLICED}}}]
        checks: [reliability, ordering, framing]
    """)


@pytest.mark.parametrize(("framing", "port"), [("line", 8081), ("length2", 8082)])
def test_losses_move_no_boundary(framing: str, port: int, judge: Judge) -> None:
    """Lost segments make TCP join what it sends again with what waits: frames come stuck together, and whole."""
    judge(f"""
        workload: [tcp: {{to: "tcp-server:{port}", framing: {framing}, messages: 200, size: 0B..300B, window: 200}}]
        faults: [{{on: client<->tcp-server, loss: {{every: 9}}, latency: 5ms}}]
        checks: [reliability, ordering, framing, {{retransmissions: {{at_least: 1}}}}]
    """)


def test_a_datagram_is_whole_or_not_there(judge: Judge) -> None:
    judged = judge("""
        workload: [udp: {to: "udp-server:41234", messages: 60, size: 1B..1400B, mode: echo, timeout: 200ms}]
        faults: [{on: client->udp-server, loss: {every: 4}, latency: {delay: 10ms, jitter: 10ms}}]
        checks: [udp_accounting]
    """)
    sent = {line["digest"] for line in judged.sent("udp-client-1")}
    assert {line["digest"] for line in judged.arrivals("datagram", "udp-server")} <= sent
