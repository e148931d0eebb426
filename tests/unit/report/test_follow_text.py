"""Lines of `lab inspect --follow`."""

from __future__ import annotations

from dataclasses import replace

from faultlab.analysis.happenings import Happening
from faultlab.report.follow_text import line

DROPPED = Happening(
    1_700_000_000_123_456_789, False, "client", "tcp-server", 5, "data 1..103 (102 B)", 6, (20_000, 8082),
    ("delayed", "dropped"), ("delayed by latency 20ms", "dropped by loss every 5"),
)  # fmt: skip


def test_what_was_dropped_and_by_what() -> None:
    assert line(DROPPED).plain == (
        "22:13:20.123456  client -> tcp-server      dropped  data 1..103 (102 B)"
        "           delayed by latency 20ms, by loss every 5"
    )


def test_what_passed_is_a_line_without_notes() -> None:
    passed = replace(DROPPED, effects=(), deeds=())
    assert line(passed).plain == "22:13:20.123456  client -> tcp-server      sent     data 1..103 (102 B)"


def test_an_arrival_says_how_late_and_which_copy_and_not_again_why() -> None:
    deeds = ("duplicated by duplicate 5%", "delayed by latency 20ms")
    arrived = replace(DROPPED, arrived=True, late_ns=20_000_000, copy=1, effects=("duplicated", "delayed"), deeds=deeds)
    assert line(arrived).plain.split("  ")[-1].strip() == "after 20 ms, copy 2, duplicated by duplicate 5%"


def test_what_nobody_sent_is_forged() -> None:
    forged = replace(DROPPED, arrived=True, what="RST", effects=("injected",), deeds=("injected by reset number 5",))
    assert line(forged).plain.split()[4:] == ["forged", "RST", "injected", "by", "reset", "number", "5"]
