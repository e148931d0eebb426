"""The loop of `lab top`: a running lab's evidence into counts, four times a second, until q or the lab's end."""

from __future__ import annotations

import os
import select
import sys
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live

from faultlab.analysis.capture_tail import CaptureTail
from faultlab.analysis.counts import Counts, History
from faultlab.analysis.follow import Growing
from faultlab.analysis.tail import LedgerTail
from faultlab.analysis.traffic import Traffic
from faultlab.errors import UsageError
from faultlab.lab.lab import Lab
from faultlab.lab.watching import Pause, every, nodes, snapshots
from faultlab.report.top_text import View, live_table, log_lines

REFRESH_SECONDS = 0.25
LINES_SECONDS = 1.0
QUIT = (b"q", b"Q", b"\x04", b"")
"""The last two: end of input."""


class Top:
    """The counts of one lab, brought up to each moment that it is told of."""

    def __init__(self, facts: dict[str, Any]) -> None:
        """`facts` are the lab's status. LabFailure where its evidence can't be read."""
        self._facts = facts
        self._has_ledger = facts["engine"] == "wire"
        folder = Path(facts["evidence"])
        sides = ("sent",) if self._has_ledger else ("sent", "delivered")
        self._ledger, self._ledger_tail = Growing(folder / "ledger.bin"), LedgerTail()
        self._captures = {side: (Growing(folder / f"{side}.pcapng"), CaptureTail(side)) for side in sides}
        self._traffic = Traffic(nodes(facts))
        self._history = History()

    def view(self, moment: dict[str, Any]) -> View:
        """All that happened up to `moment`, which is an answer of `Lab.flush`."""
        written = moment["written"]
        for side, (file, tail) in self._captures.items():
            for piece in file.read(written[f"{side}.pcapng"]):
                for seen in tail.feed(piece):
                    self._traffic.see(seen)
        if self._has_ledger:
            for piece in self._ledger.read(written["ledger.bin"]):
                self._ledger_tail.feed(piece)
            paths = _with_segments(self._ledger_tail.paths, self._traffic.paths)
        else:
            paths = _with_counters(self._traffic.paths, moment["counters"])
        facts = self._facts
        faults = {path: tuple(one["describe"] for one in on) for path, on in moment["faults"].items()}
        toxics = {proxy: tuple(one["describe"] for one in acts) for proxy, acts in moment.get("toxics", {}).items()}
        lately = self._history.add(moment["t"], paths)
        return View(facts["name"], facts["runtime"], facts["engine"], facts["seed"], faults, paths, lately, toxics)


def _with_segments(paths: dict[str, Counts], traffic: dict[str, Counts]) -> dict[str, Counts]:
    """A ledger knows of no sequence numbers."""
    return {
        path: replace(counts, retransmissions=seen.retransmissions, connections=seen.connections)
        for path, counts in paths.items()
        for seen in (traffic.get(path, Counts()),)
    }


def _with_counters(paths: dict[str, Counts], counters: dict[str, dict[str, int]]) -> dict[str, Counts]:
    """Of what netem does to packets it counts the drops; the rest is inferred when the lab is down."""
    return {
        path: replace(
            counts, dropped=counted["dropped"], waiting=counted["waiting"],
            delayed=None, duplicated=None, reordered=None, changed=None, forged=None,
        )
        for path, counts in paths.items()
        for counted in (counters.get(path, {"dropped": 0, "waiting": 0}),)
    }  # fmt: skip


def _moments(lab: Lab, pause: Pause) -> Iterator[dict[str, Any]]:
    """With the toxics beside the faults."""
    for moment in snapshots(lab, pause):
        try:
            toxics = lab.toxics()
        except UsageError:
            toxics = {}  # the lab has ended, as `snapshots` will find out
        yield {**moment, "toxics": toxics}


def once(lab: Lab, facts: dict[str, Any]) -> View:
    """One look, which takes a second: what happens in a second can't be seen in less."""
    top = Top(facts)
    views = [top.view(moment) for moment in islice(_moments(lab, every(1.0)), 2)]
    return views[-1]


def watch(lab: Lab, facts: dict[str, Any], console: Console) -> None:
    """Until the lab ends, or on a terminal a key says so; where there is no terminal, lines."""
    top = Top(facts)
    if not console.is_terminal:
        for moment in _moments(lab, every(LINES_SECONDS)):
            stamp = time.strftime("%H:%M:%S")
            for line in log_lines(top.view(moment)):
                console.print(f"{stamp}  {line}", soft_wrap=True, highlight=False, markup=False)
        return
    shown = None
    with _keys() as pause, Live(console=console, auto_refresh=False, screen=True) as live:
        for moment in _moments(lab, pause):
            shown = live_table(top.view(moment))
            live.update(shown, refresh=True)
    if shown is not None:
        console.print(shown)  # the screen is as it was before, and this is what is left to read


@contextmanager
def _keys() -> Iterator[Pause]:
    """A pause that a key to quit ends; the terminal reads single keys meanwhile, and none is echoed (termios(3))."""
    if not sys.stdin.isatty():
        yield every(REFRESH_SECONDS)
        return
    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin)
        yield _until_key
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _until_key() -> bool:
    ready = select.select([sys.stdin], [], [], REFRESH_SECONDS)[0]
    return not (ready and os.read(sys.stdin.fileno(), 64) in QUIT)
