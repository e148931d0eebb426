"""Whether a replay repeated the drops, on literal ones."""

from __future__ import annotations

import pytest

from lab.checks import Verdict
from lab.replay import Drop, Sent, Traffic, compare
from lab.sendings import Sending

PATH, FLOW = "client->tcp-server", "tcp client:20000 -> tcp-server:8082"


def drop(sending: Sending, copy: int = 0) -> Drop:
    return PATH, FLOW, sending, copy


BYTES, AGAIN = drop(Sending("bytes", 40)), drop(Sending("bytes", 40, 2))
ACK, DATAGRAM = drop(Sending("ACK", 40)), drop(Sending("packet", 3))
SYN: Sent = (PATH, FLOW, Sending("SYN", 0))


def traffic(*dropped: Drop, also: tuple[Sent, ...] = (SYN,)) -> Traffic:
    sent = frozenset(one[:3] for one in dropped) | frozenset(also)
    return Traffic(sent, dict.fromkeys(dropped, "f1"), dict.fromkeys(dropped, 1))


def test_all_repeated() -> None:
    drops = frozenset({BYTES, AGAIN, ACK, DATAGRAM})
    result = compare(drops, traffic(*drops), "r")
    assert (result.verdict, result.summary) == (Verdict.PASS, "repeated 4 of 4 drops of r")


def test_what_tcp_did_not_send_this_time_is_told_and_no_failure() -> None:
    result = compare(frozenset({BYTES, AGAIN, ACK}), traffic(BYTES), "r")
    assert (result.verdict, result.summary) == (Verdict.PASS, "repeated 1 of 3 drops of r; TCP sent no more: 2")
    assert [str(finding) for finding in result.findings] == [
        f"TCP had no need to send ACK 40 of {FLOW} on {PATH} this time",
        f"TCP had no need to send bytes 40 (sent for time 2) of {FLOW} on {PATH} this time",
    ]


def test_what_the_application_sent_then_and_not_now_is_unclear() -> None:
    for missing in (BYTES, DATAGRAM, drop(Sending("SYN", 0)), drop(Sending("packet", 3), copy=1)):
        result = compare(frozenset({missing, ACK}), traffic(ACK, also=()), "r")
        assert result.verdict == Verdict.INCONCLUSIVE
        assert "was not there to drop" in result.summary


@pytest.mark.parametrize("spared", [AGAIN, ACK])
def test_what_was_sent_and_not_dropped_is_unclear_also_where_tcp_decides(spared: Drop) -> None:
    result = compare(frozenset({BYTES, spared}), traffic(BYTES, also=(SYN, spared[:3])), "r")
    assert result.verdict == Verdict.INCONCLUSIVE
    assert result.summary == f"{spared[2]} of {FLOW} on {PATH} was sent, and not dropped"


@pytest.mark.parametrize(("missing", "lacking"), [(AGAIN, (SYN,)), (ACK, (BYTES[:3],))])
def test_tcp_decides_nothing_about_what_the_application_never_sent(missing: Drop, lacking: tuple[Sent, ...]) -> None:
    """A retransmission whose segment was not sent, an ACK whose connection was not opened: other traffic."""
    result = compare(frozenset({missing}), traffic(also=lacking), "r")
    assert result.verdict == Verdict.INCONCLUSIVE
    assert "was not there to drop" in result.summary
