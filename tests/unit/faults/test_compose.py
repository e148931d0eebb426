"""Which faults may stand together, and in which order they act."""

from __future__ import annotations

import pytest
from faultlab.errors import UsageError
from faultlab.faults import (
    Blackhole,
    BurstLoss,
    Corrupt,
    Drop,
    Duplicate,
    Fault,
    Flap,
    Latency,
    Loss,
    Match,
    Partition,
    Rate,
    Rebind,
    Reorder,
    Reset,
    check_composition,
)

from tests.support.virtual_wire import TO_UDP, Wire

TCP, UDP = Match(protocol="tcp"), Match(protocol="udp")


@pytest.mark.parametrize(
    ("faults", "message"),
    [
        (
            [Loss(percent=1), Loss(percent=2)],
            "faults clash: 'loss 1%' and 'loss 2%' on one path; expected one loss, or",
        ),
        ([Latency(delay_ms=1), Loss(percent=1), Latency(delay_ms=2)], "clash: 'latency 1ms' and 'latency 2ms'"),
        ([Drop(match=TCP), Drop(match=TCP)], "faults clash"),
        ([Partition(), Partition()], "faults clash"),
        ([Rate(rate_kbit=1), Rate(rate_kbit=2, match=TCP)], "expected one rate, which is for the whole path"),
        ([Rebind(match=UDP), Rebind(match=TCP)], "expected one rebind, which is for the whole path"),
        ([Reorder(percent=25)], "'reorder 25%' needs latency on the same path; add it"),
        ([Reorder(percent=25), Rate(rate_kbit=1000)], "needs latency"),
        ([Duplicate(every=1, copies=100), Duplicate(every=1, copies=100, match=TCP)], "together up to 10201 of one"),
    ],
)
def test_clashes(faults: list[Fault], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_composition(faults)
    wire = Wire()
    with pytest.raises(UsageError, match=message):
        wire.set(TO_UDP, *faults)
    assert wire.core.faults(TO_UDP) == ()


@pytest.mark.parametrize(
    "faults",
    [
        [],
        [Loss(percent=1, match=TCP), Loss(percent=2, match=UDP)],
        [Loss(percent=1), BurstLoss(enter_percent=1, leave_percent=20), Drop()],
        [Reorder(hold=3)],
        [Reorder(percent=25), Latency(delay_ms=5)],
        [
            Rebind(),
            Partition(match=TCP),
            Flap(up_ms=5, down_ms=5),
            Blackhole(above_bytes=100),
            Reset(),
            Duplicate(percent=1),
            Loss(percent=1),
            Corrupt(percent=1),
            Reorder(hold=1),
            Latency(delay_ms=1, jitter_ms=1),
            Rate(rate_kbit=1000),
        ],
    ],
)
def test_good_company(faults: list[Fault]) -> None:
    check_composition(faults)


def test_they_act_in_the_order_of_netem_however_they_are_given() -> None:
    wire = Wire()
    wire.set(TO_UDP, Rate(rate_kbit=1), Latency(delay_ms=1), Corrupt(percent=1), Loss(percent=1), Duplicate(percent=1))
    assert [fault.kind for fault in wire.core.faults(TO_UDP)] == ["duplicate", "loss", "corrupt", "latency", "rate"]
