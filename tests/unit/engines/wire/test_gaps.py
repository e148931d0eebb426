"""How long a frame can have waited, by the wire's own account: turns of its loop, with times made by hand."""

from __future__ import annotations

from faultlab.engines.wire.gaps import HEARTBEAT_NS, GapWatch

MS = 1_000_000


class Turns:
    def __init__(self) -> None:
        self.notes: list[tuple[int, int, int | None]] = []
        self.gaps = GapWatch(lambda *note: self.notes.append(note), 0, batches=2)

    def turn(self, begin: int, woken: int, nap: int | None = None) -> None:
        """One turn, in ms: it begins, perhaps sleeps, and looks at its devices."""
        self.gaps.mind(begin * MS)
        if nap is not None:
            self.gaps.slept(begin * MS, woken * MS, nap * MS)
        self.gaps.look(woken * MS)


def test_quick_turns_and_sleeps_that_end_in_time_are_no_gaps() -> None:
    turns = Turns()
    turns.turn(0, 0)
    turns.turn(1, 21, nap=HEARTBEAT_NS // MS)
    turns.turn(22, 23, nap=1)
    turns.turn(24, 24)
    assert turns.notes == []


def test_a_stop_in_a_sleep_counts_from_the_last_look() -> None:
    turns = Turns()
    turns.turn(0, 0)
    turns.turn(1, 1501, nap=HEARTBEAT_NS // MS)
    turns.turn(1502, 1502)
    turns.turn(1503, 1503)
    assert turns.notes == [(0, 1502 * MS, None)]


def test_a_stop_at_work_is_in_the_turn_after_too_for_its_frames_came_meanwhile() -> None:
    turns = Turns()
    for begin in (0, 1, 100, 101, 102):
        turns.turn(begin, begin)
    assert turns.notes == [(0, 100 * MS, None), (1 * MS, 101 * MS, None)]


def test_a_device_that_is_not_seen_empty_keeps_its_frames_waiting_up_to_what_it_holds() -> None:
    """It holds two batches, so that a frame of the fifth came after the second was begun."""
    turns = Turns()
    for begin in range(6):
        turns.turn(begin, begin)
        if begin < 5:
            turns.gaps.left_over(7, begin * MS, begin * MS + MS)
        else:
            turns.gaps.emptied(7, begin * MS + MS)
    spans = [(since // MS, until // MS) for since, until, node in turns.notes if node == 7]
    assert spans == [(0, 3), (0, 4), (0, 5), (1, 6)]
    assert not turns.gaps.queues
