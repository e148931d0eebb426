"""Every run ends with what ran where: a suite that left its networks out must not look like one that used them."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest

from tests.support.capabilities import required

RAN_ON = "ran_on"
RanOn = Callable[[str, str], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--runtime", choices=["both", "netns", "compose"], default="both", help="of tests/degraded")


def pytest_configure(config: pytest.Config) -> None:
    required()
    # An example may take as long as it does: how fast the machine is must change no verdict.
    slow = [hypothesis.HealthCheck.too_slow]
    hypothesis.settings.register_profile("lab", deadline=None, suppress_health_check=slow)
    hypothesis.settings.load_profile("lab")
    # A shell that starts pytest in the background has it ignore SIGINT, and every program that it starts (signal(7)).
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # `python` in a node is the user's: the tests run as in an activated environment, however pytest was started.
    os.environ["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))


@pytest.fixture
def ran_on(record_property: Callable[[str, object], None]) -> RanOn:
    """Note the runtime and engine this test really used: `ran_on("netns", "wire")`. JUnit reports carry it too."""
    return lambda runtime, engine: record_property(RAN_ON, f"{runtime}/{engine}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [one for outcome in ("passed", "failed") for one in terminalreporter.stats.get(outcome, ())]
    table = Counter(place for report in reports if report.when == "call" for place in _places(report))
    terminalreporter.section("what ran where")
    for place, count in sorted(table.items()):
        terminalreporter.write_line(f"{place}: {count} {'test' if count == 1 else 'tests'} ran")
    if hasattr(terminalreporter.config, "workerinput"):
        return  # one of several processes; the one that started them has all their reports
    if folder := os.environ.get("LAB_RAN"):  # .ci/run adds up what several runs of pytest did (tools/ran)
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / f"{time.time_ns()}.json").write_text(json.dumps(table))


def _places(report: pytest.TestReport) -> set[str]:
    """The runtimes and engines that a test used; one that used none needed no network but loopback."""
    return {str(value) for name, value in report.user_properties if name == RAN_ON} or {"no lab"}
