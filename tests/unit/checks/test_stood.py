"""How long a fault and a toxic stood, against how long they were asked to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from faultlab.checks import CheckResult, run_check
from faultlab.checks.stood import not_as_asked, tolerance_ms
from faultlab.engines.recorder import FileRecorder
from faultlab.engines.wire.core import Core
from faultlab.evidence.run_evidence import Evidence
from faultlab.faults import Partition, fault_from_json, fault_to_json
from faultlab.running.matrix import cells
from faultlab.scenario.model import load_scenario, shipped

from tests.support.virtual_wire import MS, NODES, TO_UDP, udp


def judged(
    folder: Path, *, set_ms: int, cleared_ms: int, begun_ms: int = 100, ended_ms: int = 5000, **asked: Any
) -> CheckResult:
    """A partition that stood for that time; asked is `at_ms`, `for_ms`."""
    recorder = FileRecorder(folder, NODES, {"seed": 1, "engine": "wire", "lab": "history"})
    core = Core(NODES, 1, recorder)
    recorder.note("began", t=begun_ms * MS)
    core.set_faults(TO_UDP, [Partition()], set_ms * MS)
    core.receive(0, udp(b"hit"), cleared_ms * MS)
    core.set_faults(TO_UDP, [], cleared_ms * MS)
    recorder.note("ended", t=ended_ms * MS)
    recorder.close(strays=0)
    timed = [{"path": TO_UDP, "describe": "partition", **asked}]
    return run_check("fault_seen", {"expected": 1, "timed": timed}, Evidence(folder))


def test_as_asked(tmp_path: Path) -> None:
    assert judged(tmp_path, set_ms=600, cleared_ms=900, at_ms=500, for_ms=300).verdict == "PASS"


@pytest.mark.parametrize(("cleared_ms", "stood"), [(606, 6), (1200, 600)])
def test_too_short_or_too_long_proves_nothing(cleared_ms: int, stood: int, tmp_path: Path) -> None:
    result = judged(tmp_path, set_ms=600, cleared_ms=cleared_ms, at_ms=500, for_ms=300)
    said = f"partition on {TO_UDP} stood {stood} ms and was asked for 300 ms (tolerance 50 ms)"
    assert (result.verdict, result.summary) == ("INCONCLUSIVE", said)


def test_a_fault_of_the_start_is_asked_for_from_the_first_packet(tmp_path: Path) -> None:
    """Before that it may stand as long as the programs take to start."""
    assert judged(tmp_path, set_ms=10, cleared_ms=400, begun_ms=100, for_ms=300).verdict == "PASS"


def test_a_fault_of_the_start_that_ended_early_proves_nothing(tmp_path: Path) -> None:
    assert judged(tmp_path, set_ms=10, cleared_ms=310, begun_ms=100, for_ms=300).verdict == "INCONCLUSIVE"


def test_the_workloads_end_is_an_end_as_asked(tmp_path: Path) -> None:
    assert judged(tmp_path, set_ms=600, cleared_ms=751, ended_ms=750, at_ms=500, for_ms=300).verdict == "PASS"


@pytest.mark.parametrize(("asked", "allowed"), [(10, 5), (40, 20), (100, 50), (300, 50), (500, 50), (1200, 120)])
def test_the_tolerance(asked: float, allowed: float) -> None:
    assert tolerance_ms(asked) == pytest.approx(allowed)


@pytest.mark.parametrize(("cleared_ms", "said"), [(395, []), (110, [10]), (900, [800])])
def test_a_toxic_too(cleared_ms: int, said: list[int], tmp_path: Path) -> None:
    recorder = FileRecorder(tmp_path, NODES, {"seed": 1, "engine": "wire", "lab": "history"})
    recorder.note("ended", t=5000 * MS)
    recorder.close(strays=0)
    toxic = {"type": "latency", "proxy": "tcp-length2", "set_t": 100 * MS, "cleared_t": cleared_ms * MS, "for_ms": 300}
    found = not_as_asked(Evidence(tmp_path, toxics=(toxic,)), ())
    told = "toxic latency on tcp-length2 stood {} ms and was asked for 300 ms (tolerance 50 ms)"
    assert [finding.text for finding in found] == [told.format(stood) for stood in said]


def test_every_fault_is_called_in_the_ledger_as_the_runner_calls_it() -> None:
    """The two are matched by the description, which goes to the engine and back as JSON."""
    scenarios = [load_scenario(file) for file in shipped().values()] + [cell.scenario for cell in cells()]
    faults = {one.fault for scenario in scenarios for one in scenario.placed()}
    assert len(faults) > 30
    assert [one for one in faults if fault_from_json(fault_to_json(one)).describe() != one.describe()] == []
