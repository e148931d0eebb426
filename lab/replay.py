"""Replays a run: the same scenario and seed, with each drop taken from the run's ledger instead of the dice.

A drop is named by its path, its flow, what the packet carried (`Sending`) and the copy; all other decisions follow
from the seed and the packet's number in its flow, as in any run. A fault that forges a packet in the dropped one's
place makes its own drop again.

Each packet that the application made TCP or UDP send is there to drop again. A retransmission or a pure ACK is TCP's
own: its timers race, and one that carried nothing new then may not be sent now. Such a one is told, and no failure,
once the replay's capture shows that it was not sent, and that the segment it repeats, or its connection, was.
"""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lab.checks.base import CheckResult, Finding, conclude, worst
from lab.errors import UsageError
from lab.evidence.evidence import Evidence
from lab.evidence.pcapng import Capture
from lab.evidence.reader import Entry, Ledger
from lab.faults import Effect
from lab.packets import Packet
from lab.report.result import RunResult
from lab.report.result_file import check_unchanged, keep
from lab.runner import Options, run
from lab.scenario import Scenario, parse_scenario
from lab.sendings import Sending, Sendings

Sent = tuple[str, str, Sending]
"""(path, flow, the packet in that flow)"""
Drop = tuple[str, str, Sending, int]
"""(path, flow, the packet in that flow, copy)"""


@dataclass(frozen=True)
class Traffic:
    """What a run's nodes sent, and what of it was dropped, by which fault; with its number in its flow, from 1."""

    sent: frozenset[Sent]
    dropped: Mapping[Drop, str]
    ordinals: Mapping[Drop, int]


def replay(folder: Path, options: Options) -> RunResult:
    """Run again what `folder` holds; the result has one check more, `replay`: whether each drop was repeated.

    UsageError where it is no run's folder, or its ledger can't be read.
    """
    facts, scenario = read_run(folder)
    if not (folder / "ledger.bin").is_file():
        raise UsageError(f"{folder}: no ledger.bin there; expected the evidence folder of a run")
    recorded = traffic(folder).dropped
    with tempfile.TemporaryDirectory() as place:
        forced = Path(place) / "drops.json"
        forced.write_text(json.dumps([(*drop, fault) for drop, fault in sorted(recorded.items())]))
        again = replace(
            options,
            seed=facts["seed"],
            runtime=facts.get("runtime", "netns"),
            engine=facts["engine"],
            forced_drops=forced,
        )
        result = run(scenario, again)
    if result.error is not None:
        return result
    checks = (*result.checks, compare(recorded, traffic(Path(result.evidence)), folder.name))
    return keep(replace(result, checks=checks, verdict=worst(check.verdict for check in checks)))


def compare(recorded: Collection[Drop], again: Traffic, name: str) -> CheckResult:
    """A drop that found no packet to hit: then the applications sent other packets than in the recorded run `name`."""
    missing, unsent = [], []
    for path, flow, sending, _ in sorted(set(recorded) - again.dropped.keys()):
        what = f"{sending} of {flow} on {path}"
        if (path, flow, sending) in again.sent:
            missing.append(Finding(f"{what} was sent, and not dropped"))
        elif sending.is_for_tcp_to_decide and (path, flow, sending.follows) in again.sent:
            unsent.append(Finding(f"TCP had no need to send {what} this time"))
        else:
            missing.append(Finding(f"{what} was not there to drop"))
    summary = f"repeated {len(recorded) - len(unsent)} of {len(recorded)} drops of {name}"
    if unsent:
        summary += f"; TCP sent no more: {len(unsent)}"
    return conclude("replay", summary, unclear=missing, notes=unsent)


def traffic(folder: Path) -> Traffic:
    """Dropped is every packet that a fault dropped; not those in whose place a fault forged another.

    UsageError where the capture lacks one of them.
    """
    evidence = Evidence(folder)
    ledger = evidence.ledger
    sendings = _sendings(ledger, evidence.sent)
    forging = {fault.id for fault in ledger.faults if Effect.INJECTED in fault.leaves}
    dropped = [entry for entry in ledger.entries if entry.dropped and _dropper(entry) not in forging]
    for entry in dropped:
        if entry.packet not in sendings:
            raise UsageError(f"{folder}: sent.pcapng lacks packet {entry.packet} of the ledger; a replay needs it")
    named = {(*sendings[entry.packet], entry.copy): entry for entry in dropped}
    return Traffic(
        frozenset(sendings.values()),
        {drop: _dropper(entry) for drop, entry in named.items()},
        {drop: entry.ordinal for drop, entry in named.items()},
    )


def _sendings(ledger: Ledger, sent: Capture) -> dict[int, Sent]:
    """What each packet was, by its number in the run."""
    flows: defaultdict[tuple[str, str], Sendings] = defaultdict(Sendings)
    found = {}
    for captured in sent:
        entry = ledger.by_packet.get(captured.packet)
        if entry is not None:
            sending = flows[entry.path, entry.flow].name(Packet.parse(captured.frame))
            found[captured.packet] = (entry.path, entry.flow, sending)
    return found


def _dropper(entry: Entry) -> str:
    return next(fault for fault, effect, _ in entry.acts if effect == Effect.DROPPED)


def read_run(folder: Path) -> tuple[dict[str, Any], Scenario]:
    """What `lab run` was asked for. UsageError where the folder is no run's, or its evidence is not what was judged."""
    check_unchanged(folder)
    file = folder / "run.json"
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
        source = facts["scenario"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{folder}: no run to replay there ({error}); expected the evidence folder of lab run"
        ) from error
    return facts, parse_scenario(source, str(facts["name"]))
