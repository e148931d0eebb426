"""Kill any part of a Compose lab at any moment of a run: it ends with a true verdict or a named error; nothing stays.

LAB_CHAOS says how many kills (default 8; `make chaos`: 30), LAB_CHAOS_SEED which.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker.errors
import pytest
from faultlab.runtimes import control
from faultlab.runtimes.compose import runtime as compose
from faultlab.runtimes.compose.project import HOLDER_LABEL, PROJECT_LABEL, SERVICE_LABEL

from tests.conftest import RanOn

KILLS = int(os.environ.get("LAB_CHAOS", "8"))
SEED = int(os.environ.get("LAB_CHAOS_SEED", "1"))
SCENARIOS = ("tcp-loss", "udp-loss", "toxiproxy-slices-frames", "dns-loss")
END_SECONDS = 60.0
GONE_SECONDS = 20.0
VICTIMS = {
    **{"command": 6.0, "supervisor": 5.0, "undertaker": 5.0, "compose": 1.0, "line": 3.0},
    **dict.fromkeys(("hub", "plug", "target", "toxiproxy", "client"), 3.5),
}
"""What is killed, and for how many seconds of a run it is there: the kill comes somewhere in them."""
NODES = ("tcp-server", "udp-server", "dns-server")
VERDICTS = {0: "PASS", 1: "FAIL", 3: "INCONCLUSIVE"}


@dataclass
class Killed:
    """One round: what was to be killed, how long after it came, and whether it was still there."""

    scenario: str
    victim: str
    after: float
    hit: bool = False


def pids(*words: str) -> list[int]:
    """Processes whose command line has all of these words in it."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if all(word in line for word in words):
                found.append(int(folder.name))
    return found


def mine(engine: Any, lab: str) -> list[Any]:
    """The containers, networks and volumes of this lab."""
    start = f"fault-lab-{lab}"
    containers = engine.containers.list(all=True, filters={"label": HOLDER_LABEL}, ignore_removed=True)
    things = [*containers, *engine.networks.list(), *engine.volumes.list()]
    return [one for one in things if one.name.startswith(start)]


def targets(engine: Any, lab: str, command: subprocess.Popen[str], victim: str) -> list[Any]:
    """What there is of the victim now: process ids, or containers."""
    project = f"fault-lab-{lab}-"
    match victim:
        case "command":
            return [command.pid] if command.poll() is None else []
        case "supervisor":
            return pids("faultlab.runtimes.compose.supervisor", lab)[-1:]
        case "undertaker":
            return pids("faultlab.runtimes.compose.reaper", project)
        case "compose":
            return pids("docker", "compose", project, " up ")[:1]
        case "line":
            return pids("docker", "exec", "faultlab.runtimes.compose.hub_stdio", lab)[:1]
    services = {"hub": ["hub"], "target": list(NODES), "plug": [f"{node}-plug" for node in (*NODES, "client")]}
    wanted = services.get(victim, [victim])
    running = engine.containers.list(filters={"label": HOLDER_LABEL}, ignore_removed=True)
    there = [one for one in running if one.name.startswith(project) and one.labels[SERVICE_LABEL] in wanted]
    return sorted(there, key=lambda one: str(one.name))


def kill(found: list[Any], dice: random.Random) -> bool:
    """SIGKILL to one of them; False where there was none, or it ended between the look and the kill."""
    if not found:
        return False
    one = dice.choice(found)
    try:
        if isinstance(one, int):
            os.kill(one, signal.SIGKILL)
        else:
            one.kill()
    except (ProcessLookupError, docker.errors.APIError):
        return False
    return True


def devices() -> set[str]:
    return {entry.name for entry in Path("/sys/class/net").iterdir()}


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def rounds() -> list[Killed]:
    dice = random.Random(SEED)
    victims = [list(VICTIMS)[number % len(VICTIMS)] for number in range(KILLS)]
    dice.shuffle(victims)
    return [Killed(scenario_with(victim, dice), victim, dice.uniform(0, VICTIMS[victim])) for victim in victims]


def scenario_with(victim: str, dice: random.Random) -> str:
    """Not every run has a toxiproxy."""
    return "toxiproxy-slices-frames" if victim == "toxiproxy" else dice.choice(SCENARIOS)


@pytest.fixture(scope="module", autouse=True)
def _nothing_of_an_earlier_session(engine: Any) -> None:
    """A machine that was switched off in the middle of a run has it still: the next lab that comes up takes it away."""
    compose.sweep(engine)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("one", rounds(), ids=lambda one: f"{one.victim}-{one.scenario}-{one.after:.1f}s")
def test_a_kill_ends_in_a_verdict_and_leaves_nothing(one: Killed, engine: Any, ran_on: RanOn, tmp_path: Path) -> None:
    ran_on("compose", "wire")
    assert wait_for(lambda: not mine(engine, "run-"), GONE_SECONDS), "an earlier round has left something"
    dice, before = random.Random(f"{SEED} {one}"), devices()
    argv = [sys.executable, "-m", "faultlab", "run", one.scenario, "--runtime", "compose", "--json"]
    command = subprocess.Popen(
        [*argv, "--out", str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    lab = f"run-{command.pid}-1"
    wait_for(lambda: command.poll() is not None or bool(targets(engine, lab, command, one.victim)), END_SECONDS)
    time.sleep(one.after)  # the moment is what is tested, so it is random, not awaited
    one.hit = kill(targets(engine, lab, command, one.victim), dice)
    HITS.append(one)
    out, err = command.communicate(timeout=END_SECONDS)
    if one.victim != "command" or not one.hit:
        assert command.returncode in VERDICTS, (one, out, err)
        assert out, (one, err)
        (result,) = json.loads(out)["results"]
        assert result["verdict"] == VERDICTS[command.returncode], (one, out)
        assert result["verdict"] != "FAIL", (one, out)
        assert result["verdict"] == "PASS" or told(result), (one, out)
    if not wait_for(lambda: not mine(engine, f"{lab}-"), GONE_SECONDS):
        pytest.fail(f"{one}: left behind: {[thing.name for thing in mine(engine, f'{lab}-')]}\n{out}\n{err}")
    assert wait_for(lambda: lab not in control.running(), GONE_SECONDS), one
    assert wait_for(lambda: not pids(f"fault-lab-{lab}-"), GONE_SECONDS), one
    assert wait_for(lambda: devices() == before, GONE_SECONDS), (one, devices() ^ before)


HITS: list[Killed] = []


def test_most_kills_hit_something() -> None:
    """Or the rounds above have shown nothing: most of them must have found their victim alive."""
    if HITS:
        assert sum(one.hit for one in HITS) >= len(HITS) * 2 // 3, HITS


def told(result: dict[str, Any]) -> bool:
    """Whether it says why there is no PASS."""
    return bool(result.get("error")) or any(
        check["verdict"] == "INCONCLUSIVE" and check["findings"] for check in result["checks"]
    )


def test_a_lab_whose_supervisor_and_undertaker_are_both_killed_goes_at_the_next_down(
    engine: Any, ran_on: RanOn, tmp_path: Path
) -> None:
    ran_on("compose", "wire")
    name = f"orphan-{os.getpid()}"
    lab = [sys.executable, "-m", "faultlab"]
    up = subprocess.run(
        [*lab, "up", "--runtime", "compose", "--name", name, "--json"], cwd=tmp_path, capture_output=True, text=True
    )
    facts = json.loads(up.stdout)
    (undertaker,) = pids("faultlab.runtimes.compose.reaper", facts["project"])
    os.kill(undertaker, signal.SIGKILL)
    os.kill(facts["supervisor_pid"], signal.SIGKILL)
    mark = {"label": f"{PROJECT_LABEL}={facts['project']}"}
    assert engine.containers.list(all=True, filters=mark)
    assert wait_for(lambda: name not in control.running(), GONE_SECONDS)
    down = subprocess.run([*lab, "down", "--name", name], cwd=tmp_path, capture_output=True, text=True)
    assert (down.returncode, facts["project"] in down.stdout) == (0, True), down.stdout + down.stderr
    assert mine(engine, f"{name}-") == []
