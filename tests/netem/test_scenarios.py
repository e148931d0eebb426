"""The scenarios that ship, on the kernel's netem: all of them in namespaces, some in containers too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from faultlab.checks import Verdict
from faultlab.engines.netem.support import supported
from faultlab.report.text import result_lines
from faultlab.running.runner import RunOptions, run
from faultlab.scenario.model import load_scenario, shipped

from tests.conftest import RanOn
from tests.support.capabilities import missing, needs_compose

LOADED = {name: load_scenario(path) for name, path in shipped().items()}
WIRE_ONLY = (
    "first-syn-ack-lost",
    "tcp-byte-4096-lost",
    "tcp-cut-at-every-byte",
    "tcp-link-flaps",
    "tcp-mtu-blackhole",
    "udp-rebind",
)
"""What netem can't do (docs/parity.md has the reasons); every other scenario holds on both engines."""
BOTH_ENGINES = (
    "dns-delay", "dns-lookup-blocks-the-pool", "dns-loss", "tcp-burst-loss", "tcp-corrupted", "tcp-duplicated",
    "tcp-latency-jitter", "tcp-loss", "tcp-partition-heals", "tcp-rate-limited", "tcp-reordered",
    "toxiproxy-slices-frames", "udp-duplicated", "udp-loss", "udp-reordered",
)  # fmt: skip
ON_COMPOSE = ("tcp-loss", "udp-reordered", "dns-delay")


@pytest.fixture
def netem() -> None:
    if reason := supported():
        missing("netem", reason)


def must_pass(name: str, runtime: str, folder: Path) -> None:
    result = run(LOADED[name], RunOptions(runtime=runtime, engine="netem", out=folder))
    assert result.verdict == Verdict.PASS, "\n".join(result_lines(result))
    assert (result.runtime, result.engine) == (runtime, "netem")


def test_every_scenario_has_its_place() -> None:
    assert sorted((*BOTH_ENGINES, *WIRE_ONLY)) == sorted(LOADED)


@pytest.mark.parametrize("name", BOTH_ENGINES)
def test_passes_in_namespaces(name: str, netem: None, ran_on: RanOn, tmp_path: Path) -> None:
    ran_on("netns", "netem")
    must_pass(name, "netns", tmp_path)


@pytest.mark.parametrize("name", ON_COMPOSE)
def test_passes_in_containers(name: str, netem: None, ran_on: RanOn, tmp_path: Path) -> None:
    needs_compose()
    ran_on("compose", "netem")
    must_pass(name, "compose", tmp_path)


@pytest.mark.parametrize("name", WIRE_ONLY)
def test_what_netem_cannot_do_is_refused_by_name(name: str, tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "faultlab", "run", name, "--engine", "netem", "--out", str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert (done.returncode, "use --engine wire" in done.stderr) == (2, True), done.stderr
    assert list(tmp_path.iterdir()) == [], "it was refused only after it had begun"
