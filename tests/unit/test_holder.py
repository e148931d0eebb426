"""What a lab's holder says at its end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import socket, sys
from lab import control
from lab.holder import Holder
from lab.runtimes.base import Plan
name, folder = sys.argv[1:]
server = control.listen(name)
ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
assert control.listen(name) is None
holder = Holder(Plan(name, "wire", 1, (), 24, 64, (), (), server.detach(), theirs.detach(), folder))
holder.last_word(error="why")
print(ours.recv(100).decode(), control.listen(name) is not None)
"""


def test_whoever_hears_why_a_lab_did_not_stand_finds_its_name_free(tmp_path: Path) -> None:
    """A holder belongs to a main thread and its signals, so it is a program of its own."""
    command = [sys.executable, "-c", PROGRAM, f"unlucky-{os.getpid()}", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.stdout.strip() == '{"error": "why"} True', done.stderr
