"""A lab's processes: each end is noticed and named, output goes to its file, a fork sheds what is its parent's."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import os, sys, time
from pathlib import Path
from faultlab.runtimes.children import Processes
ended = {}
processes = Processes(
    Path(sys.argv[1]), lambda name, how: ended.update({name: how}), lambda: ended.update(me="SIGTERM")
)
{work}
"""


def run(folder: Path, work: str) -> subprocess.CompletedProcess[str]:
    """Processes belong to a main thread and its signals, so each case is a program of its own."""
    code = PROGRAM.replace("{work}", work)
    return subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, timeout=30)


def test_ends_are_noticed_and_named(tmp_path: Path) -> None:
    work = """
processes.spawn("well", ["sh", "-c", "echo said"])
processes.spawn("ill", ["sh", "-c", "exit 3"])
processes.spawn("killed", ["sh", "-c", "kill -9 $$"])
processes.fork("forked", lambda: os._exit(4), ())
assert processes.wait_until(lambda: len(ended) == 4, 20)
print(sorted(ended.items()), processes.running())
"""
    done = run(tmp_path, work)
    wanted = [
        ("forked", "exit status 4"),
        ("ill", "exit status 3"),
        ("killed", "killed by SIGKILL"),
        ("well", "exit status 0"),
    ]
    assert done.stdout.strip() == f"{wanted} {{}}", done.stderr
    assert (tmp_path / "well.txt").read_text() == "said\n"


def test_what_is_ready_is_dealt_with_once_also_when_a_walk_is_entered_from_within(tmp_path: Path) -> None:
    """An order that waits for something walks on itself; the walk that it came from must not come to the same twice."""
    work = """
import socket
one, two, three = (socket.socketpair() for _ in range(3))
dealt = []
def first():
    dealt.append(one[0].recv(1))
    processes.wait_until(lambda: len(dealt) == 2, 20)
def forgetful():
    dealt.append(two[0].recv(1))
    processes.ignore(three[0])
    three[0].close()
processes.listen(one[0], first)
processes.listen(two[0], forgetful)
processes.listen(three[0], lambda: dealt.append(three[0].recv(1)))
for end in (one, two, three):
    end[1].send(b"!")
for _ in range(4):
    processes.step(0)
print(len(dealt))
"""
    done = run(tmp_path, work)
    assert done.stdout == "2\n", done.stderr


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = run(tmp_path, 'processes.spawn("none", ["/no/such/program"])')
    assert "LabFailure: none: can't start /no/such/program" in done.stderr


def test_a_forked_error_is_in_its_file(tmp_path: Path) -> None:
    work = """
processes.fork("broken", lambda: 1 / 0, ())
assert processes.wait_until(lambda: ended, 20)
print(ended)
"""
    assert run(tmp_path, work).stdout.strip() == "{'broken': 'exit status 1'}"
    assert "ZeroDivisionError" in (tmp_path / "broken.txt").read_text()


def test_a_fork_keeps_only_its_descriptors(tmp_path: Path) -> None:
    work = """
kept, other = os.open("/dev/null", os.O_RDONLY), os.open("/dev/null", os.O_RDONLY)
def look():
    for fd in (kept, other):
        try:
            os.fstat(fd)
            print("open", flush=True)
        except OSError:
            print("closed", flush=True)
processes.fork("look", look, (kept,))
assert processes.wait_until(lambda: ended, 20)
"""
    assert run(tmp_path, work).returncode == 0
    assert (tmp_path / "look.txt").read_text() == "open\nclosed\n"


def test_sigterm_is_told(tmp_path: Path) -> None:
    work = f"""
os.kill(os.getpid(), {int(signal.SIGTERM)})
assert processes.wait_until(lambda: ended, 20)
print(ended)
"""
    assert run(tmp_path, work).stdout.strip() == "{'me': 'SIGTERM'}"


def test_the_owner_waits_no_longer_than_asked(tmp_path: Path) -> None:
    assert run(tmp_path, "print(processes.wait_until(lambda: False, 0.05))").stdout.strip() == "False"
    assert list(tmp_path.iterdir()) == []
