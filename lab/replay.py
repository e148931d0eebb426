"""Replays a run: the same scenario and seed, with each drop taken from the run's ledger instead of the dice.

A drop is named by its path, its flow, the packet's number in that flow and the copy; all other decisions follow from
the seed as they did then. A fault that forges a packet in the dropped one's place makes its own drop again.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from lab.checks.base import CheckResult, Finding, conclude, worst
from lab.errors import UsageError
from lab.evidence.reader import Ledger, read_ledger
from lab.faults import Effect
from lab.report.result import RunResult
from lab.runner import Options, run
from lab.scenario import Scenario, parse_scenario

Drop = tuple[str, str, int, int]
"""(path, flow, ordinal in the flow, copy)"""


def replay(folder: Path, options: Options) -> RunResult:
    """Run again what `folder` holds; the result has one check more, `replay`: whether each drop was repeated.

    UsageError where it is no run's folder, or its ledger can't be read.
    """
    facts, scenario = _read(folder)
    recorded = drops(_ledger(folder))
    with tempfile.TemporaryDirectory() as place:
        forced = Path(place) / "drops.json"
        forced.write_text(json.dumps(sorted(recorded)))
        again = replace(options, seed=facts["seed"], engine=facts["engine"], forced_drops=forced)
        result = run(scenario, again)
    if result.error is not None:
        return result
    checks = (*result.checks, _compare(recorded, drops(_ledger(Path(result.evidence))), folder))
    return replace(result, checks=checks, verdict=worst(check.verdict for check in checks))


def _compare(recorded: frozenset[Drop], seen: frozenset[Drop], folder: Path) -> CheckResult:
    """A drop that found no packet to hit: then the applications sent other packets than in the recorded run."""
    missing = [
        Finding(f"packet {ordinal} of {flow} on {path} was not there to drop")
        for path, flow, ordinal, _ in sorted(recorded - seen)
    ]
    return conclude("replay", f"repeated {len(recorded)} of {len(recorded)} drops of {folder.name}", unclear=missing)


def drops(ledger: Ledger) -> frozenset[Drop]:
    """Every packet that a fault dropped; not those in whose place a fault forged another."""
    return frozenset(
        (entry.path, entry.flow, entry.ordinal, entry.copy)
        for entry in ledger.entries
        if entry.dropped and not _forged_instead(ledger, entry)
    )


def _forged_instead(ledger: Ledger, entry: Any) -> bool:
    kinds = {fault.id: fault for fault in ledger.faults}
    return any(
        effect == Effect.DROPPED and fault in kinds and Effect.INJECTED in kinds[fault].leaves
        for fault, effect, _ in entry.acts
    )


def _ledger(folder: Path) -> Ledger:
    file = folder / "ledger.bin"
    if not file.is_file():
        raise UsageError(f"{folder}: no ledger.bin there; expected the evidence folder of a run")
    return read_ledger(file)


def _read(folder: Path) -> tuple[dict[str, Any], Scenario]:
    file = folder / "run.json"
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
        source = facts["scenario"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{folder}: no run to replay there ({error}); expected the evidence folder of lab run"
        ) from error
    return facts, parse_scenario(source, str(facts["name"]))
