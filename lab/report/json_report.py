"""Results as JSON for programs. `format` changes when a reader of the old one would misread the new one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from lab.report.result import RunResult, worst_of

FORMAT = 1


def json_report(results: Sequence[RunResult]) -> str:
    """{"format": 1, "verdict": "PASS", "results": [...]}; a result has the fields of `RunResult`."""
    report: dict[str, Any] = {
        "format": FORMAT,
        "verdict": worst_of(results),
        "results": [asdict(result) for result in results],
    }
    return json.dumps(report, indent=2)
