"""The result in a run's folder: read back, missing, damaged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lab.checks.base import Verdict
from lab.errors import UsageError
from lab.report.json_report import json_report
from lab.report.result import RunResult
from lab.report.result_file import read_result

RESULT = RunResult("mine", "About it.", "netns", "wire", 7, Verdict.PASS, 1.5, (), "/gone")


def test_its_evidence_is_where_it_lies_now(tmp_path: Path) -> None:
    assert read_result(tmp_path) is None
    (tmp_path / "result.json").write_text(json_report([RESULT]))
    assert read_result(tmp_path) == replace(RESULT, evidence=str(tmp_path))


def test_of_several_runs_there_is_no_one_result(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(json_report([RESULT, RESULT]))
    with pytest.raises(UsageError, match="2 results; expected one run's"):
        read_result(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 2}'])
def test_a_damaged_result_is_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(text)
    with pytest.raises(UsageError, match=r"^\S+/result\.json: not a result of lab run: [^\n]+$"):
        read_result(tmp_path)
