"""The result in a run's folder: read back, missing, damaged."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from faultlab.checks.base import CheckResult, Verdict
from faultlab.checks.result_file import keep, read_result
from faultlab.checks.result_json import json_report
from faultlab.checks.run_result import RunResult
from faultlab.errors import UsageError
from faultlab.running.replay import read_run
from faultlab.scenario.model import shipped

from tests.unit.checks.histories import TcpHistory

RESULT = RunResult(
    "mine", "About it.", "netns", "wire", 7, Verdict.PASS, 1.5, (CheckResult("x", Verdict.PASS, "5/5"),), "/gone"
)
SCENARIO = next(iter(shipped().values())).read_text()


def a_run(folder: Path, result: RunResult = RESULT) -> RunResult:
    """A run's folder with its result."""
    folder.mkdir(exist_ok=True)
    TcpHistory().write(folder)
    (folder / "run.json").write_text(json.dumps({"name": "mine", "scenario": SCENARIO, "seed": 7, "engine": "wire"}))
    (folder / "end.json").write_text(json.dumps({"reason": "stopped", "lost_before_wire": {}}))
    return keep(replace(result, evidence=str(folder)))


def test_its_evidence_is_where_it_lies_now(tmp_path: Path) -> None:
    assert read_result(tmp_path) is None
    kept = a_run(tmp_path / "there")
    assert {"ledger.bin", "sent.pcapng", "delivered.pcapng", "run.json"} < kept.digests.keys()
    (tmp_path / "there").rename(tmp_path / "here")
    assert read_result(tmp_path / "here") == replace(kept, evidence=str(tmp_path / "here"))


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def of_another_run(file: Path) -> None:
    """Just as long, one byte in it differs."""
    data = bytearray(file.read_bytes())
    data[-9] ^= 1
    file.write_bytes(data)


FILES = ("sent.pcapng", "delivered.pcapng", "ledger.bin", "journal-tcp-client-1.jsonl", "run.json", "end.json")


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize(
    ("change", "words"),
    [(Path.unlink, "is gone"), (cut, "has changed"), (of_another_run, "has changed")],
    ids=["gone", "cut", "of another run"],
)
@pytest.mark.parametrize("verdict", [Verdict.PASS, Verdict.FAIL])
def test_a_verdict_holds_for_what_was_judged(
    verdict: Verdict, change: Callable[[Path], None], words: str, file: str, tmp_path: Path
) -> None:
    """Whoever reads a result beside its evidence says what differs, and does not repeat it or go by it."""
    kept = a_run(tmp_path, replace(RESULT, verdict=verdict))
    change(tmp_path / file)
    result = read_result(tmp_path)
    assert result == replace(
        kept,
        verdict=Verdict.INCONCLUSIVE,
        checks=(),
        error=f"the evidence is not what was judged ({verdict} then): {file} {words}",
    )
    with pytest.raises(UsageError, match=f"not what was judged: {file} {words}"):
        read_run(tmp_path)


def test_what_came_later_was_not_judged_either(tmp_path: Path) -> None:
    a_run(tmp_path)
    (tmp_path / "journal-more.jsonl").touch()
    (tmp_path / "report.html").touch()
    assert "journal-more.jsonl was not there" in str(read_result(tmp_path))


def test_a_result_that_does_not_say_what_was_judged_is_none(tmp_path: Path) -> None:
    kept = a_run(tmp_path)
    (tmp_path / "result.json").write_text(json_report([replace(kept, digests={})]))
    result = read_result(tmp_path)
    assert result is not None and (result.verdict, result.checks) == (Verdict.INCONCLUSIVE, ())


def test_where_nothing_was_judged_the_reason_stays(tmp_path: Path) -> None:
    kept = a_run(tmp_path, replace(RESULT, verdict=Verdict.INCONCLUSIVE, checks=(), error="the lab died"))
    cut(tmp_path / "ledger.bin")
    assert read_result(tmp_path) == kept


def test_of_several_runs_there_is_no_one_result(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(json_report([RESULT, RESULT]))
    with pytest.raises(UsageError, match="2 results; expected one run's"):
        read_result(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 2}'])
def test_a_damaged_result_is_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(text)
    with pytest.raises(UsageError, match=r"^\S+/result\.json: not a result of lab run: [^\n]+$"):
        read_result(tmp_path)
