"""`lab shrink`, by its own command: of all that was lost, the one datagram that the server can't do without."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from faultlab.checks import Verdict
from faultlab.running.runner import RunOptions, run
from faultlab.scenario.model import Scenario, parse_scenario

from tests.degraded.test_wrong_servers import WRONG


def scenario(how: str) -> Scenario:
    """A third of 60 datagrams is lost, the eighth (message 7) always."""
    return parse_scenario(
        f"about: A server that minds a gap.\nserver: {{command: ['{sys.executable}', '{WRONG / 'udp_server.py'}', "
        f"'9000', {how}], port: 9000, protocol: udp}}\n"
        "workload: [udp: {to: 'server:9000', messages: 60, mode: echo, timeout: 300ms, pace: 2ms}]\n"
        "faults:\n"
        "  - {on: client->server, latency: {delay: 5ms, jitter: 1ms}, loss: 30%}\n"
        "  - {on: client->server, drop: {payload: msg-0-7-}}\n"
        "checks: [udp_accounting]\n",
        "gap",
    )


def shrunk(folder: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "faultlab", "shrink", folder]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_finds_the_one_packet(needs_netns: None, tmp_path: Path) -> None:
    failed = run(scenario("fails-after-a-gap"), RunOptions(out=tmp_path, seed=3))
    assert failed.verdict == Verdict.FAIL
    done = shrunk(failed.evidence)
    assert done.returncode == 0, done.stderr
    (fault,) = parse_scenario(done.stdout, "gap").placed()
    assert fault.fault.describe() == "drop (protocol udp, source_port 20000, target_port 9000, which 8)"


def test_says_when_there_is_nothing_to_shrink(needs_netns: None, tmp_path: Path) -> None:
    passed = run(scenario("right"), RunOptions(out=tmp_path, seed=3))
    done = shrunk(passed.evidence)
    assert done.returncode == 3
    assert "the run did not fail again with the same drops" in done.stderr
