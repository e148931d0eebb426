"""Gilbert-Elliott: how often bursts begin, and how long they last."""

from __future__ import annotations

from itertools import pairwise

import pytest
from faultlab.faults import BurstLoss, Duplicate

from tests.support.chances import binomial_range
from tests.support.virtual_wire import TO_UDP, UDP_SERVER, Wire, udp

PACKETS = 6000


def fates(fault: BurstLoss, seed: int) -> list[bool]:
    """For each packet of one flow whether it was lost."""
    wire = Wire(seed)
    wire.set(TO_UDP, fault)
    for number in range(PACKETS):
        wire.send(udp(b"%d" % number))
    arrived = {int(frame[42:]) for frame in wire.frames(UDP_SERVER)}
    return [number not in arrived for number in range(PACKETS)]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_bursts_begin_and_end_as_often_as_asked(seed: int) -> None:
    lost = fates(BurstLoss(enter_percent=5, leave_percent=25), seed)
    pairs = list(pairwise(lost))
    after_good = [second for first, second in pairs if not first][:4000]
    after_bad = [second for first, second in pairs if first][:500]
    assert (len(after_good), len(after_bad)) == (4000, 500)
    assert sum(after_good) in binomial_range(4000, 0.05)
    assert sum(not second for second in after_bad) in binomial_range(500, 0.25)


def test_what_is_asked_in_other_words() -> None:
    fault = BurstLoss(enter_percent=5, leave_percent=20)
    assert (fault.loss_percent, fault.mean_burst) == (20.0, 5.0)
    assert BurstLoss(enter_percent=0, leave_percent=0).loss_percent == 0
    assert BurstLoss(enter_percent=1, leave_percent=1, bad_loss_percent=60, good_loss_percent=2).loss_percent == 31


def test_each_state_has_a_loss_of_its_own() -> None:
    always_bad = fates(BurstLoss(enter_percent=100, leave_percent=0, bad_loss_percent=30), 1)
    assert sum(always_bad) in binomial_range(PACKETS, 0.3)
    always_good = fates(BurstLoss(enter_percent=0, leave_percent=100, good_loss_percent=30), 1)
    assert sum(always_good) in binomial_range(PACKETS, 0.3)


def test_it_starts_in_the_good_state_and_each_flow_has_its_own() -> None:
    wire = Wire()
    wire.set(TO_UDP, BurstLoss(enter_percent=0, leave_percent=0))
    wire.send(udp(port=1), udp(port=2))
    assert len(wire.arrivals) == 2


def test_copies_don_t_turn_the_state() -> None:
    """With p = r = 100% the state turns at each packet: every other one is lost, with its copies."""
    wire = Wire()
    wire.set(TO_UDP, Duplicate(every=1), BurstLoss(enter_percent=100, leave_percent=100))
    wire.send(*(udp(b"%d" % number) for number in range(1, 7)))
    assert [int(frame[42:]) for frame in wire.frames(UDP_SERVER)] == [2, 2, 4, 4, 6, 6]
