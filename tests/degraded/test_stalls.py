"""A process that stalls while a fault stands: the engine keeps the time without its runner; for itself nobody does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from faultlab.lab.lab import Lab
from faultlab.runtimes import control

from tests.degraded.test_unfinished import part

PATH = "client->udp-server"
SCENARIO = f"""
about: Cut off for 300 ms, three seconds after the first datagram.
workload:
  - udp: {{to: "udp-server:41234", messages: 600, pace: 10ms, mode: echo, timeout: 1s}}
faults:
  - {{on: {PATH}, at: 3s, for: 300ms, partition: true}}
checks: [udp_accounting]
"""


@pytest.fixture
def runs(needs_netns: None, tmp_path: Path) -> Callable[[], tuple[subprocess.Popen[str], Lab]]:
    """The scenario in a process of its own, and its lab once the first datagram is on its way."""

    def start() -> tuple[subprocess.Popen[str], Lab]:
        (tmp_path / "cut.yaml").write_text(SCENARIO)
        argv = [sys.executable, "-m", "faultlab", "run", "cut.yaml", "--json", "--out", "runs"]
        process = subprocess.Popen(argv, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        name = f"run-{process.pid}-1"
        until(lambda: name in control.running())
        lab = Lab(name)
        until(lambda: _packets(lab) > 0)
        return process, lab

    return start


def _packets(lab: Lab) -> int:
    """None, as long as the lab is not up."""
    try:
        return lab.packets()
    except Exception:  # noqa: BLE001 - whatever it is that a lab says which is not up yet
        return 0


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, "waited 60 s in vain"
        time.sleep(0.005)


def fault_seen(process: subprocess.Popen[str]) -> tuple[str, dict[str, Any]]:
    """The verdict, and what the check says."""
    out, _ = process.communicate(timeout=120)
    result = json.loads(out)
    result = result["results"][0] if "results" in result else result
    return result["verdict"], next(check for check in result["checks"] if check["name"] == "fault_seen")


def test_a_runner_that_stalls_is_not_needed(runs: Callable[[], tuple[subprocess.Popen[str], Lab]]) -> None:
    """It sleeps from before the fault is due until after its end."""
    process, lab = runs()
    os.kill(process.pid, signal.SIGSTOP)
    try:
        until(lambda: PATH in lab.faults())
        until(lambda: PATH not in lab.faults())
    finally:
        os.kill(process.pid, signal.SIGCONT)
    verdict, check = fault_seen(process)
    assert (verdict, check["verdict"]) == ("PASS", "PASS"), check


def test_an_engine_that_stalls_proves_nothing(runs: Callable[[], tuple[subprocess.Popen[str], Lab]]) -> None:
    """It wakes when the fault should have come and gone, and makes up for it at once."""
    process, lab = runs()
    wire = part(lab.status()["supervisor_pid"], "lab-wire")
    os.kill(wire, signal.SIGSTOP)
    try:
        time.sleep(4)
    finally:
        os.kill(wire, signal.SIGCONT)
    verdict, check = fault_seen(process)
    assert (verdict, check["verdict"]) == ("INCONCLUSIVE", "INCONCLUSIVE")
    assert any(f"partition on {PATH} stood " in finding["text"] for finding in check["findings"]), check
