"""Shrinks a run that failed: of what its faults did, the least that still makes it fail, as a scenario file.

Each step is a run like `lab replay`, with some of the recorded drops and some of the other faults left out. Zeller and
Hildebrandt's ddmin decides which (IEEE TSE 28(2), 2002): what is left can't do without any one of its parts.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import yaml

from faultlab.checks.base import Verdict
from faultlab.checks.run_result import RunResult
from faultlab.errors import LabFailure
from faultlab.faults import KINDS, Effect
from faultlab.running.replay import RecordedDrop, RecordedTraffic, read_run, recorded_traffic
from faultlab.running.runner import RunOptions, run
from faultlab.scenario.model import Scenario, parse_scenario
from faultlab.yaml_file import parse_yaml

Item = TypeVar("Item")
FaultFields = dict[str, Any]
"""One entry of a scenario's `faults`, as its file has it."""
TIMING = ("on", "at", "for")
_FLOW = re.compile(r"(tcp|udp)6? \S+:(\S+) -> \S+:(\S+)")


@dataclass(frozen=True)
class Shrunk:
    """`text` is the scenario; of `recorded` drops it needs `drops`. `fails`: whether it did when it was run at last."""

    text: str
    recorded: int
    drops: int
    runs: int
    fails: bool


def smallest(items: Sequence[Item], fails: Callable[[Sequence[Item]], bool]) -> list[Item]:
    """Of the items, which together fail, some that do and can't spare any one."""
    left, parts = list(items), 2
    if not left or fails([]):
        return []
    while len(left) >= 2:
        size = -(-len(left) // parts)
        chunks = [left[at : at + size] for at in range(0, len(left), size)]
        rests = [[one for other in chunks if other is not chunk for one in other] for chunk in chunks]
        found = next((chunk for chunk in chunks if fails(chunk)), None)
        if found is not None:
            left, parts = found, 2
            continue
        found = next((rest for rest in rests if fails(rest)), None) if len(chunks) > 2 else None
        if found is not None:
            left, parts = found, max(parts - 1, 2)
        elif size == 1:
            break
        else:
            parts = min(2 * parts, len(left))
    return left


def shrink(folder: Path, options: RunOptions, say: Callable[[str], None]) -> Shrunk:
    """UsageError where it is no run's folder; LabFailure where its drops alone don't make it fail again."""
    facts, scenario = read_run(folder)
    recorded = recorded_traffic(folder)
    same = replace(options, seed=facts["seed"], runtime=facts.get("runtime", "netns"), engine=facts["engine"])
    with tempfile.TemporaryDirectory() as place:
        trials = _Trials(scenario, same, Path(place) / "drops.json", recorded)
        everything = [*recorded.dropped]
        target = _failing(trials.run(trials.entries, everything))
        if not target:
            raise LabFailure(f"{folder}: the run did not fail again with the same drops, so there is nothing to shrink")
        say(f"fails again: {', '.join(sorted(target))}; {len(everything)} drops, {len(trials.others)} other faults")

        def fails(entries: Sequence[FaultFields], drops: Sequence[RecordedDrop]) -> bool:
            found = bool(target & _failing(trials.run(entries, drops)))
            say(f"run {trials.runs}: {len(drops)} drops, {len(entries)} other faults: {'fails' if found else 'passes'}")
            return found

        others = smallest(trials.others, lambda entries: fails(entries, everything))
        drops = smallest(everything, lambda drops: fails(others, drops))
        text = trials.text([*others, *merge_drops([as_entry(drop, recorded.ordinals[drop]) for drop in drops])])
        last = run(parse_scenario(text, scenario.name), same)
    return Shrunk(text, len(everything), len(drops), trials.runs, bool(target & _failing(last)))


def _failing(result: RunResult) -> set[str]:
    """The checks that failed; the server's death counts as one."""
    failed = {check.name for check in result.checks if check.verdict is Verdict.FAIL}
    return failed | ({"server"} if result.error is not None and result.verdict is Verdict.FAIL else set())


class _Trials:
    """Runs of one scenario with other faults, and only the drops that are asked for."""

    def __init__(self, scenario: Scenario, options: RunOptions, file: Path, recorded: RecordedTraffic) -> None:
        self._data: dict[str, Any] = parse_yaml(scenario.source, scenario.name).data
        self._name = scenario.name
        self._options = options
        self._file = file
        self._recorded = recorded
        self.entries = [one for entry in self._data.get("faults", []) for one in apart(entry)]
        self.others = [entry for entry in self.entries if not drops_only(entry)]
        self.runs = 0

    def text(self, entries: Sequence[FaultFields]) -> str:
        return yaml.safe_dump({**self._data, "faults": list(entries)}, sort_keys=False, width=120)

    def run(self, entries: Sequence[FaultFields], drops: Sequence[RecordedDrop]) -> RunResult:
        self.runs += 1
        self._file.write_text(self._recorded.orders(drops))
        return run(parse_scenario(self.text(entries), self._name), replace(self._options, forced_drops=self._file))


def apart(entry: FaultFields) -> list[FaultFields]:
    """An entry for each of its faults, at the same times on the same path."""
    shared = {name: value for name, value in entry.items() if name in TIMING}
    return [{**shared, name: value} for name, value in entry.items() if name not in TIMING]


def drops_only(entry: FaultFields) -> bool:
    """Whether all that its fault can do is drop, so that the recorded drops are all there is to it."""
    return all(name in KINDS and KINDS[name].leaves == {Effect.DROPPED} for name in entry if name not in TIMING)


def as_entry(drop: RecordedDrop, ordinal: int) -> FaultFields:
    """One packet, named so that another run has it too: TCP's by its bytes, others by their number in their flow."""
    path, flow, sending, _ = drop
    match: FaultFields = {}
    found = _FLOW.fullmatch(flow)
    if found is not None:
        ends = zip(("source_port", "target_port"), found.groups()[1:], strict=True)
        match = {"protocol": found[1], **{name: int(port) for name, port in ends if port.isdigit()}}
    if sending.what == "bytes":
        return {"on": path, "drop": {**match, "stream": [sending.at, sending.at], "which": sending.times}}
    return {"on": path, "drop": {**match, "which": ordinal}}


def merge_drops(entries: Sequence[FaultFields]) -> list[FaultFields]:
    """Drops that differ only in the number of their packet are one fault."""
    found: dict[str, FaultFields] = {}
    for entry in entries:
        drop = {name: value for name, value in entry["drop"].items() if name != "which"}
        key = json.dumps([entry["on"], drop])
        known = found.setdefault(key, {"on": entry["on"], "drop": {**drop, "which": []}})
        known["drop"]["which"].append(entry["drop"]["which"])
    return list(found.values())
