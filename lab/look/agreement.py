"""What the ledger says of a path against what both captures show, packet by packet.

The check `ledger` (lab/evidence/reconcile.py) judges a run by more rules than these; here each path has its own answer,
with the packet where the two first part.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lab.captures.columns import I64
from lab.evidence.reader import Entry
from lab.faults.base import Effect
from lab.look.pairing import Pairing
from lab.look.subject import Side


@dataclass(frozen=True)
class Agreement:
    """Of `packets` in the ledger and both captures; `wrong` of them part, the first one as `first` says."""

    packets: int
    wrong: int
    first: str | None

    @property
    def agrees(self) -> bool:
        return self.wrong == 0


def agreement(
    entries: Sequence[Entry], sent: Side, delivered: Side, pairing: Pairing, *, offset: int, until: int | None
) -> Agreement:
    """Of one path's entries, without those of dropped copies.

    `offset` is what a ledger's time is less than the sides'; `until` the last time that a ledger without an end knows
    of: what was captured later can't be compared.
    """
    departed = _Captured(sent, pairing.sent, until)
    arrived = _Captured(delivered, pairing.delivered, until)
    changed = set(pairing.delivered[pairing.changed].tolist())
    parts = []
    for entry in entries:
        here, there = departed.take(entry.packet), arrived.take(entry.packet)
        if text := _part(entry, departed.times(here, offset), arrived.times(there, offset), changed.issuperset(there)):
            where = [*map(sent.where, here), *map(delivered.where, there)]
            parts.append(f"ledger {entry.packet}{f' ({where[0]})' if where else ''}: {text}")
    parts += [f"{where}: not in the ledger" for captured in (departed, arrived) for where in captured.rest(offset)]
    return Agreement(len(entries), len(parts), parts[0] if parts else None)


def _part(entry: Entry, sent: list[int], delivered: list[int], changed: bool) -> str | None:
    """In words, the first thing about a packet that is otherwise in the captures than in the ledger."""
    if len(sent) != (0 if entry.injected else 1):
        return (
            f"{'forged, but' if entry.injected else 'sent once, but'} {len(sent)} times in the capture of what was sent"
        )
    left = sorted(time for _, time in entry.departures)
    if len(delivered) != len(left):
        return f"delivered {len(left)} times, but {len(delivered)} times in the capture of what was delivered"
    if sent and sent[0] != entry.arrived:
        return "captured as sent at another time"
    if delivered != left:
        return "captured as delivered at another time"
    # Of a packet with copies, the ledger does not say which of them was changed.
    if delivered and sent and not entry.did(Effect.DUPLICATED) and changed != entry.did(Effect.CHANGED):
        return "its bytes changed, and no fault says so" if changed else "unchanged, though a fault changed it"
    return None


class _Captured:
    """Where each packet of one path stands in one capture."""

    def __init__(self, side: Side, at: I64, until: int | None) -> None:
        self._side, self._until = side, until
        self._places: defaultdict[int, list[int]] = defaultdict(list)
        for packet, index in zip(side.ids[at].tolist(), at.tolist(), strict=True):
            self._places[packet].append(index)

    def take(self, packet: int) -> list[int]:
        return self._places.pop(packet, [])

    def times(self, indices: list[int], offset: int) -> list[int]:
        """As the ledger would have them, in order."""
        times = sorted(int(self._side.time_ns[index]) - offset for index in indices)
        return [time for time in times if self._until is None or time <= self._until]

    def rest(self, offset: int) -> Iterator[str]:
        """Whatever was not taken."""
        for indices in self._places.values():
            if self.times(indices, offset):
                yield self._side.where(indices[0])
