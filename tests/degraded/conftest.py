"""Fixtures of the suite on real networks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest
from faultlab.checks import Verdict
from faultlab.engines.wire.engine import WireEngine
from faultlab.errors import MissingCapability
from faultlab.lab.lab import Lab
from faultlab.running import runner
from faultlab.runtimes.netns import runtime as netns
from faultlab.scenario.model import parse_scenario

from tests.conftest import RanOn
from tests.degraded.judge import Judge, Judged, told
from tests.support.capabilities import missing, needs_compose


@pytest.fixture(scope="session")
def netns_host() -> None:
    """This host can hold a netns lab, or the test is left out, saying why."""
    try:
        netns.check_host()
        WireEngine.check_host()
    except MissingCapability as error:
        missing("wire" if error.name == "wire" else "netns", str(error))


@pytest.fixture
def needs_netns(netns_host: None, ran_on: RanOn) -> None:
    """The test runs in a netns lab with the wire, and says so at the end of the run."""
    ran_on("netns", "wire")


@pytest.fixture
def needs_docker() -> None:
    """A Compose lab can be held here."""
    needs_compose()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each runtime in turn, or the one that `--runtime` names, unless the test names its own."""
    own = any("runtime" in mark.args[0] for mark in metafunc.definition.iter_markers("parametrize"))
    if "runtime" in metafunc.fixturenames and not own:
        asked = metafunc.config.getoption("--runtime")
        runtimes = ["netns", "compose"] if asked == "both" else [asked]
        metafunc.parametrize("runtime", runtimes, indirect=True, scope="session")


@pytest.fixture(scope="session")
def runtime(request: pytest.FixtureRequest) -> str:
    """A runtime that this host has, or the test is left out, saying why."""
    if request.param == "netns":
        request.getfixturevalue("netns_host")
    else:
        needs_compose()
    return str(request.param)


@pytest.fixture
def judge(runtime: str, ran_on: RanOn, tmp_path: Path) -> Judge:
    """Runs a scenario on the runtime and holds it to its verdict: PASS, unless told otherwise."""

    def run(text: str, expected: Verdict = Verdict.PASS) -> Judged:
        scenario = parse_scenario("about: See the test.\n" + dedent(text), "in-a-test")
        result = runner.run(scenario, runner.RunOptions(runtime=runtime, out=tmp_path))
        ran_on(result.runtime, result.engine)
        if scenario.toxics():
            ran_on(result.runtime, "toxiproxy")
        assert result.verdict == expected, told(result, expected)
        return Judged(result)

    return run


@pytest.fixture(scope="session")
def standing_lab(runtime: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One lab of each runtime for all tests that leave it as they found it."""
    folder: Path = tmp_path_factory.mktemp("evidence")
    with Lab.up(f"tests-{os.getpid()}", runtime=runtime, evidence=folder, seed=1) as lab:
        yield lab


@pytest.fixture
def lab(standing_lab: Lab, ran_on: RanOn) -> Lab:
    """The standing lab; the test is counted for the runtime and engine that the lab says it has."""
    status = standing_lab.status()
    ran_on(status["runtime"], status["engine"])
    return standing_lab
