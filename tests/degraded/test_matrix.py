"""The matrix on the wire: every cell passes with its fault proven, and with a deaf engine none does."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from faultlab.checks import Verdict
from faultlab.network import standard_lab
from faultlab.report.text import result_lines
from faultlab.running.matrix import MatrixCell, cells
from faultlab.running.runner import RunOptions, run
from faultlab.runtimes import control

from tests.conftest import RanOn
from tests.degraded.deaf import Pretending, Silent
from tests.support.capabilities import missing

JOBS = 8


@pytest.fixture
def needs_all(needs_netns: None, ran_on: RanOn) -> None:
    if standard_lab.find_toxiproxy() is None:
        missing("toxiproxy", standard_lab.TOXIPROXY_HINT)
    ran_on("netns", "toxiproxy")


@pytest.mark.timeout(2400)
def test_every_cell_passes(needs_all: None, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "faultlab", "run", "matrix", f"--jobs={JOBS}", "--json", f"--out={tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    results = json.loads(done.stdout)["results"]
    assert len(results) >= 150
    assert [one for one in results if one["verdict"] != Verdict.PASS] == []
    assert all(one["checks"][0]["summary"] != "no fault asked" for one in results)


def each_condition_once() -> list[MatrixCell]:
    """One cell for each condition, of a subject that goes by turns: what a deaf engine does hangs on the fault."""
    rows: dict[str, list[MatrixCell]] = {}
    for cell in cells():
        rows.setdefault(cell.condition, []).append(cell)
    return [row[number % len(row)] for number, row in enumerate(rows.values())]


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("deaf", [Silent, Pretending])
def test_nothing_passes_with_a_deaf_engine(deaf: type[Silent], needs_all: None, tmp_path: Path) -> None:
    scenarios = [cell.scenario for cell in each_condition_once()]
    with ThreadPoolExecutor(JOBS) as pool:
        results = list(pool.map(lambda one: run(one, RunOptions(out=tmp_path, placer=deaf)), scenarios))
    assert len(results) == len(scenarios)
    assert ["\n".join(result_lines(one)) for one in results if one.verdict == Verdict.PASS] == []


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_end_before_the_end_leaves_nothing(how: signal.Signals, needs_all: None, tmp_path: Path) -> None:
    """Whoever ends `lab run` ends the processes that run its scenarios, and their labs."""
    command = [sys.executable, "-m", "faultlab", "run", "matrix/tcp-line", "--jobs=3", f"--out={tmp_path}"]
    before = set(control.running())
    runs = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    until(lambda: len(set(control.running()) - before) == 3)
    os.killpg(runs.pid, how) if how == signal.SIGINT else runs.send_signal(how)
    runs.wait(10)
    until(lambda: not set(control.running()) - before and not of_session(runs.pid))


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline, "waited 20 s in vain"
        time.sleep(0.02)


def of_session(session: int) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(ProcessLookupError):
            if os.getsid(int(entry.name)) == session:
                found.append(int(entry.name))
    return found
