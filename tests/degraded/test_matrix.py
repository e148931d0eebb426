"""The matrix on the wire: every cell passes with its fault proven, and with a deaf engine none does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from lab import stack
from lab.batch import run_all
from lab.checks import Verdict
from lab.matrix import Cell, cells
from lab.report.progress import progress
from lab.report.text import lines
from lab.runner import Options
from tests.capabilities import missing
from tests.conftest import RanOn
from tests.degraded.deaf import Pretending, Silent

JOBS = 8


@pytest.fixture
def needs_all(needs_netns: None, ran_on: RanOn) -> None:
    if stack.find_toxiproxy() is None:
        missing("toxiproxy", stack.TOXIPROXY_HINT)
    ran_on("netns", "toxiproxy")


@pytest.mark.timeout(900)
def test_every_cell_passes(needs_all: None, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lab.cli", "run", "matrix", f"--jobs={JOBS}", "--json", f"--out={tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    results = json.loads(done.stdout)["results"]
    assert len(results) >= 150
    assert [one for one in results if one["verdict"] != Verdict.PASS] == []
    assert all(one["checks"][0]["summary"] != "no fault asked" for one in results)


def each_condition_once() -> list[Cell]:
    """One cell for each condition, of a subject that goes by turns: what a deaf engine does hangs on the fault."""
    rows: dict[str, list[Cell]] = {}
    for cell in cells():
        rows.setdefault(cell.condition, []).append(cell)
    return [row[number % len(row)] for number, row in enumerate(rows.values())]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("deaf", [Silent, Pretending])
def test_nothing_passes_with_a_deaf_engine(deaf: type[Silent], needs_all: None, tmp_path: Path) -> None:
    scenarios = [cell.scenario for cell in each_condition_once()]
    with progress(len(scenarios), Console(stderr=True)) as shown:
        results = [one for _, one in run_all(scenarios, Options(out=tmp_path, placer=deaf), JOBS, shown.running)]
    assert len(results) == len(scenarios)
    assert ["\n".join(lines(one)) for one in results if one.verdict == Verdict.PASS] == []
