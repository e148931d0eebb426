"""What arrives when packets are lost, doubled, changed or cut off: TCP against UDP.

TCP acknowledges and sends again, so its user gets every byte once or is told that the connection is lost (RFC 9293, 3.8
and 3.9.1). UDP does nothing of that (RFC 768): what the network does to a datagram, the user sees, except that a broken
checksum keeps it away. `pytest tests/degraded/test_reliability.py --runtime netns` runs these on one runtime.
"""

from __future__ import annotations

from collections import Counter

import pytest

from tests.degraded.judge import Judge


def test_tcp_sends_what_was_lost_again(judge: Judge) -> None:
    """Of some 200 segments each way a fifth is lost (none of 120: 2 x 0.8^120 < 1e-11); every message arrives once."""
    judge("""
        workload: [tcp: {to: "tcp-server:8082", framing: length2, connections: 4, messages: 99, pace: 20ms, window: 99}]
        faults: [{on: client<->tcp-server, at: 300ms, for: 1s, loss: 20%}]
        checks: [reliability, healed, {retransmissions: {at_least: 1}}]
    """)


def test_udp_loses_what_was_lost(judge: Judge) -> None:
    """Every fifth of 100 datagrams is lost, and nobody sends it again: the server gets 80."""
    judged = judge("""
        workload: [udp: {to: "udp-server:41234", messages: 100, mode: echo, timeout: 200ms}]
        faults: [{on: client->udp-server, loss: {every: 5}}]
        checks: [udp_accounting]
    """)
    assert len(judged.arrivals("datagram", "udp-server")) == 80


def test_udp_with_retries_is_at_least_once(judge: Judge) -> None:
    """Every fifth answer is lost, so its datagram is sent again: all are answered, and some arrive twice."""
    judged = judge("""
        workload: [udp: {to: "udp-server:41234", messages: 40, mode: echo, timeout: 100ms, retries: 20}]
        faults: [{on: udp-server->client, loss: {every: 5}}]
        checks: [{udp_accounting: {all_answered: true}}]
    """)
    times = Counter(line["digest"] for line in judged.arrivals("datagram", "udp-server"))
    assert len(times) == 40
    assert max(times.values()) > 1


def test_tcp_takes_a_doubled_segment_once(judge: Judge) -> None:
    judge("""
        workload: [tcp: {to: "tcp-server:8082", framing: length2, messages: 60}]
        faults: [{on: client<->tcp-server, duplicate: {every: 3}}]
        checks: [reliability, {retransmissions: {at_most: 0}}]
    """)


def test_udp_hands_a_doubled_datagram_out_twice(judge: Judge) -> None:
    judged = judge("""
        workload: [udp: {to: "udp-server:41234", messages: 60, mode: echo}]
        faults: [{on: client->udp-server, duplicate: {every: 3}}]
        checks: [udp_accounting]
    """)
    assert len(judged.arrivals("datagram", "udp-server")) == 80


@pytest.mark.parametrize("runtime", ["netns"], indirect=True)
@pytest.mark.parametrize(
    ("family", "faults"),
    [
        (4, "[{on: client<->udp-server, loss: 10%}]"),
        (6, "[{on: client<->udp-server, duplicate: 30%, loss: 5%}]"),
        (4, "[{on: client<->udp-server, latency: {delay: 10ms, jitter: 10ms}}]"),
        (6, "[{on: client<->udp-server, reorder: 25%, latency: 3ms}]"),
        (4, "[{on: client->udp-server, corrupt: 10%}]"),
    ],
    ids=["loss", "doubled", "jitter", "reordered", "corrupted"],
)
def test_a_datagram_counts_in_however_many_fragments_it_comes(family: int, faults: str, judge: Judge) -> None:
    """4,000 bytes are three IP fragments (RFC 791, 3.2; RFC 8200, 4.5): the receiver's kernel says what is whole."""
    judged = judge(f"""
        seed: 5
        workload: [udp: {{to: "udp-server:41234", messages: 100, size: 4000B, pace: 5ms, mode: echo, family: {family},
                         timeout: 300ms}}]
        faults: {faults}
        checks: [udp_accounting]
    """)
    arrived = len(judged.arrivals("datagram", "udp-server"))
    accounted = next(check.summary for check in judged.result.checks if check.name == "udp_accounting")
    assert accounted.startswith("100 sent: ") and accounted.endswith(f"; {arrived} received")


def test_a_flipped_bit_never_gets_past_tcps_checksum(judge: Judge) -> None:
    """RFC 9293, 3.1: a segment whose checksum is wrong is thrown away, so TCP sends it again."""
    judge("""
        workload: [tcp: {to: "tcp-server:8082", framing: length2, messages: 30}]
        faults: [{on: client->tcp-server, corrupt: {every: 10}}]
        checks: [reliability, framing, {retransmissions: {at_least: 1}}]
    """)


def test_a_flipped_bit_costs_udp_the_datagram(judge: Judge) -> None:
    """RFC 768: the checksum is all that UDP has. The application never hears of the datagram."""
    judged = judge("""
        workload: [udp: {to: "udp-server:41234", messages: 60, mode: echo, timeout: 200ms}]
        faults: [{on: client->udp-server, corrupt: {every: 3}}]
        checks: [udp_accounting]
    """)
    assert len(judged.arrivals("datagram", "udp-server")) == 40


def test_tcp_outlives_a_cut_that_ends(judge: Judge) -> None:
    """Retransmissions come at doubling pauses (RFC 6298, 5.5) until one gets through."""
    judge("""
        workload: [tcp: {to: "tcp-server:8082", framing: length2, messages: 100, pace: 20ms, window: 100}]
        faults: [{on: client->tcp-server, at: 300ms, for: 700ms, partition: true}]
        checks: [reliability, healed]
    """)


def test_a_cut_that_stays_is_told_as_unknown(judge: Judge) -> None:
    """The client gives up; what it had sent may have arrived or not, and it says so for each message."""
    judge("""
        workload: [tcp: {to: "tcp-server:8082", framing: length2, messages: 60, pace: 20ms, window: 60, timeout: 1s}]
        faults: [{on: tcp-server->client, at: 300ms, partition: true}]
        checks: [reported]
    """)


def test_a_reset_ends_one_connection_and_no_other(judge: Judge) -> None:
    """RFC 9293, 3.5.3. The first connection's tenth data segment is replaced by a RST."""
    judge("""
        workload: [tcp: {to: "tcp-server:8082", framing: length2, connections: 3, messages: 99, pace: 20ms, window: 99}]
        faults: [{on: client->tcp-server, for: 1s, reset: {nth: [10], match: {source_port: 20000}}}]
        checks: [reported, healed]
    """)
