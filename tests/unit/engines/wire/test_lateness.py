"""What the loop learns of its own lateness: from each sleep and each write, and within bounds."""

from __future__ import annotations

from random import Random

from faultlab.engines.wire.lateness import IN_TIME_NS, LEAD_STEP_NS, LEAST_AWAKE_NS, MOST_NS, SLEPT_OVER_NS, Lateness


def test_a_write_that_takes_long_starts_as_much_earlier() -> None:
    lateness = Lateness()
    for _ in range(200):
        lateness.left(100_000 - lateness.lead)
    assert abs(lateness.lead - 100_000) <= LEAD_STEP_NS


def test_one_outlier_weighs_no_more_than_any_other() -> None:
    lateness = Lateness()
    lateness.left(10**9)
    assert lateness.lead == LEAD_STEP_NS


def test_a_sleep_that_ends_too_late_is_made_to_end_earlier() -> None:
    """The kernel wakes 150 to 350 us late: then the loop is awake in time but for one sleep in eleven."""
    lateness, random, over = Lateness(), Random(1), []
    for _ in range(5_000):
        late = random.uniform(150_000, 350_000) - lateness.awake
        over.append(late > 0)
        lateness.woke(late)
    share = sum(over[1_000:]) / 4_000
    assert abs(share - IN_TIME_NS / (SLEPT_OVER_NS + IN_TIME_NS)) < 0.02


def test_neither_leaves_its_bounds() -> None:
    lateness = Lateness()
    for _ in range(1_000):
        lateness.woke(1)
        lateness.left(1)
    assert (lateness.awake, lateness.lead) == (MOST_NS, MOST_NS)
    for _ in range(1_000):
        lateness.woke(-1)
        lateness.left(-1)
    assert (lateness.awake, lateness.lead) == (LEAST_AWAKE_NS, 0)
