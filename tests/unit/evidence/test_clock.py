"""The wall clock's offset: measured with its error, and a step told apart from a slow measurement."""

from __future__ import annotations

import time

from faultlab.evidence.clock import CLOCK_STEP_NS, WallClock, measure

DAY = 86_400_000_000_000


class Clocks:
    """Two clocks `DAY` apart; after each reading of the wall's, its reader has to wait the next of `waits` ns."""

    def __init__(self, *waits: int) -> None:
        self.now = 1_000_000
        self.waits = list(waits)

    def monotonic(self) -> int:
        self.now += 100
        return self.now

    def wall(self) -> int:
        self.now += 100
        wall = self.now + DAY
        self.now += self.waits.pop(0)
        return wall


def test_the_tightest_measurement_counts() -> None:
    clocks = Clocks(900_000, 400_000, 0, 900_000)
    found = measure(clocks.monotonic, clocks.wall)
    assert found == WallClock(DAY, 100)
    assert clocks.waits == [900_000], "the third was close enough"


def test_a_reader_that_always_waits_says_how_little_it_knows() -> None:
    clocks = Clocks(*[260_000] * 20)
    found = measure(clocks.monotonic, clocks.wall)
    assert clocks.waits == []
    assert found.error_ns >= abs(found.offset_ns - DAY) >= 129_000
    assert found.step_since(WallClock(DAY, 100)) == 0


def test_a_step_is_one_in_either_direction() -> None:
    start = WallClock(DAY, 100)
    for step in (CLOCK_STEP_NS + 201, -CLOCK_STEP_NS - 201):
        assert WallClock(DAY + step, 100).step_since(start) == step
        assert WallClock(DAY + step - step // abs(step), 100).step_since(start) == 0


def test_this_machines_clocks() -> None:
    before = time.time_ns() - time.monotonic_ns()
    found = measure()
    after = time.time_ns() - time.monotonic_ns()
    assert found.step_since(WallClock((before + after) // 2, abs(after - before) + 1_000_000)) == 0
