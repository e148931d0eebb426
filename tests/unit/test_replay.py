"""Whether a replay repeated the drops, on literal ones."""

from __future__ import annotations

from lab.checks import Verdict
from lab.replay import Drop, compare
from lab.sendings import Sending

PATH, FLOW = "client->tcp-server", "tcp client:20000 -> tcp-server:8082"


def drop(sending: Sending, copy: int = 0) -> Drop:
    return PATH, FLOW, sending, copy


BYTES, AGAIN = drop(Sending("bytes", 40)), drop(Sending("bytes", 40, 2))
ACK, DATAGRAM = drop(Sending("ACK", 40)), drop(Sending("packet", 3))


def test_all_repeated() -> None:
    drops = frozenset({BYTES, AGAIN, ACK, DATAGRAM})
    result = compare(drops, drops, "r")
    assert (result.verdict, result.summary) == (Verdict.PASS, "repeated 4 of 4 drops of r")


def test_what_tcp_did_not_send_this_time_is_told_and_no_failure() -> None:
    result = compare(frozenset({BYTES, AGAIN, ACK}), frozenset({BYTES}), "r")
    assert (result.verdict, result.summary) == (Verdict.PASS, "repeated 1 of 3 drops of r; TCP sent no more: 2")
    assert [str(finding) for finding in result.findings] == [
        f"TCP had no need to send ACK 40 of {FLOW} on {PATH} this time",
        f"TCP had no need to send bytes 40 (sent for time 2) of {FLOW} on {PATH} this time",
    ]


def test_what_the_application_sent_then_and_not_now_is_unclear() -> None:
    for missing in (BYTES, DATAGRAM, drop(Sending("SYN", 0)), drop(Sending("packet", 3), copy=1)):
        result = compare(frozenset({missing, ACK}), frozenset({ACK}), "r")
        assert result.verdict == Verdict.INCONCLUSIVE
        assert "was not there to drop" in result.summary
