"""A lab whose supervisor is stopped or killed: its user learns what is wrong, and can end it with its evidence."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from faultlab.evidence.ledger_reader import read_ledger
from faultlab.runtimes import control

from tests.conftest import RanOn

LAB = [sys.executable, "-m", "faultlab"]


def test_a_stopped_lab_is_told_and_ends_by_force(runtime: str, ran_on: RanOn, tmp_path: Path) -> None:
    ran_on(runtime, "wire")
    name = f"stopped-{os.getpid()}"

    def lab(*words: str) -> subprocess.CompletedProcess[str]:
        argv = [*LAB, words[0], "--name", name, *words[1:]]
        return subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=240)

    up = lab("up", "--runtime", runtime, "--out", "evidence", "--json")
    assert up.returncode == 0, up.stderr
    talk = (
        "client",
        "--",
        "python",
        "-m",
        "faultlab_services",
        "tcp-client",
        "--to",
        "tcp-server:8082",
        "--framing",
        "length2",
    )
    assert lab("exec", *talk).returncode == 0
    pid = json.loads(up.stdout)["supervisor_pid"]
    os.kill(pid, signal.SIGSTOP)
    for words in (("status",), ("down",)):
        refused = lab(*words)
        assert refused.returncode == 3
        assert f"its supervisor (process {pid}) is stopped" in refused.stderr
        assert f"lab down --force --name {name}" in refused.stderr
    forced = lab("down", "--force")
    assert (forced.returncode, forced.stderr) == (0, "")
    assert forced.stdout.endswith(f"{name} is down, by force; evidence: evidence\n")
    assert name not in control.running()
    assert read_ledger(tmp_path / "evidence" / "ledger.bin").entries
    assert json.loads((tmp_path / "evidence" / "end.json").read_text())["reason"]
    assert lab("down").stdout == f"no lab '{name}' is up; nothing to do\n", "nothing was left"


def test_a_supervisor_killed_while_its_lab_comes_up_is_said_to_be_killed(
    runtime: str, ran_on: RanOn, tmp_path: Path
) -> None:
    ran_on(runtime, "wire")
    name = f"killed-{os.getpid()}"
    argv = [*LAB, "up", "--name", name, "--runtime", runtime, "--out", "evidence"]
    asker = subprocess.Popen(argv, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while asker.poll() is None:
        for pid in set(control.holders(name)) - {asker.pid}:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
    assert asker.communicate()[1].splitlines()[-1:] == [
        "lab: the lab's supervisor was killed before the lab was up: by SIGKILL, which the kernel also sends when "
        "memory runs out"
    ]
    assert asker.returncode == 3
    subprocess.run([*LAB, "down", "--name", name], cwd=tmp_path, check=True, capture_output=True)
