"""`lab top` as a table, as lines and as JSON, from a view made by hand."""

from __future__ import annotations

import io
import json
from dataclasses import replace

from faultlab.analysis.counts import Counts, Lately
from faultlab.report.top_text import View, as_json, live_table, log_lines
from rich.console import Console

THERE, BACK = "client->tcp-server", "tcp-server->client"
TOTAL = Counts(packets=120, size=12_000, delivered=110, dropped=6, waiting=4, delayed=114, connections=2)
NEW = Counts(packets=20, size=20_000_000, delivered=17, dropped=3, retransmissions=1)
VIEW = View(
    "mine", "netns", "wire", 7, {THERE: ("loss 5%", "latency 20ms")}, {THERE: TOTAL, BACK: Counts(packets=1, size=60)},
    Lately(2.0, {THERE: NEW, BACK: Counts()}),
)  # fmt: skip


def shown(view: View, width: int = 110) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    console.print(live_table(view))
    return [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def test_a_row_for_each_path_with_its_faults_and_what_they_did() -> None:
    assert shown(VIEW) == [
        "lab mine   netns/wire   seed 7",
        "path                packets/s  bytes/s  waiting  so far, +in the last second",
        "client->tcp-server         10      10M        4  loss 5%; latency 20ms",
        "                                                 120 packets, 2 connections, 114 delayed, 6 dropped +3",
        "tcp-server->client          0        0        0  1 packets",
    ]


def test_it_fits_80_columns_without_cutting_a_number() -> None:
    text = " ".join(shown(VIEW, 80))
    assert all(word in text.split() for word in ("120", "114", "+3", "10M", THERE))


def test_before_a_second_has_passed_no_rate_is_known() -> None:
    first = replace(VIEW, lately=Lately(0.0, {}))
    assert shown(first)[2].split() == [THERE, "?", "?", "4", "loss", "5%;", "latency", "20ms"]


def test_what_nobody_knows_is_said_so() -> None:
    blind = replace(VIEW, engine="netem", paths={THERE: replace(TOTAL, delayed=None, duplicated=None)})
    assert shown(blind)[-1].startswith("delayed, duplicated known once the lab is down")
    assert not any("delayed" in line for line in shown(blind)[:-1])


def test_a_fault_shows_before_any_packet_has_come() -> None:
    waiting = replace(VIEW, paths={}, lately=Lately(1.0, {}))
    assert shown(waiting)[2].split(maxsplit=4) == [THERE, "0", "0", "0", "loss 5%; latency 20ms"]


def test_lines_are_of_the_paths_that_carried_something() -> None:
    assert list(log_lines(VIEW)) == [
        "client->tcp-server  10 packets/s 10MB/s, 3 dropped, 1 sent again  [loss 5%; latency 20ms]"
    ]


def test_json_has_every_count_of_every_path() -> None:
    facts = json.loads(json.dumps(as_json(VIEW)))
    assert (facts["name"], facts["engine"], facts["seed"], facts["lately_seconds"]) == ("mine", "wire", 7, 2.0)
    path = facts["paths"][THERE]
    assert path["faults"] == ["loss 5%", "latency 20ms"]
    assert (path["total"]["dropped"], path["lately"]["dropped"], path["total"]["connections"]) == (6, 3, 2)
    assert facts["paths"][BACK]["lately"]["packets"] == 0
