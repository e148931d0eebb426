"""Servers that are wrong on purpose, on a degraded network: each is caught by the check meant for it, by no other.

A frame that is cut or stuck together did not come back as the message it was, so what `framing` catches, `reliability`
must see too; what `reliability` catches, no other check may.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from faultlab.checks import Verdict
from faultlab.checks.run_result import RunResult
from faultlab.report.text import result_lines
from faultlab.running.runner import RunOptions, run
from faultlab.scenario.model import parse_scenario

WRONG = Path(__file__).parent / "wrong"
FAIL, UNKNOWN = Verdict.FAIL, Verdict.INCONCLUSIVE
CUT = {"framing": FAIL, "reliability": FAIL}
TCP = {
    "right": {},
    "loses": {"reliability": FAIL},
    "repeats": {"reliability": FAIL},
    "corrupts": {"reliability": FAIL},
    "answers-another": {"reliability": FAIL},
    "turns-around": {"reliability": FAIL},
    "forgets-the-last": {"reliability": UNKNOWN},
    "swaps": {"ordering": FAIL},
    "splits": CUT,
    "merges": CUT,
    "sticks": CUT,
    "truncates": CUT,
    "off-by-one": CUT,
}
UNACCOUNTED = {"udp_accounting": FAIL}
UDP = {
    "right": {},
    "loses": UNACCOUNTED,
    "repeats": UNACCOUNTED,
    "corrupts": UNACCOUNTED,
    "answers-another": UNACCOUNTED,
}


def judged(workload: str, faults: str, checks: str, script: str, how: str, folder: Path) -> RunResult:
    text = (
        "about: A server that is wrong on purpose.\n"
        f"server: {{command: ['{sys.executable}', '{WRONG / script}', '9000', {how}], port: 9000, "
        f"protocol: {script[:3]}}}\n"
        f"workload: [{workload}]\nfaults: [{faults}]\nchecks: [{checks}]\n"
    )
    return run(parse_scenario(text, how), RunOptions(out=folder, seed=1))


def caught(result: RunResult) -> dict[str, Verdict]:
    return {check.name: check.verdict for check in result.checks if check.verdict != Verdict.PASS}


@pytest.mark.parametrize("how", TCP)
def test_tcp(how: str, needs_netns: None, tmp_path: Path) -> None:
    workload = (
        "tcp: {to: 'server:9000', framing: length2, messages: 52, connections: 2, size: 20B..300B, window: 52, "
        "pace: 10ms, timeout: 3s}"
    )
    faults = "{on: client<->server, latency: 10ms, reorder: 50%}"
    result = judged(workload, faults, "reliability, ordering, framing", "tcp_server.py", how, tmp_path)
    assert caught(result) == TCP[how], "\n".join(result_lines(result))


@pytest.mark.parametrize("how", UDP)
def test_udp(how: str, needs_netns: None, tmp_path: Path) -> None:
    one, other = (
        f"udp: {{to: 'server:9000', messages: 52, size: {size}, pace: 10ms, mode: echo}}" for size in ("99B", "98B")
    )
    faults = "{on: client<->server, latency: 20ms, reorder: 50%}"
    result = judged(f"{one}, {other}", faults, "udp_accounting", "udp_server.py", how, tmp_path)
    assert caught(result) == UDP[how], "\n".join(result_lines(result))


@pytest.mark.parametrize("how", ["right", "stalls-after-a-reset"])
def test_after_a_reset(how: str, needs_netns: None, tmp_path: Path) -> None:
    workload = (
        "tcp: {to: 'server:9000', framing: length2, messages: 200, connections: 2, pace: 10ms, window: 200, "
        "timeout: 3s}"
    )
    faults = "{on: client->server, for: 1s, reset: {nth: [10], match: {source_port: 20000}}}"
    result = judged(workload, faults, "reported, healed", "tcp_server.py", how, tmp_path)
    assert caught(result) == ({} if how == "right" else {"healed": FAIL}), "\n".join(result_lines(result))


@pytest.mark.parametrize("how", ["dies", "dies-slowly"])
def test_a_server_that_dies_has_failed(how: str, needs_netns: None, tmp_path: Path) -> None:
    workload = "tcp: {to: 'server:9000', framing: length2, messages: 100}"
    faults = "{on: client->server, latency: 1ms}"
    result = judged(workload, faults, "reliability", "tcp_server.py", how, tmp_path)
    assert result.verdict == FAIL
    assert "server ended (exit status 7)" in (result.error or "")
