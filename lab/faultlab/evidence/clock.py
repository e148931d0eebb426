"""How far the wall clock is from the monotonic one: captures have wall clock times, everything else monotonic ones."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

CLOCK_STEP_NS = 100_000
"""A change of `offset_ns` that nobody could take for drift; times in a capture are good to this."""

_TRIES = 20
_CLOSE_ENOUGH_NS = 2_000


@dataclass(frozen=True)
class WallClock:
    """`offset_ns`: wall clock less monotonic time; `error_ns`: how far off that may be, at most."""

    offset_ns: int
    error_ns: int

    def step_since(self, earlier: WallClock) -> int:
        """How far the wall clock was set since, ns; 0 where measuring alone explains the difference."""
        step = self.offset_ns - earlier.offset_ns
        return step if abs(step) > CLOCK_STEP_NS + self.error_ns + earlier.error_ns else 0


def measure(
    monotonic_ns: Callable[[], int] = time.monotonic_ns, time_ns: Callable[[], int] = time.time_ns
) -> WallClock:
    """The tightest of some measurements: a process that had to wait between two readings knows little."""
    best = _once(monotonic_ns, time_ns)
    for _ in range(_TRIES - 1):
        if best.error_ns <= _CLOSE_ENOUGH_NS:
            break
        best = min(best, _once(monotonic_ns, time_ns), key=lambda one: one.error_ns)
    return best


def _once(monotonic_ns: Callable[[], int], time_ns: Callable[[], int]) -> WallClock:
    before, wall, after = monotonic_ns(), time_ns(), monotonic_ns()
    return WallClock(wall - (before + after) // 2, (after - before + 1) // 2)
