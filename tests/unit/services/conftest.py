"""Real processes of `python -m faultlab_services`, started on free ports of loopback and always ended."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

PATIENCE_S = 20.0
LOOPBACKS = ("127.0.0.1", "::1")


def until(condition: Callable[[], bool]) -> None:
    """Waits for a condition that must come true."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.005)


class Service:
    """One running server with its journal."""

    def __init__(self, journal: Path, args: list[str]) -> None:
        self._journal = journal
        self.process = subprocess.Popen(
            [sys.executable, "-m", "faultlab_services", *args, "--journal", str(journal)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.listening: list[str] = []
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.endswith(": ready\n"):
                return
            self.listening.append(line.rstrip("\n"))
        raise AssertionError(f"never ready: {self.process.communicate()}")

    def port(self, what: str = "") -> int:
        """The port of the listener whose line holds `what`."""
        [line] = [line for line in self.listening if what in line]
        match = re.search(r":(\d+)(?: |$)", line)
        assert match is not None, line
        return int(match[1])

    def journal(self, op: str | None = None, phase: str | None = None) -> list[dict[str, Any]]:
        """Its journal's lines so far, those asked for."""
        return read_journal(self._journal, op, phase)

    def rss_bytes(self) -> int:
        """Resident memory of the process."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)

    def end(self) -> None:
        """Whatever state it is in."""
        self.process.kill()
        self.process.communicate()


def read_journal(path: Path, op: str | None = None, phase: str | None = None) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [line for line in lines if op in (None, line["op"]) and phase in (None, line["phase"])]


Start = Callable[..., Service]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """start("tcp-server", "--raw-port", "0") -> Service, listening."""
    running: list[Service] = []

    def starter(*args: str) -> Service:
        running.append(Service(tmp_path / f"server-{len(running)}.jsonl", list(args)))
        return running[-1]

    yield starter
    for service in running:
        service.end()


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """run("tcp-client", ...) -> the completed process; its journal is `client.jsonl` in tmp_path when asked for."""

    def runner(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "faultlab_services", *args],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    return runner
