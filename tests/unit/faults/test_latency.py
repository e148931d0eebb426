"""Latency: fixed, with jitter, correlated, by a trace; and never less than asked."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from statistics import fmean, pstdev

import pytest
from faultlab.faults import Effect, Latency, Match, fault_from_json, fault_from_yaml, fault_to_json
from pydantic import ValidationError

from tests.support.virtual_wire import MS, TO_UDP, UDP_SERVER, Wire, tcp, udp


def delays(fault: Latency, packets: int, gap_ms: int = 10_000) -> list[float]:
    """ms on the way, in the order sent; far enough apart that none meets another."""
    wire = Wire()
    wire.set(TO_UDP, fault)
    for number in range(packets):
        wire.send(udp(), at=number * gap_ms * MS)
    wire.finish()
    return [(arrival.time - number * gap_ms * MS) / MS for number, arrival in enumerate(wire.arrivals)]


def test_fixed() -> None:
    assert delays(Latency(delay_ms=50), 3) == [50, 50, 50]
    assert delays(Latency(delay_ms=0.0005), 1) == [0.0005]


def test_uniform_jitter_fills_its_range_and_no_more() -> None:
    found = delays(Latency(delay_ms=50, jitter_ms=10), 2000)
    assert 40 <= min(found) < 40.2 and 59.8 < max(found) <= 60
    # Hoeffding: a mean of 2000 values in a range of 20 lies 1.25 off with a chance below 1e-13.
    assert abs(fmean(found) - 50) < 1.25


def test_normal_jitter_is_a_standard_deviation() -> None:
    found = delays(Latency(delay_ms=100, jitter_ms=10, distribution="normal"), 2000)
    # The mean's own deviation is 10/sqrt(2000) = 0.22; that of the deviation about 10/sqrt(4000) = 0.16. Six of each.
    assert abs(fmean(found) - 100) < 1.4 and abs(pstdev(found) - 10) < 1
    assert max(found) > 120


def test_pareto_jitter_has_a_floor_and_a_long_tail() -> None:
    found = delays(Latency(delay_ms=100, jitter_ms=10, distribution="pareto"), 2000)
    floor = 100 - 10 / 3**0.5
    assert floor - 1e-6 <= min(found) < floor + 0.1
    # Shape 3: the value of 1 in 2000 lies 2000^(1/3) = 12.6 scales up; half of that is passed but for e^-16.
    assert max(found) > 100 + 10 * (6.3 - 1.5) / 0.8661


def test_never_below_zero() -> None:
    for distribution in ("uniform", "normal", "pareto"):
        found = delays(Latency(delay_ms=1, jitter_ms=100, distribution=distribution), 200)
        assert min(found) == 0


def test_correlation_keeps_neighbours_close() -> None:
    def step(percent: float) -> float:
        found = delays(Latency(delay_ms=50, jitter_ms=10, correlation_percent=percent), 1000)
        return fmean(abs(a - b) for a, b in pairwise(found)) / pstdev(found)

    assert step(90) < 0.6 * step(0)


def test_a_trace_is_cycled_for_each_flow() -> None:
    wire = Wire()
    wire.set(TO_UDP, Latency(trace=(5, 1, 3)))
    for number in range(4):
        wire.send(udp(b"a", port=1111), udp(b"b", port=2222), at=number * 100 * MS)
    wire.finish()
    for letter in (b"a", b"b"):
        times = [arrival.time / MS for arrival in wire.arrivals if arrival.frame.endswith(letter)]
        assert times == [5, 101, 203, 305]


def test_a_trace_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "lte.txt"
    file.write_text("12.5\n\n 30 \n")
    fault = fault_from_yaml("latency", {"trace": str(file)})
    assert fault == Latency(trace=(12.5, 30.0))
    assert fault_from_json(fault_to_json(fault)) == fault


@pytest.mark.parametrize(
    ("content", "message"),
    [("1\nfast\n", r"trace .*:2: 'fast' is no number of milliseconds"), ("-1\n", "greater than or equal to 0"),
     ("\n", "at least 1"), ("nan\n", "finite number")],
)  # fmt: skip
def test_a_trace_that_can_t_be_meant(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "trace.txt"
    file.write_text(content)
    with pytest.raises(ValidationError, match=message):
        fault_from_yaml("latency", {"trace": str(file)})


def test_a_trace_that_is_not_there() -> None:
    with pytest.raises(ValidationError, match="trace '/nowhere/trace': can't be read"):
        fault_from_yaml("latency", {"trace": "/nowhere/trace"})


@pytest.mark.parametrize(
    ("fields", "message"),
    [({}, "needs a delay above zero"), ({"jitter_ms": 5}, "needs a delay above zero"),
     ({"delay_ms": 5, "trace": (1,)}, "not both"), ({"delay_ms": 5, "correlation_percent": 20}, "needs jitter"),
     ({"delay_ms": -1}, "greater than or equal"), ({"delay_ms": 5, "distribution": "weird"}, "'uniform', 'normal'")],
)  # fmt: skip
def test_fields_that_don_t_go_together(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Latency.model_validate(fields)


def test_order_is_kept_without_jitter_and_need_not_be_with_it() -> None:
    for fault, kept in ((Latency(delay_ms=20), True), (Latency(delay_ms=20, jitter_ms=20), False)):
        wire = Wire()
        wire.set(TO_UDP, fault)
        for number in range(100):
            wire.send(udp(b"%03d" % number), at=number * MS)
        wire.finish()
        payloads = [frame[42:] for frame in wire.frames(UDP_SERVER)]
        assert (payloads == sorted(payloads)) == kept == (not fault.reorders)
        assert len(payloads) == 100


def test_packets_left_out_don_t_wait_for_delayed_ones() -> None:
    wire = Wire()
    wire.set(TO_UDP, Latency(delay_ms=20, match=Match(protocol="udp")))
    wire.send(udp(), tcp(target=UDP_SERVER))
    wire.finish()
    assert [arrival.time for arrival in wire.arrivals] == [0, 20 * MS]
    assert [entry.acts for entry in wire.entries(TO_UDP)] == [(("f1", Effect.DELAYED, "fixed"),), ()]
