"""What proves a toxic, and what only looks like it: segments at the proxy, written out."""

from __future__ import annotations

from typing import Any

import pytest

from lab.checks.toxic_seen import SEEN, Passage, Segment
from lab.packets import ACK, FIN, PSH, RST, SYN

MS = 1_000_000
DATA = ACK | PSH
OPEN = [(0, 0, SYN), (1, 0, ACK)]
"""What leaves for the other end before any data."""

Row = tuple[float, int, int]
"""Time in ms, payload bytes, flags."""


def seen(kind: str, came: list[Row], left: list[Row], since: float = 0, until: float = 10_000, **made: int) -> Any:
    def segments(rows: list[Row]) -> list[Segment]:
        return [Segment(round(time * MS), size, flags) for time, size, flags in rows]

    return SEEN[kind](Passage(segments(came), segments(left), round(since * MS), round(until * MS)), made)


def data(*times: float, size: int = 100) -> list[Row]:
    return [(time, size, DATA) for time in times]


def test_latency_is_every_bytes() -> None:
    assert seen("latency", data(10, 20), data(60, 70), latency=50, jitter=0) == "delayed 2 segments by 50.0 ms"
    assert seen("latency", data(10, 20), data(60, 69), latency=50, jitter=0) is None
    assert seen("latency", data(10, 20), data(60, 69), latency=50, jitter=1) is not None
    assert seen("latency", data(10), [], latency=50, jitter=0) is None


def test_latency_is_looked_for_only_while_it_was_there() -> None:
    """The first went through at once before; of the third only the arrival was meanwhile."""
    came, left = data(10, 30, 55), data(10.1, 80, 105)
    assert seen("latency", came, left, since=20, until=90, latency=50) == "delayed 1 segments by 50.0 ms"
    assert seen("latency", came, left, since=5, until=90, latency=50) is None


def test_a_slicer_makes_smaller_ones_not_only_more() -> None:
    assert seen("slicer", data(1, 2), data(2, 3, 4, 5, size=50)) == "sliced 2 segments into 4"
    assert seen("slicer", data(1, 2), data(2, 3, 4, size=51)) is None
    assert seen("slicer", data(1, 2), data(2, 3, 202, 203)) is None, "sent again, because they were lost"
    assert seen("slicer", data(1), []) is None


def test_bandwidth_makes_what_it_holds_back_wait() -> None:
    at_once, in_turn = data(*[10.0] * 50), data(*[11.0 + turn for turn in range(50)])
    assert seen("bandwidth", at_once, in_turn, rate=100) == "102.0 kB/s"
    assert seen("bandwidth", at_once, data(*[200.0 + turn for turn in range(50)]), rate=1) is None, "too fast"


@pytest.mark.parametrize(("wait_ms", "rate"), [(0.2, 1000), (2, 10)], ids=["less than any proxy's", "less than a turn"])
def test_a_stream_that_is_slow_by_itself_proves_no_bandwidth(wait_ms: float, rate: int) -> None:
    slow = [10.0 * turn for turn in range(50)]
    assert seen("bandwidth", data(*slow), data(*[time + wait_ms for time in slow]), rate=rate) is None


def test_a_timeout_swallows_for_good() -> None:
    assert seen("timeout", data(10), OPEN) == "swallowed the data"
    assert seen("timeout", data(10), [*OPEN, *data(11)]) is None
    assert seen("timeout", data(10), [*OPEN, *data(11)], until=10.5) is None, "only the end came between"
    assert seen("timeout", data(10), [(0, 0, SYN), (5, 0, RST | ACK)]) is None, "there was no way on"
    assert seen("timeout", [], OPEN) is None
    assert seen("timeout", data(10), OPEN, since=20) is None, "nothing came meanwhile"


@pytest.mark.parametrize(
    ("came", "left", "expected"),
    [
        ([], [(5, 0, RST)], "1 RST"),
        ([(6, 0, RST)], [(5, 0, RST), (7, 0, RST)], "2 RST"),
        ([(4, 0, RST)], [(5, 0, RST)], None),
        ([(4, 0, RST)], [], None),
        ([], [(5, 0, FIN | ACK)], None),
    ],
)
def test_a_reset_is_the_proxys_own(came: list[Row], left: list[Row], expected: str | None) -> None:
    assert seen("reset_peer", came, left) == expected


def test_limit_data_ends_the_stream_at_the_byte() -> None:
    end = [(9.0, 0, FIN | ACK)]
    assert seen("limit_data", data(1, 2), [*data(2), *end], bytes=100) == "100 of 200 bytes passed"
    assert seen("limit_data", data(1, 2), data(2), bytes=100) is None, "it goes on"
    assert seen("limit_data", data(1), [*data(2), *end], bytes=100) is None, "no more came"
    assert seen("limit_data", data(1, 2), [*data(2), *end], bytes=99) is None


def test_slow_close_is_late_by_its_delay() -> None:
    assert seen("slow_close", [(10, 0, FIN)], [(60, 0, FIN)], delay=50) == "closed 50 ms late"
    assert seen("slow_close", [(10, 0, FIN)], [(59, 0, FIN)], delay=50) is None
    assert seen("slow_close", [], [(60, 0, FIN)], delay=50) is None
