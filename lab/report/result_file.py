"""The verdict that `lab run` leaves in a run's folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lab.errors import UsageError
from lab.report.json_report import json_report, parse_report
from lab.report.result import RunResult

RESULT = "result.json"


def keep(result: RunResult) -> None:
    """Put a result beside its evidence, for those who look at the run later."""
    (Path(result.evidence) / RESULT).write_text(json_report([result]) + "\n", encoding="utf-8")


def read_result(folder: Path) -> RunResult | None:
    """None where `lab run` left none. Its `evidence` is the folder it was read from: a run may have been moved.

    UsageError where the file can't be read as the result of one run.
    """
    file = folder / RESULT
    if not file.is_file():
        return None
    try:
        results = parse_report(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{file}: not a result of lab run: {str(error).splitlines()[0]}") from error
    if len(results) != 1:
        raise UsageError(f"{file}: {len(results)} results; expected one run's")
    return replace(results[0], evidence=str(folder))
