"""Every scenario that ships, on the wire: it passes and says why, replays repeat drops, a deaf engine never passes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from faultlab.checks import Verdict
from faultlab.checks.run_result import RunResult
from faultlab.network import standard_lab
from faultlab.report.text import result_lines
from faultlab.running.replay import replay
from faultlab.running.runner import RunOptions, run
from faultlab.scenario.model import Scenario, load_scenario, parse_scenario, shipped

from tests.conftest import RanOn
from tests.degraded.deaf import Pretending, Silent
from tests.support.capabilities import missing

SCENARIOS = [load_scenario(path) for path in shipped().values()]
SEEDS = range(int(os.environ.get("LAB_SEEDS", "3")))
AT_ONCE = 6
REPLAYED_IN_CONTAINERS = ("first-syn-ack-lost", "tcp-loss", "udp-loss")
"""A replay's decisions are the engine's, which is the same in both runtimes: there these few are enough."""


ALL = pytest.mark.parametrize("scenario", SCENARIOS, ids=[scenario.name for scenario in SCENARIOS])


def note(ran_on: RanOn, runtime: str, scenario: Scenario) -> None:
    """Count the test where it runs; a scenario with toxics needs the toxiproxy server too."""
    ran_on(runtime, "wire")
    if scenario.toxics():
        if runtime == "netns" and standard_lab.find_toxiproxy() is None:
            missing("toxiproxy", standard_lab.TOXIPROXY_HINT)
        ran_on(runtime, "toxiproxy")


def told(result: RunResult) -> str:
    return "\n".join(result_lines(result))


@ALL
def test_passes_and_a_replay_repeats_each_drop(scenario: Scenario, runtime: str, ran_on: RanOn, tmp_path: Path) -> None:
    note(ran_on, runtime, scenario)
    first = run(scenario, RunOptions(runtime=runtime, out=tmp_path))
    assert first.verdict == Verdict.PASS, told(first)
    proof = next(check for check in first.checks if check.name == "fault_seen")
    assert proof.summary != "no fault asked"
    if runtime == "compose" and scenario.name not in REPLAYED_IN_CONTAINERS:
        return
    again = replay(Path(first.evidence), RunOptions(out=tmp_path))
    repeated = next(check for check in again.checks if check.name == "replay")
    assert repeated.verdict == Verdict.PASS, told(again)


@pytest.mark.parametrize(
    ("messages", "faults"),
    [
        ("messages: 60, size: 4KiB, window: 8", "latency: {delay: 5ms, jitter: 2ms}, loss: 5%"),
        ("messages: 200, size: 100B, window: 16", "latency: 5ms, loss: 5%"),
        ("messages: 100, size: 100B", "duplicate: 10%, loss: 5%"),
    ],
    ids=["large messages in flight", "small messages in flight", "doubled too"],
)
def test_a_replay_finds_the_bytes_wherever_tcp_cuts_its_stream(
    messages: str, faults: str, needs_netns: None, tmp_path: Path
) -> None:
    """No two runs have the same segments where several messages are in flight, or the same packets doubled."""
    text = (
        "about: See the test.\n"
        f"workload: [{{tcp: {{to: 'tcp-server:8082', framing: length2, {messages}}}}}]\n"
        f"faults: [{{on: client<->tcp-server, {faults}}}]\n"
        "checks: [reliability]\n"
    )
    first = run(parse_scenario(text, "in-flight"), RunOptions(seed=4, out=tmp_path))
    again = replay(Path(first.evidence), RunOptions(out=tmp_path))
    repeated = next(check for check in again.checks if check.name == "replay")
    assert repeated.verdict == Verdict.PASS, told(again)


@pytest.mark.parametrize("deaf", [Silent, Pretending])
def test_a_deaf_engine_never_passes(deaf: type[Silent], needs_netns: None, ran_on: RanOn, tmp_path: Path) -> None:
    for scenario in SCENARIOS:
        note(ran_on, "netns", scenario)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        results = list(pool.map(lambda one: run(one, RunOptions(out=tmp_path, placer=deaf)), SCENARIOS))
    assert [told(one) for one in results if one.verdict == Verdict.PASS] == []
    proofs = [check for one in results for check in one.checks if check.name == "fault_seen"]
    assert {proof.verdict for proof in proofs} == {Verdict.INCONCLUSIVE}


@pytest.mark.timeout(1200)
def test_no_verdict_changes_with_the_seed(needs_netns: None, tmp_path: Path) -> None:
    """Some seeds of each (LAB_SEEDS), several labs at a time; each in a process of its own, as `lab run` is."""
    names = [one.name for one in SCENARIOS if not one.toxics() or standard_lab.find_toxiproxy() is not None]

    def verdict(name: str, seed: int) -> tuple[str, int, str, str]:
        command = [sys.executable, "-m", "faultlab", "run", name, "--seed", str(seed), "--json", "--out", str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert done.stdout, f"{name}, seed {seed}: {done.stderr}"
        report = json.loads(done.stdout)
        return name, seed, report["verdict"], done.stdout

    with ThreadPoolExecutor(AT_ONCE) as pool:
        runs = list(pool.map(lambda one: verdict(*one), [(name, seed) for name in names for seed in SEEDS]))
    assert [run for run in runs if run[2] != Verdict.PASS] == []
