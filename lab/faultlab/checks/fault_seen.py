"""Fault seen: each fault asked for left its mark on packets, in the captures and not only by the ledger's word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Annotated

from pydantic import Field

from faultlab.checks.base import Check, CheckOptions, CheckResult, Finding, conclude
from faultlab.checks.should_hit import first_it_should_have_hit
from faultlab.checks.stood import Timed, not_as_asked
from faultlab.checks.toxic_seen import toxic_findings
from faultlab.evidence.ledger_reader import FaultNote, LedgerEntry
from faultlab.evidence.run_evidence import Evidence
from faultlab.faults.base import Effect


class FaultsAsked(CheckOptions):
    """How many faults (on directed paths) and toxics were asked for, and which faults for a time; the runner knows."""

    expected: Annotated[int, Field(ge=0)] = 0
    toxics: Annotated[int, Field(ge=0)] = 0
    timed: tuple[Timed, ...] = ()


def judge(evidence: Evidence, options: FaultsAsked) -> CheckResult:
    """A fault without a trace makes the whole run INCONCLUSIVE: it proves nothing about the fault."""
    unclear: list[Finding] = []
    notes: list[Finding] = []
    faults = evidence.ledger.faults
    if len(faults) < options.expected:
        unclear.append(Finding(f"{options.expected} faults were asked for, {len(faults)} were set", "ledger.bin"))
    traces = _Traces(evidence)
    seen = {fault.id: traces.of(fault) for fault in faults}
    for fault in faults:
        found = seen[fault.id] or _by_the_other_way(evidence, fault, [one for one in faults if seen[one.id]])
        if found is None:
            unclear.append(Finding(f"{fault.describe} on {fault.path} left no trace ({fault.id})", "ledger.bin"))
        else:
            notes.append(found)
    if len(evidence.toxics) < options.toxics:
        unclear.append(Finding(f"{options.toxics} toxics were asked for, {len(evidence.toxics)} were set"))
    for toxic in evidence.toxics:
        unseen, finding = toxic_findings(evidence, toxic)
        (unclear if unseen else notes).append(finding)
    unclear += not_as_asked(evidence, options.timed)
    if len(notes) == 1:
        return conclude("fault_seen", str(notes[0]), unclear=unclear)
    unhit = sum(one is None for one in seen.values())
    of_all = f"{len(notes) - unhit} of {len(notes)} left their mark, {unhit} had nothing to hit"
    summary = of_all if unhit else f"all {len(notes)} left their mark" if notes else "no fault asked"
    return conclude("fault_seen", summary, unclear=unclear, notes=notes)


STOPS_A_TALK = frozenset({Effect.DROPPED, Effect.INJECTED})


def _by_the_other_way(evidence: Evidence, fault: FaultNote, seen: Sequence[FaultNote]) -> Finding | None:
    """A fault on both ways that stops the talk may find nothing on one of them: the way that was hit proves it.

    Only where nothing was sent, while it stood, that it should have hit: a way that is deaf proves nothing.
    """
    source, _, target = fault.path.partition("->")
    other = next((one for one in seen if _is_same(one, fault) and one.path == f"{target}->{source}"), None)
    if other is None or not set(fault.leaves) <= STOPS_A_TALK or first_it_should_have_hit(evidence, fault) is not None:
        return None
    text = f"{fault.describe} on {fault.path} had nothing to hit: no packet that it is for was sent while it stood"
    return Finding(f"{text}; {other.path} proves it", "sent.pcapng")


def _is_same(one: FaultNote, other: FaultNote) -> bool:
    """Equal, and there at one time."""
    ends = [fault.cleared_at or 1 << 63 for fault in (one, other)]
    return bool(one.asked) and one.asked == other.asked and max(one.set_at, other.set_at) < min(ends)


class _Traces:
    """What the captures show of each packet that a fault claims to have touched."""

    def __init__(self, evidence: Evidence) -> None:
        self._sent = {packet: index for index, packet in enumerate(evidence.sent.packets)}
        self._delivered: dict[int, list[int]] = {}
        for index, packet in enumerate(evidence.delivered.packets):
            self._delivered.setdefault(packet, []).append(index)
        self._evidence = evidence
        self._by_fault: dict[str, list[tuple[LedgerEntry, Effect]]] = {}
        for entry in evidence.ledger.entries:
            for fault, effect, _ in entry.acts:
                self._by_fault.setdefault(fault, []).append((entry, effect))

    def of(self, fault: FaultNote) -> Finding | None:
        """What was seen of this fault, and its first packet; None where no capture shows any of it."""
        count: Counter[Effect] = Counter()
        first: LedgerEntry | None = None
        shown: dict[Effect, Callable[[LedgerEntry], bool]] = {
            Effect.DROPPED: self._dropped,
            Effect.DELAYED: self._delayed,
            Effect.DUPLICATED: self._duplicated,
            Effect.CHANGED: self._changed,
            Effect.HELD: self._passed_by_later,
            Effect.OVERTOOK: self._passed_earlier,
            Effect.INJECTED: self._injected,
        }
        for entry, effect in self._by_fault.get(fault.id, []):
            if effect in fault.leaves and shown[effect](entry):
                count[effect] += 1
                first = first or entry
        if first is None:
            return None
        effects = ", ".join(f"{effect} {number}" for effect, number in count.items())
        paths = {entry.path for entry, _ in self._by_fault[fault.id]}  # a NAT's fault acts on the way back too
        on_path = sum(entry.path in paths and not entry.copy for entry in self._evidence.ledger.entries)
        where = f"first: {self._where(first)} (ledger {first.packet})"
        return Finding(f"{effects} of {on_path}: {fault.describe} on {fault.path}", where)

    def _where(self, entry: LedgerEntry) -> str:
        """The packet's frame as it was sent; of a forged one, which nobody sent, as it arrived."""
        if entry.packet in self._sent:
            return f"{self._evidence.sent.name} frame {self._sent[entry.packet] + 1}"
        return f"{self._evidence.delivered.name} frame {self._delivered[entry.packet][0] + 1}"

    def _times(self, entry: LedgerEntry) -> list[int]:
        return [self._evidence.delivered.times[index] for index in self._delivered.get(entry.packet, [])]

    def _dropped(self, entry: LedgerEntry) -> bool:
        """It was sent, and fewer copies arrived than would have without the fault."""
        copies = entry.copies if entry.did(Effect.DUPLICATED) else 0
        return entry.packet in self._sent and len(self._times(entry)) <= copies

    def _delayed(self, entry: LedgerEntry) -> bool:
        times = self._times(entry)
        sent = self._evidence.sent.times[self._sent[entry.packet]] if entry.packet in self._sent else None
        return sent is not None and bool(times) and entry.delay > 0 and times[-1] - sent >= entry.delay

    def _duplicated(self, entry: LedgerEntry) -> bool:
        return len(self._times(entry)) > 1

    def _changed(self, entry: LedgerEntry) -> bool:
        if entry.packet not in self._sent:
            return False
        before = self._evidence.sent.frame(self._sent[entry.packet])
        return any(self._evidence.delivered.frame(index) != before for index in self._delivered.get(entry.packet, []))

    def _passed_by_later(self, entry: LedgerEntry) -> bool:
        """A later packet of its flow arrived before it did."""
        times = self._times(entry)
        return bool(times) and any(
            other.packet > entry.packet and other.path == entry.path and any(t < times[0] for t in self._times(other))
            for other in self._near(entry)
        )

    def _passed_earlier(self, entry: LedgerEntry) -> bool:
        """It arrived before an earlier packet of its path did."""
        times = self._times(entry)
        return bool(times) and any(
            other.packet < entry.packet and other.path == entry.path and any(t > times[0] for t in self._times(other))
            for other in self._near(entry)
        )

    def _near(self, entry: LedgerEntry) -> list[LedgerEntry]:
        """Packets around this one: as many as could have been passed."""
        by_packet = self._evidence.ledger.by_packet
        span = range(max(1, entry.packet - 3000), entry.packet + 3000)
        return [by_packet[number] for number in span if number in by_packet]

    def _injected(self, entry: LedgerEntry) -> bool:
        return entry.packet not in self._sent and bool(self._times(entry))


CHECK = Check("fault_seen", FaultsAsked, judge)
