"""Rate: a token bucket with a queue."""

from __future__ import annotations

import pytest
from faultlab.faults import Effect, Latency, Match, Rate, Reorder
from pydantic import ValidationError

from tests.support.virtual_wire import MS, TO_UDP, Wire, tcp, udp

KILOBYTE = udp(bytes(1000 - 42))
SMALLEST = 1514


def times(wire: Wire) -> list[float]:
    wire.finish()
    return [arrival.time / MS for arrival in wire.arrivals]


def test_after_the_burst_one_packet_at_a_time() -> None:
    """8 kbit/s is one byte a millisecond; the burst covers the first packet and half of the second."""
    wire = Wire()
    wire.set(TO_UDP, Rate(rate_kbit=8, burst_bytes=SMALLEST))
    wire.send(*[KILOBYTE] * 4)
    assert times(wire) == [0, 486, 1486, 2486]
    assert [entry.acts for entry in wire.entries(TO_UDP)] == [(), *[(("f1", Effect.DELAYED, "queue"),)] * 3]


def test_tokens_come_back_but_no_more_than_the_burst() -> None:
    wire = Wire()
    wire.set(TO_UDP, Rate(rate_kbit=8, burst_bytes=SMALLEST))
    wire.send(*[KILOBYTE] * 2)
    wire.send(*[KILOBYTE] * 3, at=60_000 * MS)
    assert times(wire) == [0, 486, 60_000, 60_486, 61_486]


def test_a_queue_of_packets_fills_and_empties() -> None:
    wire = Wire()
    wire.set(TO_UDP, Rate(rate_kbit=8, limit_packets=2))
    wire.send(*[KILOBYTE] * 5)
    wire.send(*[KILOBYTE] * 3, at=500 * MS)
    decisions = [entry.decision for entry in wire.entries(TO_UDP)]
    assert decisions == ["goes on"] * 3 + ["dropped"] * 2 + ["goes on"] + ["dropped"] * 2
    assert wire.entries(TO_UDP)[3].acts == (("f1", Effect.DROPPED, "queue full: 2 packets"),)
    assert times(wire) == [0, 486, 1486, 2486]


def test_a_queue_of_bytes() -> None:
    wire = Wire()
    wire.set(TO_UDP, Rate(rate_kbit=8, limit_bytes=2100))
    wire.send(*[KILOBYTE] * 5, udp(b""))
    assert [entry.decision for entry in wire.entries(TO_UDP)] == [*["goes on"] * 3, "dropped", "dropped", "goes on"]
    assert wire.entries(TO_UDP)[3].acts == (("f1", Effect.DROPPED, "queue full: 2100 bytes"),)


def test_no_limit_given_is_a_thousand_packets() -> None:
    wire = Wire()
    wire.set(TO_UDP, Rate(rate_kbit=8))
    wire.send(*[udp(b"")] * 1200)
    assert wire.core.waiting == 1000


def test_a_frame_larger_than_the_burst_never_fits() -> None:
    wire = Wire()
    wire.set(TO_UDP, Rate(rate_kbit=8, burst_bytes=SMALLEST))
    wire.send(udp(bytes(1473)))
    assert wire.entries(TO_UDP)[0].acts == (("f1", Effect.DROPPED, "larger than the burst of 1514 bytes"),)


def test_all_flows_share_it() -> None:
    wire = Wire()
    wire.set(TO_UDP, Rate(rate_kbit=8))
    wire.send(udp(bytes(958), port=1111), udp(bytes(958), port=2222))
    assert times(wire) == [0, 486]


def test_those_left_out_pass_by_the_queue() -> None:
    wire = Wire()
    wire.set(TO_UDP, Rate(rate_kbit=8, match=Match(protocol="udp")))
    wire.send(KILOBYTE, KILOBYTE, tcp(target=wire.core.nodes[2]))
    assert times(wire) == [0, 0, 486]


def test_the_link_comes_after_the_delay() -> None:
    wire = Wire()
    wire.set(TO_UDP, Latency(delay_ms=100), Rate(rate_kbit=8))
    wire.send(*[KILOBYTE] * 3)
    assert times(wire) == [100, 586, 1586]


def test_behind_jitter_packets_queue_in_the_order_in_which_they_were_sent() -> None:
    """As in sch_netem: the first is delayed by 90 ms, the second by 10, so that it waits for the first at the link."""
    wire = Wire()
    wire.set(TO_UDP, Latency(trace=(90, 10)), Rate(rate_kbit=8, limit_packets=1))
    wire.send(KILOBYTE, KILOBYTE, KILOBYTE)
    assert times(wire) == [90, 576]
    first, second, third = wire.entries(TO_UDP)
    assert [act[1:] for act in second.acts[1:]] == [(Effect.DELAYED, "in order"), (Effect.DELAYED, "queue")]
    assert (second.delay, second.copies, first.acts[1:], first.decision) == (576 * MS, 1, (), "goes on")
    assert (third.decision, third.copies, third.left) == ("dropped", 0, [])


@pytest.mark.parametrize("distribution", ["uniform", "normal", "pareto"])
def test_jitter_before_a_rate_reorders_nothing(distribution: str) -> None:
    """A thousand packets, one each ms, with 20 +- 5 ms before a link that never fills: without it some 400 overtake."""
    latency = Latency.model_validate({"delay_ms": 20, "jitter_ms": 5, "distribution": distribution})
    for faults, ordered in (((latency,), False), ((latency, Rate(rate_kbit=50_000)), True)):
        wire = Wire()
        wire.set(TO_UDP, *faults)
        for number in range(1000):
            wire.send(udp(b"%d" % number), at=number * MS)
        wire.finish()
        order = [int(frame[42:]) for frame in wire.frames(wire.core.nodes[2])]
        assert (order == sorted(order)) == ordered and len(order) == 1000


def test_what_reorder_sends_ahead_skips_the_rate_too() -> None:
    """As in sch_netem: it stands in front of the queue, and takes nothing of the rate."""
    wire = Wire()
    wire.set(TO_UDP, Latency(delay_ms=50), Rate(rate_kbit=8), Reorder(percent=100, gap=3))
    wire.send(*[KILOBYTE] * 4)
    assert times(wire) == [0, 50, 536, 1536]


@pytest.mark.parametrize(
    "fields",
    [{"rate_kbit": 0}, {"rate_kbit": 8, "burst_bytes": 100}, {"rate_kbit": 8, "limit_packets": 1, "limit_bytes": 1},
     {"rate_kbit": 8, "limit_packets": 40_000}],
)  # fmt: skip
def test_what_can_t_be_meant(fields: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        Rate.model_validate(fields)
