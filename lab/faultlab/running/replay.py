"""Replays a run: the same scenario and seed, with each drop taken from the run's ledger instead of the dice.

A drop is named by its path, its flow, what the packet carried (`Sending`) and the copy; all other decisions follow
from the seed and the packet's number in its flow, as in any run. A fault that forges a packet in the dropped one's
place makes its own drop again.

Of a TCP segment the first byte is what it is known by: TCP may cut its stream elsewhere now, and the segment that
contains this byte is dropped. `duplicate` may double other packets now: a packet that was lost is lost with every copy,
and one of which a copy arrived then arrives.

Each packet that the application made TCP or UDP send is there to drop again. A retransmission or a pure ACK is TCP's
own: its timers race, and one that carried nothing new then may not be sent now. Such a one is told, and no failure,
once the replay's capture shows that it was not sent, and that the segment it repeats, or its connection, was.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from faultlab.checks.base import CheckResult, Finding, conclude, worst
from faultlab.checks.result_file import check_unchanged, keep
from faultlab.checks.run_result import RunResult
from faultlab.errors import UsageError, as_given
from faultlab.evidence.ledger_reader import LedgerEntry
from faultlab.evidence.run_evidence import Evidence
from faultlab.faults import Effect
from faultlab.network.packets import Packet
from faultlab.network.sendings import STREAM, Place, Sending, Sendings
from faultlab.running.runner import RunOptions, run
from faultlab.scenario.model import Scenario, parse_scenario

RecordedPacket = tuple[str, str, Sending]
"""(path, flow, the packet in that flow)"""
RecordedDrop = tuple[str, str, Sending, int]
"""(path, flow, the packet in that flow, copy)"""


@dataclass(frozen=True)
class RecordedTraffic:
    """What a run's nodes sent, and what of it was dropped, by which fault; with its number in its flow, from 1.

    `arrived` is what at least one copy went on of, `doubled` what had several.
    """

    sent: frozenset[RecordedPacket]
    dropped: Mapping[RecordedDrop, str]
    ordinals: Mapping[RecordedDrop, int]
    arrived: frozenset[RecordedPacket] = frozenset()
    doubled: frozenset[RecordedPacket] = frozenset()

    def orders(self, drops: Collection[RecordedDrop]) -> str:
        """These of the drops, for the wire to make again: JSON of (path, flow, sending, fate)."""
        fates: defaultdict[RecordedPacket, dict[int, str]] = defaultdict(dict)
        for drop in sorted(drops):
            fates[drop[:3]][drop[3]] = self.dropped[drop]
        copies = Counter(drop[:3] for drop in self.dropped)
        return json.dumps(
            [(*sent, [*by.items()], sent in self.arrived or len(by) < copies[sent]) for sent, by in fates.items()]
        )


def replay(folder: Path, options: RunOptions) -> RunResult:
    """Run again what `folder` holds; the result has one check more, `replay`: whether each drop was repeated.

    UsageError where it is no run's folder, or its ledger can't be read.
    """
    facts, scenario = read_run(folder)
    if not (folder / "ledger.bin").is_file():
        raise UsageError(f"{folder}: no ledger.bin there; expected the evidence folder of a run")
    recorded = recorded_traffic(folder)
    with tempfile.TemporaryDirectory() as place:
        forced = Path(place) / "drops.json"
        forced.write_text(recorded.orders(recorded.dropped))
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
    checks = (*result.checks, compare(recorded, traffic(Path(result.evidence), recorded), folder.name))
    return keep(replace(result, checks=checks, verdict=worst(check.verdict for check in checks)))


def compare(recorded: RecordedTraffic, again: RecordedTraffic, name: str) -> CheckResult:
    """A drop that found no packet to hit: then the applications sent other packets than in the recorded run `name`."""
    missing, unsent, single = [], [], []
    for drop in sorted(recorded.dropped):
        path, flow, sending, _ = drop
        sent, what = drop[:3], f"{sending} of {flow} on {path}"
        lost = sent not in recorded.arrived
        if sent in again.sent and sent not in again.arrived if lost else drop in again.dropped:
            continue
        if sent in again.sent and not lost and sent not in again.doubled:
            single.append(Finding(f"{what} was sent in one copy this time, which arrived"))
        elif sent in again.sent:
            missing.append(Finding(f"{what} was sent, and not dropped"))
        elif sending.is_for_tcp_to_decide and (path, flow, sending.follows) in again.sent:
            unsent.append(Finding(f"TCP had no need to send {what} this time"))
        else:
            missing.append(Finding(f"{what} was not there to drop"))
    count = len(recorded.dropped)
    summary = f"repeated {count - len(unsent) - len(single)} of {count} drops of {name}"
    if unsent:
        summary += f"; TCP sent no more: {len(unsent)}"
    if single:
        summary += f"; not doubled: {len(single)}"
    return conclude("replay", summary, unclear=missing, notes=[*unsent, *single])


def traffic(folder: Path, recorded: RecordedTraffic | None = None) -> RecordedTraffic:
    """Dropped is every packet that a fault dropped; not those in whose place a fault forged another.

    A segment is known by its first byte where it was dropped; in a replay of what was `recorded`, by those of that run.
    UsageError where the capture lacks a dropped packet.
    """
    evidence = Evidence(folder)
    ledger = evidence.ledger
    forging = {fault.id for fault in ledger.faults if Effect.INJECTED in fault.leaves}
    dropped = [entry for entry in ledger.entries if entry.dropped and _dropper(entry) not in forging]
    if recorded is None:
        places = _places(evidence, {entry.packet for entry in dropped})
        known: Iterable[tuple[str, str, Place]] = places.values()
    else:
        places = {}
        known = [(path, flow, Place(sending.what, sending.at)) for path, flow, sending, _ in recorded.dropped]
    names = _names(evidence, known)
    named = {
        (*name, entry.copy): entry
        for entry in dropped
        for name in names[entry.packet]
        if recorded is not None or name[2][:2] == places[entry.packet][2][:2]
    }
    copies = Counter(entry.packet for entry in dropped)
    whole = ledger.by_packet
    return RecordedTraffic(
        frozenset(name for sent in names.values() for name in sent),
        {drop: _dropper(entry) for drop, entry in named.items()},
        {drop: entry.ordinal for drop, entry in named.items()},
        frozenset(name for packet, sent in names.items() if whole[packet].copies for name in sent),
        frozenset(name for packet, sent in names.items() if whole[packet].copies + copies[packet] > 1 for name in sent),
    )


@as_given()
def recorded_traffic(folder: Path) -> RecordedTraffic:
    """`traffic` of a run that the user named. UsageError where its evidence can't be read, or is damaged."""
    return traffic(folder)


def _places(evidence: Evidence, wanted: Collection[int]) -> dict[int, tuple[str, str, Place]]:
    """Where each of these packets stood, by its number in the run."""
    flows: defaultdict[tuple[str, str], Sendings] = defaultdict(Sendings)
    found = {}
    for entry, packet in _packets(evidence):
        place = flows[entry.path, entry.flow].place(packet)
        if entry.packet in wanted:
            found[entry.packet] = (entry.path, entry.flow, place)
    if lacking := set(wanted) - found.keys():
        raise UsageError(f"{evidence.folder}: sent.pcapng lacks packet {min(lacking)} of the ledger; a replay needs it")
    return found


def _names(evidence: Evidence, known: Iterable[tuple[str, str, Place]]) -> dict[int, tuple[RecordedPacket, ...]]:
    """What each packet was, by its number in the run."""
    places: defaultdict[tuple[str, str], set[tuple[str, int]]] = defaultdict(set)
    for path, flow, place in known:
        if place.what in STREAM:
            places[path, flow].add((place.what, place.at))
    flows: dict[tuple[str, str], Sendings] = {}
    found = {}
    for entry, packet in _packets(evidence):
        key = entry.path, entry.flow
        if key not in flows:
            flows[key] = Sendings(places[key])
        found[entry.packet] = tuple((*key, name) for name in flows[key].names(packet))
    return found


def _packets(evidence: Evidence) -> Iterator[tuple[LedgerEntry, Packet]]:
    """As they were sent, with what became of them."""
    for captured in evidence.sent:
        entry = evidence.ledger.by_packet.get(captured.packet)
        if entry is not None:
            yield entry, Packet.parse(captured.frame)


def _dropper(entry: LedgerEntry) -> str:
    return next(fault for fault, effect, _ in entry.acts if effect == Effect.DROPPED)


def read_run(folder: Path) -> tuple[dict[str, Any], Scenario]:
    """What `lab run` was asked for. UsageError where the folder is no run's, or its evidence is not what was judged."""
    check_unchanged(folder)
    file = folder / "run.json"
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
        asked = [facts[name] for name in ("scenario", "name", "engine")]
        whole = all(isinstance(one, str) for one in asked) and isinstance(facts["seed"], int)
    except OSError as error:
        raise UsageError(
            f"{file}: no run to replay there ({error.strerror}); expected the evidence folder of lab run"
        ) from error
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise UsageError(f"{file}: damaged, or not written by lab run; expected the run as lab run left it") from error
    if not whole:
        raise UsageError(f"{file}: damaged, or not written by lab run; expected the run as lab run left it")
    return facts, parse_scenario(facts["scenario"], facts["name"])
