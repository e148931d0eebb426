"""In which order it arrives: TCP puts every byte in its place, and makes what came early wait; UDP does neither.

RFC 9293, 3.4 and 3.10.7.4: a segment that is not the next one waits until the gap is filled. RFC 768 has no order.
"""

from __future__ import annotations

from tests.degraded.judge import Judge, Judged

OVERTAKING = "latency: 40ms, reorder: {percent: 50%, gap: 2}"


def order(judged: Judged, op: str, server: str, client: str) -> list[int]:
    """The messages' numbers, as the server's application got them."""
    numbers = {line["digest"]: line["n"] for line in judged.sent(client)}
    return [numbers[line["digest"]] for line in judged.arrivals(op, server)]


def test_tcp_puts_what_overtook_back_into_its_place(judge: Judge) -> None:
    """Packets overtake with even odds (none of 60: 0.5^30 < 1e-9), and the application notices nothing."""
    judged = judge(f"""
        workload: [tcp: {{to: "tcp-server:8081", framing: line, messages: 200, pace: 4ms, window: 200}}]
        faults: [{{on: client->tcp-server, {OVERTAKING}}}]
        checks: [reliability, ordering, framing]
    """)
    arrived = order(judged, "frame", "tcp-server", "tcp-client-1")
    assert arrived == sorted(arrived)


def test_udp_hands_out_what_overtook_first(judge: Judge) -> None:
    judged = judge(f"""
        workload: [udp: {{to: "udp-server:41234", messages: 200, pace: 4ms, mode: echo}}]
        faults: [{{on: client->udp-server, {OVERTAKING}}}]
        checks: [udp_accounting]
    """)
    arrived = order(judged, "datagram", "udp-server", "udp-client-1")
    assert arrived != sorted(arrived)
    assert sorted(arrived) == list(range(200))


def test_one_lost_segment_holds_up_all_behind_it(judge: Judge) -> None:
    """Head-of-line blocking: messages 11 to 19 are in the server's kernel while message 10 is sent again.

    They are handed out with it, later than they came by what a retransmission takes (RFC 6298: more than a round trip).
    """
    judged = judge("""
        workload: [tcp: {to: "tcp-server:8082", framing: length2, messages: 20, window: 20, pace: 1ms}]
        faults:
          - {on: client<->tcp-server, latency: 50ms}
          - {on: client->tcp-server, drop: {payload: msg-0-10-, which: first}}
        checks: [reliability, ordering]
    """)
    left = {line["n"]: line["t"] for line in judged.sent("tcp-client-1")}
    came = {line["n"]: line["t"] for line in judged.arrivals("frame", "tcp-server")}
    assert all(came[n] >= came[10] for n in range(11, 20))
    assert came[11] - left[11] >= 100e6, "11 was not lost, and took more than a round trip all the same"


def test_udp_has_no_line_to_be_at_the_head_of(judge: Judge) -> None:
    """The same loss, and only that datagram is missing; the one behind it came before the next was sent."""
    judged = judge("""
        workload: [udp: {to: "udp-server:41234", messages: 20, pace: 30ms, mode: echo, timeout: 200ms}]
        faults: [{on: client->udp-server, drop: {payload: msg-0-10-}}]
        checks: [udp_accounting]
    """)
    assert order(judged, "datagram", "udp-server", "udp-client-1") == [n for n in range(20) if n != 10]
