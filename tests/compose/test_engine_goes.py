"""The Docker engine goes away under a lab: its user learns that, and its evidence is saved before anything is removed.

The engine here is the real one, behind a door that can be shut: what goes away is every connection to it.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import docker
import pytest
from faultlab.evidence.ledger_reader import read_ledger
from faultlab.runtimes import control
from faultlab.runtimes.compose.project import PROJECT_LABEL
from faultlab.runtimes.compose.supervisor import LEASE_SECONDS

from tests.compose.test_chaos import pids
from tests.conftest import RanOn

SECONDS = 90.0
TALK = (
    "python",
    "-m",
    "faultlab_services",
    "tcp-client",
    "--to",
    "tcp-server:8082",
    "--framing",
    "length2",
    "--messages",
    "20",
)


class Door:
    """A Unix socket that leads to the Docker engine's while it is open."""

    def __init__(self, path: Path) -> None:
        self.path = path
        host = docker.from_env().api.base_url
        named = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
        assert named.startswith("unix://"), f"the engine at {host} is behind no Unix socket"
        self._engine = named.removeprefix("unix://")
        self._ends: list[socket.socket] = []
        self._lock = threading.Lock()
        self.stop_seconds = 0.0
        """How long the engine seems to take until it begins to stop a container."""
        self.open()

    def open(self) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen(64)
        threading.Thread(target=self._serve, args=(self._listener,), daemon=True).start()

    def shut(self) -> None:
        """Nobody comes in any more, and everybody is out."""
        with self._lock:
            self.path.unlink()
            for end in (self._listener, *self._ends):
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                end.close()
            self._ends.clear()

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                inside, _ = listener.accept()
            except OSError:
                return
            outside = socket.socket(socket.AF_UNIX)
            outside.connect(self._engine)
            with self._lock:
                if listener is not self._listener or listener.fileno() == -1:
                    inside.close()
                    outside.close()
                    return
                self._ends += [inside, outside]
            for one, other in ((inside, outside), (outside, inside)):
                threading.Thread(target=self._pump, args=(one, other), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if b"/stop?" in data:
                    time.sleep(self.stop_seconds)
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)


def wait_for(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + SECONDS
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


class Rig:
    """A lab that talked, with its engine behind the door."""

    def __init__(self, folder: Path, engine: Any) -> None:
        self.folder, self._engine = folder, engine
        self.name = f"engine-goes-{os.getpid()}"
        self.door = Door(folder / "docker.sock")
        up = self.lab("up", "--runtime", "compose", "--out", "evidence", "--json")
        assert up.returncode == 0, up.stderr
        self.facts = json.loads(up.stdout)
        assert self.lab("exec", "client", "--", *TALK).returncode == 0

    def lab(self, *words: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "faultlab", words[0], "--name", self.name, *words[1:]]
        env = {**os.environ, "DOCKER_HOST": f"unix://{self.door.path}"}
        return subprocess.run(argv, cwd=self.folder, env=env, capture_output=True, text=True, timeout=SECONDS)

    def left(self) -> list[str]:
        mark = {"label": f"{PROJECT_LABEL}={self.facts['project']}"}
        found = self._engine.containers.list(all=True, filters=mark, ignore_removed=True)
        return [one.name for one in (*found, *self._engine.volumes.list(filters=mark))]

    def end(self) -> dict[str, Any]:
        return dict(json.loads((self.folder / "evidence" / "end.json").read_text()))

    def check_saved(self) -> None:
        assert wait_for(lambda: not self.left()), self.left()
        ledger = read_ledger(self.folder / "evidence" / "ledger.bin")
        assert len(ledger.entries) >= 40, "20 messages and their answers"
        assert "Docker engine" in self.end()["reason"], "what the supervisor saw, not who cleaned up"


@pytest.fixture
def rig(engine: Any, ran_on: RanOn, tmp_path: Path) -> Iterator[Rig]:
    ran_on("compose", "wire")
    rig = Rig(tmp_path, engine)
    yield rig
    subprocess.run(
        ["docker", "compose", "-p", rig.facts["project"], "down", "-v", "-t", "0"], check=True, capture_output=True
    )


def test_an_engine_that_is_slow_to_stop_the_nodes_costs_no_evidence(rig: Rig) -> None:
    """The hub waits for longer than its lease: nobody renews it meanwhile."""
    rig.door.stop_seconds = LEASE_SECONDS + 2
    down = rig.lab("down")
    assert down.returncode == 0, down.stderr
    assert "failed" not in rig.end()


def test_an_engine_that_comes_back_finds_its_lab_buried_with_its_evidence_saved(rig: Rig) -> None:
    rig.door.shut()
    assert wait_for(lambda: rig.name not in control.running())
    assert "Docker engine" in rig.end()["reason"]
    assert "lab down fetches and removes" in rig.end()["failed"]
    assert rig.left()
    rig.door.open()
    rig.check_saved()


@pytest.mark.parametrize("words", [("down",), ("up", "--runtime", "compose", "--out", "next", "--json")])
def test_without_an_undertaker_the_next_command_saves_the_evidence_first(rig: Rig, words: tuple[str, ...]) -> None:
    (undertaker,) = pids("faultlab.runtimes.compose.reaper", rig.facts["project"])
    rig.door.shut()
    assert wait_for(lambda: rig.name not in control.running())
    os.kill(undertaker, signal.SIGKILL)
    assert rig.left()
    rig.door.open()
    done = rig.lab(*words)
    assert done.returncode == 0, done.stderr
    rig.check_saved()
    assert rig.lab("down").returncode == 0


def test_evidence_that_cannot_be_saved_is_not_removed(rig: Rig) -> None:
    """A file stands where the folder was; once it is out of the way, the same command saves it."""
    (undertaker,) = pids("faultlab.runtimes.compose.reaper", rig.facts["project"])
    rig.door.shut()
    assert wait_for(lambda: rig.name not in control.running())
    os.kill(undertaker, signal.SIGKILL)
    rig.door.open()
    evidence = rig.folder / "evidence"
    evidence.rename(rig.folder / "aside")
    evidence.write_text("in the way\n")
    done = rig.lab("down")
    assert done.returncode == 3
    assert f"the evidence of {rig.facts['project']} can't be fetched into {evidence}" in done.stderr
    assert rig.left()
    evidence.unlink()
    (rig.folder / "aside").rename(evidence)
    assert rig.lab("down").returncode == 0
    rig.check_saved()


def test_a_run_whose_engine_goes_away_says_so(engine: Any, ran_on: RanOn, tmp_path: Path) -> None:
    ran_on("compose", "wire")
    door = Door(tmp_path / "docker.sock")
    argv = [
        sys.executable,
        "-m",
        "faultlab",
        "run",
        "tcp-loss",
        "--runtime",
        "compose",
        "--out",
        str(tmp_path / "runs"),
    ]
    env = {**os.environ, "DOCKER_HOST": f"unix://{door.path}"}
    run = subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    project = f"fault-lab-run-{run.pid}-"
    assert wait_for(
        lambda: (
            run.poll() is not None
            or bool(pids("docker", "exec", "faultlab.runtimes.compose.hub_stdio", f"run-{run.pid}"))
        )
    )
    door.shut()
    out, err = run.communicate(timeout=SECONDS)
    assert run.returncode == 3, out + err
    assert "Docker engine" in out + err
    assert "Traceback" not in out + err
    door.open()
    ours = {"name": project}
    assert wait_for(lambda: not engine.containers.list(all=True, filters=ours, ignore_removed=True))
