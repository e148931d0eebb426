"""Kill any process of a lab at any moment: nothing is left but its evidence, and the next one comes up.

LAB_CHAOS says how many kills of each kind (default 25; `make chaos`: 30). The lab's processes are found by a mark in
their environment, which all of them inherit.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

import pytest
from faultlab.evidence.ledger_reader import read_ledger
from faultlab.evidence.pcapng import Capture
from faultlab.lab.lab import Lab
from faultlab.runtimes import control

GONE_SECONDS = 60.0
"""When it counts as left. It is gone within a second on a machine at rest; nothing is promised of a busy one."""
ROUNDS = int(os.environ.get("LAB_CHAOS", "25"))
MARK = "FAULT_LAB_TEST_MARK"
LOAD = (
    *("python", "-m", "faultlab_services", "tcp-client", "--to", "tcp-server:8082"),
    *("--framing", "length2", "--messages", "100000"),
)
LAB = [sys.executable, "-m", "faultlab"]


@pytest.fixture
def mark(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A name of this test's own, for the lab and for the mark of its processes; whatever is left is ended."""
    name = f"chaos-{os.getpid()}-{random.Random(request.node.name).randrange(10**6)}"
    yield name
    for pid in marked(name):
        with suppress(ProcessLookupError):  # it has ended meanwhile
            os.kill(pid, signal.SIGKILL)


def marked(mark: str) -> list[int]:
    """Process ids of all that carry the mark, zombies left out: they are gone but for their parent's wait."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if wanted in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
    return found


def start(mark: str, cwd: Path, *words: str, stdout: int | IO[bytes] = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
    env = {**os.environ, MARK: mark}
    return subprocess.Popen(
        [*LAB, *words], cwd=cwd, env=env, stdout=stdout, stderr=subprocess.DEVNULL, start_new_session=True
    )


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.005)
    return condition()


def kill_one(mark: str, dice: random.Random, spare: set[int] | None = None) -> bool:
    """Kill one of the marked processes; False where there was none to kill."""
    victims = sorted(set(marked(mark)) - (spare or set()))
    if not victims:
        return False
    try:
        os.kill(dice.choice(victims), signal.SIGKILL)
    except ProcessLookupError:
        return False  # it ended between the look and the kill
    return True


def assert_gone(mark: str, spare: set[int] | None = None) -> None:
    left = lambda: [pid for pid in marked(mark) if pid not in (spare or set())]  # noqa: E731
    assert wait_for(lambda: not left() and mark not in control.running(), GONE_SECONDS), [
        Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ") for pid in left()
    ]


def devices() -> set[str]:
    """Of this network namespace; what /sys shows may be another's (sysfs(5))."""
    return {name for _, name in socket.if_nameindex()}


def test_killed_while_coming_up(mark: str, tmp_path: Path, needs_netns: None) -> None:
    dice, before = random.Random(1), devices()
    for _ in range(ROUNDS):
        with (tmp_path / "said").open("w+b") as said:
            asker = start(mark, tmp_path, "up", "--runtime", "netns", "--name", mark, stdout=said)
            time.sleep(dice.uniform(0.1, 1.0))  # the moment is what is tested, so it is random, not awaited
            killed = kill_one(mark, dice) or kill_one(mark, dice)
            asker.wait(timeout=120)
            assert killed
            if os.fstat(
                said.fileno()
            ).st_size:  # it was up: if the asker was killed after it had let go, the lab rightly stays
                kill_one(mark, dice)
        assert_gone(mark)
        assert devices() == before


def test_killed_while_running(mark: str, tmp_path: Path, needs_netns: None) -> None:
    dice, before = random.Random(2), devices()
    for _ in range(ROUNDS):
        assert start(mark, tmp_path, "up", "--runtime", "netns", "--name", mark).wait(timeout=120) == 0
        kill_one(mark, dice)
        assert_gone(mark)
        assert devices() == before


def test_killed_under_load(mark: str, tmp_path: Path, needs_netns: None) -> None:
    dice = random.Random(3)
    for _ in range(ROUNDS):
        assert start(mark, tmp_path, "up", "--runtime", "netns", "--name", mark).wait(timeout=120) == 0
        own = set(marked(mark))
        load = start(mark, tmp_path, "exec", "--name", mark, "client", "--", *LOAD)
        wait_for_traffic(tmp_path)
        os.kill(dice.choice(sorted(own)), signal.SIGKILL)
        assert_gone(mark, spare={load.pid})
        load.wait(timeout=GONE_SECONDS)
        assert_gone(mark)


def wait_for_traffic(folder: Path) -> None:
    ledger = max(folder.glob("runs/*/ledger.bin"), key=lambda file: file.stat().st_mtime)
    size = ledger.stat().st_size
    assert wait_for(lambda: ledger.stat().st_size > size + 10_000, 10)


def test_the_evidence_is_readable_after_a_kill(mark: str, tmp_path: Path, needs_netns: None) -> None:
    assert start(mark, tmp_path, "up", "--runtime", "netns", "--name", mark).wait(timeout=120) == 0
    supervisor = Lab(mark).status()["supervisor_pid"]
    load = start(mark, tmp_path, "exec", "--name", mark, "client", "--", *LOAD)
    wait_for_traffic(tmp_path)
    os.kill(supervisor, signal.SIGKILL)
    load.wait(timeout=GONE_SECONDS)
    (folder,) = tmp_path.glob("runs/*")
    ledger, sent = read_ledger(folder / "ledger.bin"), Capture(folder / "sent.pcapng")
    # Whether it is complete is a race: the engine may see the supervisor's end before the kernel ends it too.
    assert len(ledger.entries) > 100
    shared = min(len(ledger.entries), len(sent))
    assert shared > 100
    assert [entry.packet for entry in ledger.entries[:shared]] == list(sent.packets[:shared])


def test_killed_while_going_down(mark: str, tmp_path: Path, needs_netns: None) -> None:
    dice = random.Random(4)
    for _ in range(ROUNDS):
        assert start(mark, tmp_path, "up", "--runtime", "netns", "--name", mark).wait(timeout=120) == 0
        end = start(mark, tmp_path, "down", "--name", mark)
        time.sleep(dice.uniform(0.05, 0.35))  # as above
        kill_one(mark, dice, {end.pid})
        end.wait(timeout=120)
        assert_gone(mark)
