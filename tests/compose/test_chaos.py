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

from lab import control
from lab.runtimes.project import HOLDER_LABEL, PROJECT_LABEL
from tests.conftest import RanOn

KILLS = int(os.environ.get("LAB_CHAOS", "8"))
SEED = int(os.environ.get("LAB_CHAOS_SEED", "1"))
SCENARIOS = ("tcp-loss", "udp-loss", "toxiproxy-slices-frames", "dns-loss")
RUN_SECONDS = 8.0
"""What a run takes here, from its command to its end: the kill comes somewhere in it."""
END_SECONDS = 60.0
GONE_SECONDS = 20.0
VICTIMS = ("command", "supervisor", "undertaker", "compose", "hub", "plug", "target", "toxiproxy", "client", "line")
NODES = ("tcp-server", "udp-server", "dns-server")
VERDICTS = {0: "PASS", 1: "FAIL", 3: "INCONCLUSIVE"}


@dataclass
class Killed:
    """One round: what was to be killed, when, and whether there was such a thing then."""

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
    start = f"fault-lab-{lab}-"
    containers = engine.containers.list(all=True, filters={"label": HOLDER_LABEL}, ignore_removed=True)
    things = [*containers, *engine.networks.list(), *engine.volumes.list()]
    return [one for one in things if one.name.startswith(start)]


def kill(engine: Any, lab: str, command: subprocess.Popen[str], victim: str, dice: random.Random) -> bool:
    match victim:
        case "command":
            command.kill()
            return True
        case "supervisor":
            return kill_process(pids("lab.compose_supervisor", lab))
        case "undertaker":
            return kill_process(pids("lab.undertaker", f"fault-lab-{lab}-"))
        case "compose":
            return kill_process(pids("docker", "compose", f"fault-lab-{lab}-"))
        case "line":
            return kill_process(pids("lab.line", lab))
    services = {"hub": ["hub"], "target": list(NODES), "plug": [f"{node}-plug" for node in (*NODES, "client")]}
    wanted = services.get(victim, [victim])
    there = [
        one
        for one in engine.containers.list(filters={"label": HOLDER_LABEL}, ignore_removed=True)
        if one.name.startswith(f"fault-lab-{lab}-") and one.labels["com.docker.compose.service"] in wanted
    ]
    if not there:
        return False
    try:
        dice.choice(sorted(there, key=lambda one: str(one.name))).kill()
    except docker.errors.APIError:
        return False  # it ended between the look and the kill
    return True


def kill_process(found: list[int]) -> bool:
    for pid in found[:1]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
    return bool(found)


def devices() -> set[str]:
    return {entry.name for entry in Path("/sys/class/net").iterdir()}


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def rounds() -> list[Killed]:
    dice = random.Random(SEED)
    victims = [VICTIMS[number % len(VICTIMS)] for number in range(KILLS)]
    dice.shuffle(victims)
    return [Killed(dice.choice(SCENARIOS), victim, dice.uniform(0.3, RUN_SECONDS)) for victim in victims]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("one", rounds(), ids=lambda one: f"{one.victim}-{one.scenario}-{one.after:.1f}s")
def test_a_kill_ends_in_a_verdict_and_leaves_nothing(one: Killed, engine: Any, ran_on: RanOn, tmp_path: Path) -> None:
    ran_on("compose", "wire")
    dice, before = random.Random(f"{SEED} {one}"), devices()
    argv = [sys.executable, "-m", "lab.cli", "run", one.scenario, "--runtime", "compose", "--json"]
    command = subprocess.Popen(
        [*argv, "--out", str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    lab = f"run-{command.pid}-1"
    time.sleep(one.after)  # the moment is what is tested, so it is random, not awaited
    one.hit = command.poll() is None and kill(engine, lab, command, one.victim, dice)
    out, err = command.communicate(timeout=END_SECONDS)
    if one.victim != "command" or not one.hit:
        assert command.returncode in VERDICTS, (one, out, err)
        (result,) = json.loads(out)["results"]
        assert result["verdict"] == VERDICTS[command.returncode], (one, out)
        assert result["verdict"] != "FAIL", (one, out)
        assert result["verdict"] == "PASS" or told(result), (one, out)
    if not wait_for(lambda: not mine(engine, lab), GONE_SECONDS):
        pytest.fail(f"{one}: left behind: {[thing.name for thing in mine(engine, lab)]}\n{out}\n{err}")
    assert wait_for(lambda: lab not in control.running(), GONE_SECONDS), one
    assert wait_for(lambda: not pids(f"fault-lab-{lab}-"), GONE_SECONDS), one
    assert wait_for(lambda: devices() == before, GONE_SECONDS), (one, devices() ^ before)


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
    lab = [sys.executable, "-m", "lab.cli"]
    up = subprocess.run(
        [*lab, "up", "--runtime", "compose", "--name", name, "--json"], cwd=tmp_path, capture_output=True, text=True
    )
    facts = json.loads(up.stdout)
    (undertaker,) = pids("lab.undertaker", facts["project"])
    os.kill(undertaker, signal.SIGKILL)
    os.kill(facts["supervisor_pid"], signal.SIGKILL)
    mark = {"label": f"{PROJECT_LABEL}={facts['project']}"}
    assert engine.containers.list(all=True, filters=mark)
    assert wait_for(lambda: name not in control.running(), GONE_SECONDS)
    down = subprocess.run([*lab, "down", "--name", name], cwd=tmp_path, capture_output=True, text=True)
    assert (down.returncode, facts["project"] in down.stdout) == (0, True), down.stdout + down.stderr
    assert mine(engine, name) == []
