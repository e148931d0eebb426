"""How late the loop's sleeps end and its frames leave, learnt from each: so that a frame leaves at its deadline.

On an ordinary kernel a sleep ends some 60 us late and a write takes 5 us; in a User-Mode Linux guest 160 us and 100 us.
No outlier weighs more than another: each step has the same length, and the share of late ones settles where the steps
to either side cancel out.
"""

from __future__ import annotations

LEAST_AWAKE_NS = 120_000
MOST_NS = 500_000
"""More is no lateness of the kernel's, but a host that is busy just now."""
LEAD_STEP_NS = 2_000
SLEPT_OVER_NS, IN_TIME_NS = 10_000, 1_000
"""Steps of `awake` after a sleep that ended too late, and after one that did not: so one in eleven does."""


class Lateness:
    """Both in ns: `lead`, from the start of a write to its deadline; `awake`, from the end of a sleep to that start."""

    def __init__(self) -> None:
        self.lead = 0
        self.awake = LEAST_AWAKE_NS

    def woke(self, late: int) -> None:
        """A sleep was over so many ns after the moment at which the write should start; negative: before it."""
        step = SLEPT_OVER_NS if late > 0 else -IN_TIME_NS
        self.awake = min(MOST_NS, max(LEAST_AWAKE_NS, self.awake + step))

    def left(self, late: int) -> None:
        """A frame left so many ns after its deadline: as many are to be early as late."""
        step = LEAD_STEP_NS if late > 0 else -LEAD_STEP_NS
        self.lead = min(MOST_NS, max(0, self.lead + step))
