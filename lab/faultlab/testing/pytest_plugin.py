"""The pytest plugin: a lab for each test that asks for one, faults proven at its end, evidence of failures kept.

    @pytest.mark.lab_server("python my_server.py 9000".split(), port=9000)
    def test_survives_loss(lab):
        with lab.fault("client<->server", Loss(percent=5)):
            assert my_client(*lab.address(9000)) == "pong"

`lab` is a `faultlab.Lab`. When the test is over the lab is taken down, and each fault and toxic that was set, by
whatever call, must have left its mark on the packets: otherwise the test proved nothing, and is an error. So is a lab
that ended before its test did. Labs of several workers (pytest-xdist) live side by side. The lab's own modules are
imported when a test asks for one.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

if TYPE_CHECKING:
    from faultlab.checks.run_result import RunResult
    from faultlab.testing.lab_in_test import TestedLab

EVIDENCE: pytest.StashKey[Path] = pytest.StashKey()
FAILED: pytest.StashKey[bool] = pytest.StashKey()
_numbers = itertools.count(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("lab", "network lab with fault injection")
    group.addoption("--lab-runtime", default="netns", help="netns, compose or auto (default: netns)")
    group.addoption("--lab-engine", default="auto", help="wire, netem or auto (default: auto)")
    group.addoption("--lab-seed", type=int, help="of every random decision (default: random, told when a test fails)")
    group.addoption("--lab-trust", action="store_true", help="let programs in nodes do on this host what you may")
    group.addoption("--lab-out", type=Path, default=Path("runs"), help="folder for the evidence (default: runs)")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "lab_server(command=(), *, port, protocol='tcp', image=None, compose=None, service=None): "
        "your own server, in the node `server` of this test's lab",
    )
    config.addinivalue_line(
        "markers",
        "lab_scenario(file): the scenario, by name or by its file beside the test, that `lab_result` is the result of",
    )


@pytest.fixture
def lab(request: pytest.FixtureRequest) -> Iterator[TestedLab]:
    """A lab of this test's own, with the server that its `lab_server` marker names."""
    from faultlab.errors import LabError
    from faultlab.testing.lab_in_test import TestedLab, own_server

    config, node = request.config, request.node
    marker = node.get_closest_marker("lab_server")
    folder = _folder(node, config)
    node.stash[EVIDENCE] = folder
    try:
        tested = TestedLab.for_test(
            f"test-{os.getpid()}-{next(_numbers)}",
            guest=own_server(node.path.parent, *marker.args, **marker.kwargs) if marker is not None else None,
            runtime=config.getoption("--lab-runtime"),
            engine=config.getoption("--lab-engine"),
            seed=config.getoption("--lab-seed"),
            trust=config.getoption("--lab-trust"),
            evidence=folder,
        )
    except LabError as error:
        _fail(f"no lab: {error}")
    try:
        with tested:
            yield tested
    except LabError as error:
        _fail(f"the lab did not go down: {error}")
    if tested.end is None:
        _fail(f"the lab ended before the test did: {tested.why_gone(folder)}")
    if not node.stash.get(FAILED, False):
        try:
            unproven = tested.unproven(folder)
        except LabError as error:
            unproven = str(error)
        if unproven:
            _fail(unproven)
        shutil.rmtree(folder)


@pytest.fixture
def lab_result(request: pytest.FixtureRequest) -> Iterator[RunResult]:
    """The result of the scenario file that the test's `lab_scenario` marker names; it fails unless it is PASS."""
    from faultlab.errors import LabError
    from faultlab.report.text import result_lines
    from faultlab.running import runner
    from faultlab.scenario.model import find_scenario, load_scenario

    config, node = request.config, request.node
    marker = node.get_closest_marker("lab_scenario")
    if marker is None or len(marker.args) != 1:
        _fail("lab_result needs a marker with the file, such as @pytest.mark.lab_scenario('my.yaml')")
    options = runner.RunOptions(
        runtime=config.getoption("--lab-runtime"),
        engine=config.getoption("--lab-engine"),
        seed=config.getoption("--lab-seed"),
        out=config.getoption("--lab-out"),
        trust=config.getoption("--lab-trust"),
    )
    try:
        result = runner.run(load_scenario(node.path.parent / find_scenario(marker.args[0])), options)
    except LabError as error:
        _fail(f"no run: {error}")
    node.stash[EVIDENCE] = Path(result.evidence)
    if result.verdict != "PASS":
        _fail("\n".join(result_lines(result)))
    yield result
    if not node.stash.get(FAILED, False):
        shutil.rmtree(result.evidence)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Any:
    """Where to look, with each failure of a test that has a lab."""
    report: pytest.TestReport = yield
    if report.failed:
        item.stash[FAILED] = True
        if (folder := item.stash.get(EVIDENCE, None)) is not None:
            report.sections.append(("lab", f"evidence: {folder}"))
    return report


def _fail(text: str) -> NoReturn:
    from faultlab.printing import printable

    pytest.fail(printable(text), pytrace=False)


def _folder(node: pytest.Item, config: pytest.Config) -> Path:
    from faultlab.lab.lab import new_folder

    name = re.sub(r"[^a-z0-9]+", "-", node.name.lower()).strip("-")[:40]
    return new_folder(name, config.getoption("--lab-out")).resolve()
