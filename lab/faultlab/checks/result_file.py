"""The verdict that `lab run` leaves in a run's folder, and whether what lies beside it is what was judged."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from faultlab.checks.base import Verdict
from faultlab.checks.result_json import json_report, parse_report
from faultlab.checks.run_result import RunResult
from faultlab.errors import UsageError

RESULT = "result.json"
JUDGED = ("run.json", "end.json", "ledger.bin", "sent.pcapng", "delivered.pcapng", "journal-*.jsonl")
"""The files that a verdict is about."""


def keep(result: RunResult) -> RunResult:
    """Put a result beside its evidence, for those who look at the run later; with digests of what was judged.

    A verdict that was reached stands even where there is no room for it: `error` says so then.
    """
    file = Path(result.evidence) / RESULT
    kept = replace(result, digests=_digests(file.parent))
    try:
        file.write_text(json_report([kept]) + "\n", encoding="utf-8")
    except OSError as error:
        with suppress(OSError):
            file.unlink(missing_ok=True)  # half a result is none
        return replace(kept, error=kept.error or f"{RESULT} could not be written: {error.strerror}")
    return kept


def read_result(folder: Path) -> RunResult | None:
    """None where `lab run` left none. Its `evidence` is the folder it was read from: a run may have been moved.

    A verdict on other evidence than now lies there is none: the result is INCONCLUSIVE then, and says what differs.
    UsageError where the file can't be read as the result of one run.
    """
    result = _read(folder)
    differs = changes(folder, result)
    if result is None or not differs:
        return result
    error = f"the evidence is not what was judged ({result.verdict} then): {differs}"
    return replace(result, verdict=Verdict.INCONCLUSIVE, checks=(), error=error)


def check_unchanged(folder: Path) -> None:
    """UsageError where the folder's evidence is other than that of its result; a run without a result has none."""
    if differs := changes(folder, _read(folder)):
        raise UsageError(
            f"{folder}: the evidence is not what was judged: {differs}; expected the run as lab run left it"
        )


def changes(folder: Path, result: RunResult | None) -> str:
    """How the files differ from those judged, in words; empty where they don't, or nothing was judged."""
    if result is None or (not result.checks and result.verdict is not Verdict.PASS):
        return ""
    if not result.digests:
        return f"{RESULT} has no digests of it"
    now = _digests(folder)
    return "; ".join(_differences(result.digests, now))


def _differences(then: dict[str, str], now: dict[str, str]) -> Iterator[str]:
    for name in sorted(then.keys() | now.keys()):
        if name not in now:
            yield f"{name} is gone"
        elif name not in then:
            yield f"{name} was not there"
        elif then[name] != now[name]:
            yield f"{name} has changed"


def _digests(folder: Path) -> dict[str, str]:
    """SHA-256 of each file that is judged, by its name."""
    found = {}
    for pattern in JUDGED:
        for file in folder.glob(pattern):
            with file.open("rb") as opened:
                found[file.name] = hashlib.file_digest(opened, "sha256").hexdigest()
    return found


def _read(folder: Path) -> RunResult | None:
    file = folder / RESULT
    if not file.is_file():
        return None
    try:
        results = parse_report(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{file}: can't be read: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(
            f"{file}: not a result of lab run: damaged, or another program's; without the file the run has no verdict"
        ) from error
    if len(results) != 1:
        raise UsageError(f"{file}: {len(results)} results; expected one run's")
    return replace(results[0], evidence=str(folder))
