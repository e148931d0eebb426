"""The engines' clockwork: what an order says of later times comes then, and nobody has to give another order for it."""

from __future__ import annotations

import json

import pytest
from faultlab.engines.timetable import Timetable, set_order
from faultlab.faults import Fault, Latency, Loss, Partition

MS = 1_000_000
THERE, BACK = "a->b", "b->a"
LOSS, CUT = Loss(percent=5), Partition()


def order(path: str, *faults: Fault, for_ms: float | None = None, later: object = ()) -> dict[str, object]:
    """As it comes out of the control channel."""
    made: dict[str, object] = json.loads(json.dumps(set_order(path, faults, for_ms, later)))  # type: ignore[arg-type]
    return made


def test_times_count_from_the_next_packet() -> None:
    table = Timetable()
    assert table.follow(order(THERE, LOSS, later=[(300, (LOSS, CUT)), (600, ())]), packets=7) == (LOSS,)
    assert (table.next, table.begins(7, 50 * MS)) == (None, False)
    assert table.begins(8, 90 * MS)
    assert not table.begins(9, 95 * MS), "it begins once"
    assert table.next == 390 * MS
    assert list(table.due(389 * MS)) == []
    assert list(table.due(390 * MS)) == [(THERE, (LOSS, CUT))]
    assert table.next == 690 * MS
    assert list(table.due(800 * MS)) == [(THERE, ())]
    assert table.next is None


def test_an_engine_that_slept_makes_up_for_it_in_order() -> None:
    table = Timetable()
    table.follow(order(THERE, later=[(10, (CUT,)), (20, ())]), 0)
    table.follow(order(BACK, later=[(10, (CUT,)), (15, ())]), 0)
    table.begins(1, 0)
    assert list(table.due(99 * MS)) == [(THERE, (CUT,)), (BACK, (CUT,)), (BACK, ()), (THERE, ())]


def test_at_one_time_the_order_of_the_steps_stays() -> None:
    """A fault that ends as its equal begins is cleared first, or the new one would pass for the old."""
    table = Timetable()
    table.follow(order(THERE, LOSS, later=[(10, ()), (10, (LOSS,))]), 0)
    table.begins(1, 0)
    assert list(table.due(10 * MS)) == [(THERE, ()), (THERE, (LOSS,))]


def test_for_a_time_counts_from_the_order() -> None:
    table = Timetable()
    assert table.follow(order(THERE, CUT, for_ms=100), 0) == (CUT,)
    table.is_set(order(THERE, CUT, for_ms=100), 5 * MS)
    assert table.next == 105 * MS
    assert list(table.due(105 * MS)) == [(THERE, ())]


@pytest.mark.parametrize("begun", [False, True])
def test_another_order_for_the_path_makes_the_rest_forgotten(begun: bool) -> None:
    table = Timetable()
    table.follow(order(THERE, later=[(10, (CUT,)), (20, ())]), 0)
    table.follow(order(BACK, later=[(10, (CUT,))]), 0)
    if begun:
        table.begins(1, 0)
    assert table.follow(order(THERE), 1) == ()
    table.begins(2, 0)
    assert list(table.due(99 * MS)) == [(BACK, (CUT,))]


def test_a_fault_that_stays_is_in_the_order_once() -> None:
    """A trace is long, and an order has only so much room."""
    trace = Latency(trace=tuple(float(n) for n in range(1000)))
    asked = set_order(THERE, (trace,), None, [(10, (trace, CUT)), (20, (trace,)), (30, (CUT,))])
    assert len(asked["faults"]) == 2
    table = Timetable()
    assert table.follow(json.loads(json.dumps(asked)), 0) == (trace,)
    table.begins(1, 0)
    assert [faults for _, faults in table.due(99 * MS)] == [(trace, CUT), (trace,), (CUT,)]
