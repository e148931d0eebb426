"""Results as JSON for programs: docs/results.schema.json, which `lab schema results` prints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from pydantic import TypeAdapter

from faultlab.checks.base import Verdict
from faultlab.checks.run_result import RunResult, worst_of
from faultlab.printing import json_text


@dataclass(frozen=True)
class Report:
    """`format` changes when a reader of the old one would misread the new one; `verdict` is the worst of all."""

    format: Literal[1]
    verdict: Verdict
    results: tuple[RunResult, ...]


def json_report(results: Sequence[RunResult]) -> str:
    """{"format": 1, "verdict": "PASS", "results": [...]}; a result has the fields of `RunResult`."""
    return json_text(asdict(Report(1, worst_of(results), tuple(results))))


def parse_report(text: str) -> tuple[RunResult, ...]:
    """The results that `json_report` wrote. ValueError where the text is no report of this format."""
    return TypeAdapter(Report).validate_json(text).results
