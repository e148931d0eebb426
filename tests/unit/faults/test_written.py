"""The three ways to write a fault: Python, a scenario file, and JSON between processes."""

from __future__ import annotations

from typing import Any

import pytest
from faultlab.faults import (
    KINDS,
    Blackhole,
    BurstLoss,
    Corrupt,
    Cut,
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
    fault_from_json,
    fault_from_yaml,
    fault_to_json,
)
from pydantic import ValidationError

WRITTEN: list[tuple[str, Any, Fault, str]] = [
    ("latency", "50ms", Latency(delay_ms=50), "latency 50ms"),
    ("latency", {"delay": "50ms", "jitter": "500us", "distribution": "normal", "correlation_percent": "25%"},
     Latency(delay_ms=50, jitter_ms=0.5, distribution="normal", correlation_percent=25),
     "latency 50ms jitter 0.5ms distribution normal correlation 25%"),
    ("latency", {"trace": [1.5, 2]}, Latency(trace=(1.5, 2.0)), "latency trace 1.5, 2"),
    ("loss", "10%", Loss(percent=10), "loss 10%"),
    ("loss", {"every": 5}, Loss(every=5), "loss every 5"),
    ("loss", {"nth": [3, 4]}, Loss(nth=(3, 4)), "loss nth 3, 4"),
    ("loss", {"percent": "5%", "match": {"protocol": "udp", "after": "1s"}},
     Loss(percent=5, match=Match(protocol="udp", after_ms=1000)), "loss 5% (protocol udp, after 1000ms)"),
    ("burst-loss", {"enter_percent": "5%", "leave_percent": "25%"}, BurstLoss(enter_percent=5, leave_percent=25),
     "burst-loss enter 5% leave 25%"),
    ("drop", {"tcp": "syn+ack", "which": "first"}, Drop(match=Match(tcp="syn+ack", which=(1,))),
     "drop (tcp syn+ack, which 1)"),
    ("duplicate", {"percent": "1%", "copies": 2}, Duplicate(percent=1, copies=2), "duplicate 1% copies 2"),
    ("reorder", "25%", Reorder(percent=25), "reorder 25%"),
    ("reorder", {"hold": 3, "passes": 2}, Reorder(hold=(3,), passes=2), "reorder hold 3 passes 2"),
    ("corrupt", {"nth": 2, "bits": 3, "checksum": "fixed"}, Corrupt(nth=(2,), bits=3, checksum="fixed"),
     "corrupt nth 2 bits 3 checksum fixed"),
    ("rate", "2mbit", Rate(rate_kbit=2000), "rate 2000kbit"),
    ("rate", {"rate": "2mbit", "burst_bytes": "10kB", "limit_bytes": "64KiB"},
     Rate(rate_kbit=2000, burst_bytes=10_000, limit_bytes=65_536), "rate 2000kbit burst 10000B limit 65536B"),
    ("partition", True, Partition(), "partition"),
    ("partition", None, Partition(), "partition"),
    ("blackhole", "1200B", Blackhole(above_bytes=1200), "blackhole 1200B"),
    ("cut", 13, Cut(every=13), "cut 13"),
    ("cut", {"at": [1, 14]}, Cut(at=(1, 14)), "cut at 1, 14"),
    ("flap", {"up": "300ms", "down": "200ms", "starts": "down"}, Flap(up_ms=300, down_ms=200, starts="down"),
     "flap up 300ms down 200ms starts down"),
    ("reset", True, Reset(), "reset"),
    ("reset", 3, Reset(nth=(3,)), "reset 3"),
    ("reset", {"nth": 1, "to": "sender"}, Reset(to="sender"), "reset to sender"),
    ("rebind", 50, Rebind(after=50), "rebind 50"),
    ("rebind", {"after": 5, "port": 12345}, Rebind(after=5, port=12345), "rebind 5 port 12345"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "value", "fault", "words"), WRITTEN)
def test_as_in_a_scenario_file(kind: str, value: Any, fault: Fault, words: str) -> None:
    assert fault_from_yaml(kind, value) == fault
    assert fault.describe() == words


@pytest.mark.parametrize("fault", [fault for _, _, fault, _ in WRITTEN])
def test_json_there_and_back(fault: Fault) -> None:
    again = fault_from_json(fault_to_json(fault))
    assert (again, type(again), again.model_dump()) == (fault, type(fault), fault.model_dump())
    assert fault_from_json({**fault_to_json(fault), "describe": fault.describe()}) == fault


def test_every_kind_is_written_somewhere_here() -> None:
    assert {kind for kind, _, _, _ in WRITTEN} == KINDS.keys()


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        ("lag", "5ms", "no fault 'lag'; the faults are"),
        ("latency", 50, "50 is a bare number; write its unit, such as 50ms"),
        ("latency", "50", "'50' has no unit; expected one of us, ms, s, min"),
        ("latency", {"delay": "50%"}, "unknown unit '%'"),
        ("latency", "fast", "'fast' is no quantity"),
        ("latency", "2h", "unknown unit 'h'"),
        ("loss", 10, "bare number"),
        ("loss", "110%", "less than or equal to 100"),
        ("loss", True, "exactly one of percent, every, nth"),
        ("loss", {"nth": True}, "valid tuple"),
        ("loss", {"every": 2.5}, "valid integer"),
        ("rate", "0bit", "greater than 0"),
        ("rate", {"rate": "1mbit", "burst": "1kB"}, "Extra inputs"),
        ("rate", {"rate": "1mbit", "burst_bytes": "1500.5B"}, "no whole number of bytes"),
        ("blackhole", "50B", "greater than or equal to 68"),
        ("partition", "yes", "'yes' says too little for partition"),
        ("burst-loss", "5%", "says too little for burst-loss; expected its fields: match, enter_percent"),
        ("cut", {"at": [0]}, "greater than or equal to 1"),
        ("cut", {"at": [1], "every": 2}, "exactly one of at, every"),
        ("flap", {"up": "1s"}, "Field required"),
        ("drop", "syn", "valid dictionary"),
        ("drop", {"match": {"tcp": "syn"}}, "Extra inputs"),
        ("reset", {"to": "nobody"}, "'both', 'receiver' or 'sender'"),
    ],
)
def test_what_can_t_be_meant(kind: str, value: Any, message: str) -> None:
    with pytest.raises((ValueError, ValidationError), match=message):
        fault_from_yaml(kind, value)


def test_a_fault_is_a_value() -> None:
    assert Loss(percent=5) == Loss(percent=5) != Loss(percent=6)
    assert hash(Loss(percent=5)) == hash(Loss(percent=5))
    with pytest.raises(ValidationError, match="frozen"):
        Loss(percent=5).percent = 6  # type: ignore[misc]
