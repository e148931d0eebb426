"""Reads journals: what an application saw, one JSON object a line (docs/services.md)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from faultlab.errors import LabFailure

JournalLine = dict[str, Any]


def read_journal(path: Path) -> list[JournalLine]:
    """Every line; a last one that was cut short is left out. LabFailure where a line is no journal's."""
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise LabFailure(f"{path}: no journal to read: {error.strerror}") from error
    journal = []
    for number, text in enumerate(lines[:-1], start=1):
        try:
            line = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise LabFailure(f"{path}:{number}: not a journal's line: not JSON") from error
        if not isinstance(line, dict):
            raise LabFailure(f"{path}:{number}: not a journal's line: expected a JSON object")
        journal.append(line)
    return journal
