"""Whether a replay repeated the drops, on literal ones."""

from __future__ import annotations

import json

import pytest
from faultlab.checks import Verdict
from faultlab.network.sendings import Sending
from faultlab.running.replay import RecordedDrop, RecordedPacket, RecordedTraffic, compare

PATH, FLOW = "client->tcp-server", "tcp client:20000 -> tcp-server:8082"


def drop(sending: Sending, copy: int = 0) -> RecordedDrop:
    return PATH, FLOW, sending, copy


BYTES, AGAIN = drop(Sending("bytes", 40)), drop(Sending("bytes", 40, 2))
ACK, DATAGRAM = drop(Sending("ACK", 40)), drop(Sending("packet", 3))
SYN: RecordedPacket = (PATH, FLOW, Sending("SYN", 0))


def traffic(
    *dropped: RecordedDrop, also: tuple[RecordedPacket, ...] = (SYN,), doubled: tuple[RecordedPacket, ...] = ()
) -> RecordedTraffic:
    """`also` arrived, and of `doubled` one copy of two."""
    sent = frozenset(one[:3] for one in dropped) | frozenset(also)
    arrived = frozenset((*also, *doubled))
    return RecordedTraffic(
        sent | arrived, dict.fromkeys(dropped, "f1"), dict.fromkeys(dropped, 1), arrived, frozenset(doubled)
    )


def test_all_repeated() -> None:
    drops = frozenset({BYTES, AGAIN, ACK, DATAGRAM})
    result = compare(traffic(*drops), traffic(*drops), "r")
    assert (result.verdict, result.summary) == (Verdict.PASS, "repeated 4 of 4 drops of r")


def test_what_tcp_did_not_send_this_time_is_told_and_no_failure() -> None:
    result = compare(traffic(BYTES, AGAIN, ACK), traffic(BYTES), "r")
    assert (result.verdict, result.summary) == (Verdict.PASS, "repeated 1 of 3 drops of r; TCP sent no more: 2")
    assert [str(finding) for finding in result.findings] == [
        f"TCP had no need to send ACK 40 of {FLOW} on {PATH} this time",
        f"TCP had no need to send bytes 40 (sent for time 2) of {FLOW} on {PATH} this time",
    ]


def test_what_the_application_sent_then_and_not_now_is_unclear() -> None:
    for missing in (BYTES, DATAGRAM, drop(Sending("SYN", 0)), drop(Sending("packet", 3), copy=1)):
        result = compare(traffic(missing, ACK), traffic(ACK, also=()), "r")
        assert result.verdict == Verdict.INCONCLUSIVE
        assert "was not there to drop" in result.summary


@pytest.mark.parametrize("spared", [AGAIN, ACK])
def test_what_was_sent_and_not_dropped_is_unclear_also_where_tcp_decides(spared: RecordedDrop) -> None:
    result = compare(traffic(BYTES, spared), traffic(BYTES, also=(SYN, spared[:3])), "r")
    assert result.verdict == Verdict.INCONCLUSIVE
    assert result.summary == f"{spared[2]} of {FLOW} on {PATH} was sent, and not dropped"


@pytest.mark.parametrize(("missing", "lacking"), [(AGAIN, (SYN,)), (ACK, (BYTES[:3],))])
def test_tcp_decides_nothing_about_what_the_application_never_sent(
    missing: RecordedDrop, lacking: tuple[RecordedPacket, ...]
) -> None:
    """A retransmission whose segment was not sent, an ACK whose connection was not opened: other traffic."""
    result = compare(traffic(missing), traffic(also=lacking), "r")
    assert result.verdict == Verdict.INCONCLUSIVE
    assert "was not there to drop" in result.summary


COPY = drop(Sending("bytes", 40), copy=1)


def test_a_packet_that_was_lost_is_lost_with_every_copy() -> None:
    """It was not doubled then, and is now, or the other way round."""
    both = traffic(BYTES, COPY)
    assert compare(traffic(BYTES), both, "r").verdict == Verdict.PASS
    assert compare(both, traffic(BYTES), "r").verdict == Verdict.PASS
    one_came = compare(traffic(BYTES), traffic(BYTES, doubled=(BYTES[:3],)), "r")
    assert (one_came.verdict, one_came.summary) == (
        Verdict.INCONCLUSIVE,
        f"bytes 40 of {FLOW} on {PATH} was sent, and not dropped",
    )


def test_a_copy_that_is_not_made_now_was_not_needed() -> None:
    then = traffic(COPY, doubled=(COPY[:3],))
    result = compare(then, traffic(also=(SYN, COPY[:3])), "r")
    assert (result.verdict, result.summary) == (Verdict.PASS, "repeated 0 of 1 drops of r; not doubled: 1")
    result = compare(then, traffic(doubled=(COPY[:3],)), "r")
    assert (result.verdict, result.summary) == (
        Verdict.INCONCLUSIVE,
        f"bytes 40 of {FLOW} on {PATH} was sent, and not dropped",
    )


def test_a_packet_some_of_whose_drops_are_left_out_arrives() -> None:
    """As `lab shrink` tries them: of three copies two were dropped."""
    then = traffic(BYTES, COPY, DATAGRAM)
    orders = {
        drops: {tuple(one[2]): (one[3], one[4]) for one in json.loads(then.orders(drops))}
        for drops in ((BYTES, COPY, DATAGRAM), (BYTES,))
    }
    assert orders == {
        (BYTES, COPY, DATAGRAM): {
            ("bytes", 40, 1): ([[0, "f1"], [1, "f1"]], False), ("packet", 3, 1): ([[0, "f1"]], False),
        },
        (BYTES,): {("bytes", 40, 1): ([[0, "f1"]], True)},
    }  # fmt: skip
