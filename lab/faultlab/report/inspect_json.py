"""What `lab inspect --json` prints: docs/inspect.md has each field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from faultlab.analysis.ladder import Ladder, Step
from faultlab.analysis.overview import Overview
from faultlab.analysis.paths import PathFacts
from faultlab.analysis.subject import Subject
from faultlab.checks.run_result import RunResult

FORMAT = 1
"""Changes when a reader of the old one would misread the new one."""


def summary_json(seen: Overview, result: RunResult | None) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "start_ns": seen.start_ns,
        "captures": [asdict(one) for one in seen.captures],
        "not_known": seen.unknown,
        "notes": seen.remarks,
        "result": asdict(result) if result else None,
        "faults": [asdict(fault) for fault in seen.faults],
        "paths": [_path(one) for one in seen.paths],
        "flows": [asdict(one) for one in seen.flows],
    }


def packets_json(subject: Subject, steps: Sequence[Step]) -> dict[str, Any]:
    return {**_head(subject), "packets": [asdict(step) for step in steps]}


def ladders_json(subject: Subject, ladders: Sequence[Ladder]) -> dict[str, Any]:
    return {**_head(subject), "ladders": [asdict(ladder) for ladder in ladders]}


def packet_json(subject: Subject, step: Step, dissected: Mapping[str, str]) -> dict[str, Any]:
    """`dissected` are the fields, in scapy's words, by capture and frame."""
    return {**_head(subject), "packets": [asdict(step)], "dissected": dict(dissected)}


def _head(subject: Subject) -> dict[str, Any]:
    return {"format": FORMAT, "start_ns": subject.start_ns, "not_known": subject.unknown, "notes": subject.remarks}


def _path(one: PathFacts) -> dict[str, Any]:
    return {
        "path": one.path,
        "sent": one.sent,
        "delivered": one.delivered,
        "lost": one.losses.lost,
        "reordered": one.reordering.count,
        "duplicated": one.duplicated,
        "changed": int(one.changed.sum()),
        "forged": one.forged,
        "delay_ns": {f"p{percent}": one.delay(percent) for percent in (50, 99)},
        "asked_ns": {f"p{percent}": one.asked(percent) for percent in (50, 99)},
    }
