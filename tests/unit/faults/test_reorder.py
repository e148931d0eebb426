"""Reorder: overtaking by chance, as netem's, and holding exactly named packets."""

from __future__ import annotations

import pytest
from faultlab.faults import Effect, Latency, Rate, Reorder
from pydantic import ValidationError

from tests.support.chances import binomial_range
from tests.support.virtual_wire import MS, TO_UDP, UDP_SERVER, Wire, udp


def order(wire: Wire) -> list[int]:
    return [int(frame[42:]) for frame in wire.frames(UDP_SERVER)]


def numbered(last: int, **fields: int) -> list[bytes]:
    return [udp(b"%d" % number, **fields) for number in range(1, last + 1)]


def test_an_overtaking_packet_skips_the_delay() -> None:
    wire = Wire()
    wire.set(TO_UDP, Reorder(percent=100, gap=3), Latency(delay_ms=10))
    wire.send(*numbered(7))
    wire.finish()
    assert order(wire) == [3, 6, 1, 2, 4, 5, 7]
    assert [arrival.time for arrival in wire.arrivals] == [0, 0, *[10 * MS] * 5]
    overtook = [entry.ordinal for entry in wire.entries(TO_UDP) if entry.did(Effect.OVERTOOK)]
    assert overtook == [3, 6]


def test_by_chance() -> None:
    wire = Wire()
    wire.set(TO_UDP, Reorder(percent=25), Latency(delay_ms=10))
    wire.send(*[udp()] * 3000)
    assert len(wire.arrivals) in binomial_range(3000, 0.25)


def test_the_third_waits_until_two_have_passed() -> None:
    wire = Wire()
    wire.set(TO_UDP, Reorder(hold=(3,), passes=2))
    wire.send(*numbered(6))
    assert order(wire) == [1, 2, 4, 5, 3, 6]
    assert wire.entries(TO_UDP)[2].acts == (("f1", Effect.HELD, "until 2 later passed"),)


def test_swap_the_third_and_fourth() -> None:
    wire = Wire()
    wire.set(TO_UDP, Reorder(hold=3))
    wire.send(*numbered(5))
    assert order(wire) == [1, 2, 4, 3, 5]


def test_other_flows_don_t_free_it() -> None:
    wire = Wire()
    wire.set(TO_UDP, Reorder(hold=1))
    wire.send(udp(b"1", port=1111), udp(b"7", port=2222), udp(b"8", port=2222), udp(b"9", port=2222))
    assert order(wire) == [8, 7, 9]
    assert wire.core.waiting == 1


def test_held_behind_a_delay() -> None:
    wire = Wire()
    wire.set(TO_UDP, Reorder(hold=1), Latency(delay_ms=10))
    wire.send(udp(b"1"))
    wire.send(udp(b"2"), at=5 * MS)
    wire.finish()
    assert [(int(one.frame[42:]), one.time // MS) for one in wire.arrivals] == [(2, 15), (1, 15)]


def test_clearing_frees_what_is_held() -> None:
    wire = Wire()
    wire.set(TO_UDP, Reorder(hold=1, passes=5))
    wire.send(udp(b"1"), udp(b"2"))
    assert (order(wire), wire.core.waiting) == ([2], 1)
    wire.set(TO_UDP)
    assert (order(wire), wire.core.waiting) == ([2, 1], 0)


def test_another_fault_s_coming_frees_nothing() -> None:
    wire = Wire()
    hold = Reorder(hold=1, passes=5)
    wire.set(TO_UDP, hold)
    wire.send(udp(b"1"))
    wire.set(TO_UDP, hold, Latency(delay_ms=5, jitter_ms=5))
    assert (order(wire), wire.core.waiting) == ([], 1)
    wire.set(TO_UDP, Latency(delay_ms=5, jitter_ms=5))
    assert (order(wire), wire.core.waiting) == ([1], 0)


def test_with_a_rate_too() -> None:
    """The held packet meets the link when it is free to go, and pays for its bytes then."""
    wire = Wire()
    wire.set(TO_UDP, Reorder(hold=1), Rate(rate_kbit=8, burst_bytes=1514))
    big = 1514 - 42
    wire.send(udp(b"1" * big), udp(b"2" * big))
    wire.finish()
    assert [(one.frame[42:43], one.time // MS) for one in wire.arrivals] == [(b"2", 0), (b"1", 1514)]


@pytest.mark.parametrize(
    ("fields", "message"),
    [({}, "exactly one of percent, hold"), ({"percent": 5, "hold": 1}, "exactly one of percent, hold"),
     ({"hold": 1, "gap": 2}, "gap goes with percent"), ({"percent": 5, "passes": 2}, "passes goes with hold")],
)  # fmt: skip
def test_one_way(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Reorder.model_validate(fields)
