"""Loss by chance, every nth, exactly the nth."""

from __future__ import annotations

from itertools import pairwise

import pytest
from faultlab.faults import Duplicate, Effect, Loss
from pydantic import ValidationError

from tests.support.chances import binomial_range
from tests.support.virtual_wire import TO_UDP, UDP_SERVER, Wire, udp


def lost(fault: Loss, packets: int, seed: int = 1) -> list[int]:
    """Ordinals of the packets that did not get through."""
    wire = Wire(seed)
    wire.set(TO_UDP, fault)
    for number in range(1, packets + 1):
        wire.send(udp(b"%d" % number))
    arrived = {int(frame[42:]) for frame in wire.frames(UDP_SERVER)}
    return [number for number in range(1, packets + 1) if number not in arrived]


def test_every_third_is_lost() -> None:
    assert lost(Loss(every=3), 10) == [3, 6, 9]


def test_exactly_the_second_and_fifth_are_lost() -> None:
    assert lost(Loss(nth=(2, 5)), 10) == [2, 5]


def test_all_and_none() -> None:
    assert lost(Loss(percent=100), 20) == list(range(1, 21))
    assert lost(Loss(percent=0), 20) == []


@pytest.mark.parametrize("percent", [1, 10, 50])
@pytest.mark.parametrize("seed", [1, 2])
def test_the_share_lost_by_chance(percent: float, seed: int) -> None:
    assert len(lost(Loss(percent=percent), 5000, seed)) in binomial_range(5000, percent / 100)


def test_losses_don_t_come_in_pairs() -> None:
    gone = lost(Loss(percent=50), 5000)
    again = sum(second == first + 1 for first, second in pairwise(gone))
    assert again in binomial_range(len(gone), 0.5)


def test_another_seed_loses_others() -> None:
    assert lost(Loss(percent=50), 100, seed=1) != lost(Loss(percent=50), 100, seed=2)


def test_each_flow_counts_for_itself() -> None:
    wire = Wire()
    wire.set(TO_UDP, Loss(nth=2))
    wire.send(udp(b"a1", port=1111), udp(b"b1", port=2222), udp(b"a2", port=1111), udp(b"a3", port=1111))
    wire.send(udp(b"b2", port=2222))
    assert [frame[42:] for frame in wire.frames(UDP_SERVER)] == [b"a1", b"b1", b"a3"]


def test_copies_count_as_their_packet() -> None:
    wire = Wire()
    wire.set(TO_UDP, Duplicate(every=1), Loss(nth=2))
    wire.send(udp(b"1"), udp(b"2"), udp(b"3"))
    assert [frame[42:] for frame in wire.frames(UDP_SERVER)] == [b"1", b"1", b"3", b"3"]


def test_the_ledger_says_why() -> None:
    wire = Wire()
    wire.set(TO_UDP, Loss(every=2))
    wire.send(udp(), udp())
    assert [(entry.decision, entry.acts) for entry in wire.entries(TO_UDP)] == [
        ("goes on", ()),
        ("dropped", (("f1", Effect.DROPPED, "every 2"),)),
    ]


@pytest.mark.parametrize("fields", [{}, {"percent": 5, "every": 2}, {"nth": 3, "every": 2}])
def test_exactly_one_way(fields: dict[str, int]) -> None:
    with pytest.raises(ValidationError, match="loss takes exactly one of percent, every, nth"):
        Loss(**fields)


@pytest.mark.parametrize("fields", [{"percent": 101}, {"percent": -1}, {"every": 0}, {"nth": ()}, {"nth": (0,)}])
def test_out_of_range(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Loss.model_validate(fields)
