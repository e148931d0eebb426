"""Workloads that don't get to their end: the run is INCONCLUSIVE, whatever the checks say of the part that was done."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from faultlab.checks import Verdict, run_check
from faultlab.evidence.run_evidence import Evidence
from faultlab.lab.lab import Lab

from tests.degraded.judge import Judge

UNFINISHED = {
    "datagrams": """
        timeout: 500ms
        workload:
          - udp: {to: "udp-server:41234", messages: 5000, pace: 10ms, mode: echo, timeout: 1s}
        faults:
          - {on: client->udp-server, loss: {every: 3}}
        checks: [udp_accounting]
        """,
    "names": """
        timeout: 500ms
        workload:
          - dns: {how: resolve, count: 1000, pace: 20ms}
        faults:
          - {on: client->dns-server, latency: 2ms}
        checks: [dns]
        """,
    "own client that hangs, deaf to SIGTERM": """
        timeout: 3s
        workload:
          - udp: {to: "udp-server:41234", messages: 50, pace: 2ms, mode: echo, timeout: 200ms}
          - command: {run: [sh, -c, "trap '' TERM; echo waiting; while :; do sleep 1; done"]}
        faults:
          - {on: client->udp-server, loss: {every: 3}}
        checks: [udp_accounting]
        """,
    "own client that fails": """
        workload:
          - udp: {to: "udp-server:41234", messages: 50, pace: 2ms, mode: echo, timeout: 1s}
          - command: {run: [sh, -c, "echo no luck; exit 7"]}
        faults:
          - {on: client->udp-server, loss: {every: 3}}
        checks: [udp_accounting]
        """,
}
SAID = {
    "datagrams": "udp-client-1 was stopped at the scenario's time-out of 0.5 s; sent ",
    "names": "dns-client-1 was stopped at the scenario's time-out of 0.5 s; sent ",
    "own client that hangs, deaf to SIGTERM": "command-client-2 was stopped at the scenario's time-out of 3 s: waiting",
    "own client that fails": "command-client-2 ended with 7: no luck",
}


@pytest.mark.parametrize("what", UNFINISHED)
def test_an_unfinished_workload_proves_nothing(what: str, judge: Judge) -> None:
    judged = judge(UNFINISHED[what], Verdict.INCONCLUSIVE)
    assert judged.said("finished").startswith(SAID[what])


FLOOD = """
import socket, sys
sys.stdin.readline()
for _ in range(150):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for number in range(100):
        sock.sendto(b"%d" % number, (sys.argv[1], 41234))
"""
"""Of many sockets, as each may have only so much on its way (socket(7), SO_SNDBUF)."""


def test_frames_that_the_engine_never_saw_prove_nothing(needs_netns: None, tmp_path: Path) -> None:
    """The wire is stopped while more is sent than a TAP device's queue of 10,000 holds."""
    with Lab.up(f"lost-{os.getpid()}", evidence=tmp_path, seed=1, publish=()) as lab:
        facts = lab.status()
        wire = part(facts["supervisor_pid"], "lab-wire")
        argv = [sys.executable, "-c", FLOOD, facts["nodes"]["udp-server"]["ipv4"]]
        flood = lab.popen("client", argv, stdin=subprocess.PIPE)
        os.kill(wire, signal.SIGSTOP)
        try:
            flood.communicate(b"go\n", timeout=30)
        finally:
            os.kill(wire, signal.SIGCONT)
    lost = (lab.end or {})["lost_before_wire"]["client"]
    result = run_check("ledger", {}, Evidence(tmp_path))
    assert (result.verdict, result.findings[0].text) == (
        Verdict.INCONCLUSIVE,
        f"{lost} frames of client were lost before the engine saw them",
    )


def part(supervisor: int, name: str) -> int:
    """The process of that name which a lab's supervisor has started."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(words[1]) == supervisor and (entry / "comm").read_text().strip() == name:
                return int(entry.name)
        except (FileNotFoundError, ProcessLookupError):
            continue
    raise AssertionError(f"no process {name} of supervisor {supervisor}")
