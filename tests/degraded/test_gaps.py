"""A wire that was stopped says so: what nobody saw is no measured delay."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from faultlab.checks import run_check
from faultlab.evidence.run_evidence import Evidence
from faultlab.faults import Latency
from faultlab.lab.lab import Lab

from tests.conftest import RanOn

STOPPED_SECONDS = 0.5
CLIENT = (
    *("-m", "faultlab_services", "udp-client", "--to", "udp-server:41234"),
    *("--messages", "1000", "--pace", "5ms", "--timeout", "3s"),
)


def engine_of(supervisor: int) -> int:
    """The wire's process: the one of the supervisor's children that was forked and has a TAP device open."""
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    (found,) = [int(pid) for pid in children if has_tap(pid)]
    return found


def has_tap(pid: str) -> bool:
    return any(file.readlink() == Path("/dev/net/tun") for file in Path(f"/proc/{pid}/fd").iterdir())


STOP = f"""
import os, signal, time
from pathlib import Path
{inspect.getsource(engine_of)}
{inspect.getsource(has_tap)}
engine = engine_of(PARENT)
print("ready", flush=True)
input()
os.kill(engine, signal.SIGSTOP)
time.sleep({STOPPED_SECONDS})
os.kill(engine, signal.SIGCONT)
"""


def stopper(lab: Lab) -> subprocess.Popen[str]:
    """Stops the wire for a while, once it is told to and at once.

    The wire is a child of the supervisor or, in Compose, of the hub: process 1 of its container.
    """
    status = lab.status()
    there = (
        ["docker", "exec", "-i", f"{status['project']}-hub-1", "python"] if "project" in status else [sys.executable]
    )
    code = STOP.replace("PARENT", "1" if "project" in status else str(status["supervisor_pid"]))
    found = subprocess.Popen([*there, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert found.stdout is not None and found.stdout.readline() == "ready\n"
    return found


@pytest.mark.parametrize("runtime", ["netns", "compose"])
def test_a_stopped_wire_makes_a_delay_inconclusive(
    runtime: str, request: pytest.FixtureRequest, ran_on: RanOn, tmp_path: Path
) -> None:
    request.getfixturevalue("needs_docker" if runtime == "compose" else "needs_netns")
    ran_on(runtime, "wire")
    with Lab.up(f"gaps-{os.getpid()}", runtime=runtime, evidence=tmp_path, seed=1) as lab:
        lab.set_faults("client->udp-server", Latency(delay_ms=20))
        stop = stopper(lab)
        client = lab.popen("client", (*lab.python(), *CLIENT))
        deadline = time.monotonic() + 20
        while lab.packets() < 20 and time.monotonic() < deadline:
            time.sleep(0.01)
        stop.communicate("now\n", timeout=60)
        assert stop.returncode == 0
        client.wait(timeout=30)
        lab.await_quiet()
    evidence = Evidence(tmp_path)
    begin, end = evidence.gaps.longest
    assert end - begin >= STOPPED_SECONDS * 1e9
    options = {"path": "client->udp-server", "percentile": 100, "at_most": 200}
    result = run_check("delay", options, evidence)
    assert result.verdict == "INCONCLUSIVE", result
    assert "the wire did not see its devices for up to" in result.summary
    assert run_check("delay", {**options, "at_most": 120_000}, evidence).verdict == "PASS"
    assert run_check("ledger", {}, evidence).verdict == "PASS"
