"""What the ledger says of a path against what both captures show, packet by packet.

The check `ledger` (lab/faultlab/evidence/reconcile.py) judges a run by more rules than these; here each path has its
own answer, with the packet where the two first part.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from faultlab.analysis.pairing import Pairing
from faultlab.analysis.subject import Side, Subject
from faultlab.captures.columns import I64, U64, Flags
from faultlab.evidence.ledger_reader import Ledger


@dataclass(frozen=True)
class Agreement:
    """Of `packets` that the ledger has, or a capture alone; `wrong` of them part, the first one as `first` says."""

    packets: int
    wrong: int
    first: str | None

    @property
    def agrees(self) -> bool:
        return self.wrong == 0


def agreement(path: str, subject: Subject, sent: Side, delivered: Side, pairing: Pairing) -> Agreement:
    """Whether each packet was sent once, when the ledger says, and delivered as often, first when, and as it says.

    Of a ledger without its end, what was captured after its last record can't be compared.
    """
    decided, ledger = subject.decisions, subject.ledger
    assert decided is not None and ledger is not None
    rows = decided.on(path)
    ids, offset, until = decided.packet[rows], subject.since_start(0), _until(ledger)
    departed = _shown(ids, sent, pairing.sent, offset, until)
    arrived = _shown(ids, delivered, pairing.delivered, offset, until)
    changed = np.isin(ids, delivered.ids[pairing.delivered[pairing.changed]])
    forged, left = decided.injected[rows], decided.departures[rows]
    # Of a packet with copies, the ledger does not say which of them was changed.
    known = ~forged & (arrived.count > 0) & ~decided.duplicated[rows]
    parts = {
        "forged, but in the capture of what was sent": forged & (departed.count > 0),
        "not once in the capture of what was sent": ~forged & (departed.count != 1),
        "not delivered as often in the capture as in the ledger": arrived.count != left,
        "captured as sent at another time": ~forged & (departed.first != decided.arrived[rows]),
        "captured as delivered at another time": (left > 0) & (arrived.first != decided.left[rows]),
        "its bytes changed, and no fault says so": known & changed & ~decided.changed[rows],
        "unchanged, though a fault changed it": known & ~changed & decided.changed[rows],
    }
    wrong = np.flatnonzero(np.any(list(parts.values()), axis=0))
    strangers = [*map(sent.where, departed.strangers), *map(delivered.where, arrived.strangers)]
    first = f"{strangers[0]}: not in the ledger" if strangers else None
    if len(wrong):
        why = next(text for text, here in parts.items() if here[wrong[0]])
        first = f"{_where(int(ids[wrong[0]]), sent, delivered)}: {why}"
    return Agreement(len(rows) + len(strangers), len(wrong) + len(strangers), first)


@dataclass(frozen=True)
class _Shown:
    """What one capture shows of the ledger's packets: how often each, and when first; and indices of all others."""

    count: I64
    first: I64
    strangers: list[int]


def _shown(ids: U64, side: Side, at: I64, offset: int, until: int | None) -> _Shown:
    """`ids` are sorted, and `at` in order of time."""
    times = side.time_ns[at] - offset
    if until is not None:
        at, times = at[times <= until], times[times <= until]
    place = np.searchsorted(ids, side.ids[at])
    known: Flags = np.append(ids, 0)[place] == side.ids[at]
    first = np.zeros(len(ids), np.int64)
    first[place[known][::-1]] = times[known][::-1]
    return _Shown(np.bincount(place[known], minlength=len(ids)), first, at[~known].tolist())


def _where(packet: int, sent: Side, delivered: Side) -> str:
    shown = [side.where(index) for side in (sent, delivered) for index in side.indices(packet)]
    return f"ledger {packet}" + (f" ({shown[0]})" if shown else "")


def _until(ledger: Ledger) -> int | None:
    """The last time that a ledger without an end knows of; None for a whole one."""
    if ledger.complete:
        return None
    return max((max([entry.arrived, *(left for _, left in entry.departures)]) for entry in ledger.entries), default=0)
