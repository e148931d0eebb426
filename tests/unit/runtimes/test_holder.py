"""What a lab's holder says at its end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import socket, sys
from faultlab.runtimes import control
from faultlab.runtimes.holder import Holder
from faultlab.network.plan import Plan
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


PATIENT = """
import json, socket, sys
from faultlab.runtimes import control
from faultlab.runtimes.holder import Holder
from faultlab.network.plan import Plan
class Echo(Holder):
    def _carry_out(self, order, fds):
        return {"heard": order["do"]}
name, folder = sys.argv[1:]
server = control.listen(name)
ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
holder = Echo(Plan(name, "wire", 1, (), 24, 64, (), (), server.detach(), theirs.detach(), folder))
silent, asker = control.connect(name), control.connect(name)
asker.send(json.dumps({"do": "anything"}).encode())
for _ in range(4):
    holder._processes.step(0)
print(asker.recv(100, socket.MSG_DONTWAIT).decode())
try:
    silent.recv(100, socket.MSG_DONTWAIT)
except BlockingIOError:
    print("still heard")
silent.send(json.dumps({"do": "late"}).encode())
holder._processes.step(0)
print(silent.recv(100, socket.MSG_DONTWAIT).decode())
"""


def test_an_asker_that_says_nothing_keeps_nobody_waiting(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PATIENT, f"patient-{os.getpid()}", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout == '{"heard": "anything"}\nstill heard\n{"heard": "late"}\n', done.stderr
