"""What a lab in containers owes its user besides what every lab does: leases, contexts, refusals, commands that end."""

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

from lab.engines.netem.support import supported
from lab.faults import Loss
from lab.lab import Lab
from lab.runtimes.project import PROJECT_LABEL
from tests.conftest import RanOn

LAB = [sys.executable, "-m", "lab.cli"]
PAIR = ("client", "tcp-server")


@pytest.fixture(autouse=True)
def counted(ran_on: RanOn, compose_host: None) -> None:
    ran_on("compose", "wire")


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def in_node(lab: Lab, node: str, *argv: str) -> subprocess.CompletedProcess[str]:
    return lab.exec(node, list(argv), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_controller_that_hangs_loses_its_lease(engine: Any, tmp_path: Path) -> None:
    """Stopped, not killed: its connection stays. Without renewal the hub ends, and every fault with it."""
    with Lab.up(f"hangs-{os.getpid()}", runtime="compose", nodes=PAIR, publish=(), evidence=tmp_path) as lab:
        lab.set_faults("client<->tcp-server", Loss(percent=100))
        facts = lab.status()
        client = engine.containers.get(f"{facts['project']}-client-1")
        os.kill(facts["supervisor_pid"], signal.SIGSTOP)
        try:
            assert wait_for(lambda: b"lab0" not in client.exec_run("cat /proc/net/dev").output)
            ask = f"python -m services tcp-client --to {facts['nodes']['tcp-server']['ipv4']}:8082 --framing length2"
            assert client.exec_run(ask).exit_code == 0
        finally:
            os.kill(facts["supervisor_pid"], signal.SIGCONT)
        assert wait_for(lab.is_gone)
        assert "hub" in lab.why_gone(tmp_path)
    assert engine.containers.list(all=True, filters={"label": f"{PROJECT_LABEL}={facts['project']}"}) == []


def test_a_command_ends_with_its_signal_and_with_its_stand_in(tmp_path: Path) -> None:
    with Lab.up(f"ends-{os.getpid()}", runtime="compose", nodes=PAIR, publish=(), evidence=tmp_path) as lab:

        def asleep(seconds: str) -> bool:
            found = in_node(lab, "client", "sh", "-c", f"grep -lz '^{seconds}$' /proc/[0-9]*/cmdline")
            return bool(found.stdout.split())

        def started(seconds: str) -> subprocess.Popen[bytes]:
            process = lab.popen("client", ["sleep", seconds])
            assert wait_for(lambda: asleep(seconds))
            return process

        asked = started("1001")
        asked.terminate()
        assert asked.wait(20) == 128 + signal.SIGTERM
        assert wait_for(lambda: not asleep("1001"))
        killed = started("1002")
        killed.kill()
        killed.wait(20)
        assert wait_for(lambda: not asleep("1002"))
        assert in_node(lab, "client", "sh", "-c", "exit 7").returncode == 7


def test_a_context_is_followed(tmp_path: Path) -> None:
    """DOCKER_CONTEXT instead of the default engine: the context names the same socket in its own words."""
    env = {**os.environ, "DOCKER_CONFIG": str(tmp_path / "docker")}
    host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    subprocess.run(
        ["docker", "context", "create", "elsewhere", "--docker", f"host={host}"],
        env=env, check=True, capture_output=True,
    )  # fmt: skip
    name = f"context-{os.getpid()}"
    env = {**env, "DOCKER_CONTEXT": "elsewhere"}
    env.pop("DOCKER_HOST", None)

    def lab(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*LAB, *words, "--name", name], cwd=tmp_path, env=env, capture_output=True, text=True)

    up = lab("up", "--runtime", "compose", "--json")
    assert up.returncode == 0, up.stderr
    assert json.loads(up.stdout)["runtime"] == "compose"
    assert lab("down").returncode == 0
    wrong = {**env, "DOCKER_HOST": "unix:///nowhere"}
    argv = [*LAB, "up", "--runtime", "compose", "--name", name]
    refused = subprocess.run(argv, cwd=tmp_path, env=wrong, capture_output=True, text=True)
    assert refused.returncode == 4
    assert refused.stderr.startswith("lab: no Docker engine answers (No such file or directory). Fix: "), refused.stderr
    nowhere = {**env, "DOCKER_CONTEXT": "nowhere"}
    refused = subprocess.run(argv, cwd=tmp_path, env=nowhere, capture_output=True, text=True)
    assert (refused.returncode, "there is no Docker context 'nowhere'" in refused.stderr) == (4, True), refused.stderr


def test_netem_without_the_kernels_is_refused_by_name(engine: Any, tmp_path: Path) -> None:
    if not supported():
        pytest.skip("needs a kernel without netem: this one has it, and tests/netem uses it")
    argv = [*LAB, "run", "tcp-loss", "--runtime", "compose", "--engine", "netem", "--out", str(tmp_path)]
    before = engine.containers.list(all=True)
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode == 4, done.stderr
    assert "sch_netem" in done.stderr and "Fix:" in done.stderr
    assert engine.containers.list(all=True) == before


def test_images_of_other_sources_are_refused(engine: Any, tmp_path: Path) -> None:
    """A copy of the checkout with one line more: its hub would be another one than its supervisor thinks."""
    root = Path(__file__).resolve().parents[2]
    for part in ("lab", "services", "compose"):
        subprocess.run(["cp", "-r", str(root / part), str(tmp_path / part)], check=True)
    with (tmp_path / "lab" / "hub.py").open("a") as file:
        file.write("# another\n")
    done = subprocess.run([*LAB, "up", "--runtime", "compose"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, "make images" in done.stderr) == (4, True), done.stderr
