"""Who asks a lab learns whether it is absent, busy, stopped or gone; and a lab that answers nobody can be ended."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from faultlab.errors import LabFailure, UsageError
from faultlab.lab import lab as lab_module
from faultlab.lab.lab import Lab
from faultlab.runtimes import control

HELD = """
import signal, sys, time
from faultlab.runtimes import control
server = control.listen(sys.argv[1])
signal.signal(signal.SIGTERM, signal.SIG_IGN if sys.argv[2] == "deaf" else signal.SIG_DFL)
print("listening", flush=True)
time.sleep(600)
"""


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return f"control-{os.getpid()}-{abs(hash(request.node.name)) % 10**6}"


@pytest.fixture
def full(name: str) -> Iterator[socket.socket]:
    """A control socket at which no more may queue."""
    server = control.listen(name)
    assert server is not None
    waiting = []
    with server:
        while True:
            one = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            one.setblocking(False)
            waiting.append(one)
            if one.connect_ex(control.address(name)):
                break
        yield server
    for one in waiting:
        one.close()


def test_a_busy_lab_is_not_an_absent_one(full: socket.socket, name: str) -> None:
    with pytest.raises(LabFailure, match=rf"lab '{name}' is busy: its supervisor \(process {os.getpid()}\)"):
        control.ask(name, {"do": "status"}, 0.1)


def test_an_asker_waits_for_its_turn(full: socket.socket, name: str) -> None:
    def serve() -> None:
        while True:
            channel, _ = full.accept()
            channel.settimeout(0.05)
            try:
                order, _ = control.receive(channel)
            except TimeoutError:
                continue  # one of those that only fill the queue
            if order is not None:
                control.answer(channel, {"heard": order["do"]})
                return

    asked = threading.Timer(0.2, serve)  # the asker meets the full queue first
    asked.start()
    assert control.ask(name, {"do": "status"})[0]["heard"] == "status"
    asked.join()


def test_an_absent_lab_is_named(name: str) -> None:
    with pytest.raises(UsageError, match=f"no lab '{name}' is up"):
        control.ask(name, {"do": "status"})


class Held:
    """A process that holds a lab's name and answers nobody."""

    def __init__(self, name: str, folder: Path, *, deaf: bool) -> None:
        with (folder / "supervisor.txt").open("wb") as log:
            argv = [sys.executable, "-c", HELD, name, "deaf" if deaf else "hears"]
            self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "listening\n"

    def __enter__(self) -> subprocess.Popen[str]:
        return self.process

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()


def test_a_stopped_supervisor_is_named_and_not_waited_for(name: str, tmp_path: Path) -> None:
    with Held(name, tmp_path, deaf=False) as process:
        os.kill(process.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        with pytest.raises(LabFailure, match=rf"process {process.pid}\) is stopped.* lab down --force --name {name}"):
            control.ask(name, {"do": "status"}, timeout=1e6)  # as long as that would be no answer


@pytest.mark.parametrize("deaf", [False, True])
@pytest.mark.parametrize("stopped", [False, True])
def test_by_force_ends_who_does_not_answer(
    name: str, tmp_path: Path, deaf: bool, stopped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told to end first, which keeps a lab's evidence; one that is deaf to that is killed."""
    monkeypatch.setattr(lab_module, "FORCE_SECONDS", 0.5 if deaf else 60.0)
    monkeypatch.setattr(lab_module, "sweep", list)
    with Held(name, tmp_path, deaf=deaf) as process:
        if stopped:
            os.kill(process.pid, signal.SIGSTOP)
        assert Lab(name).down_by_force() == tmp_path
        assert process.wait(60) == -(signal.SIGKILL if deaf else signal.SIGTERM)
    assert name not in control.running()
