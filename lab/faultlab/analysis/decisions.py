"""The ledger in columns: what was decided about each packet, to be asked for many packets at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from faultlab.captures.columns import I32, I64, U64, Flags
from faultlab.evidence import ledger_format as form
from faultlab.evidence.ledger_reader import Ledger, LedgerEntry
from faultlab.faults.base import Effect

_CHANGED, _DUPLICATED = 1, 2


@dataclass(frozen=True)
class Decisions:
    """A row for each packet of the ledger, by its number; times are the ledger's own (CLOCK_MONOTONIC ns).

    `path` is an index into `paths`. `left` is when the first copy left, 0 where none did; `departures` counts them.
    """

    paths: tuple[str, ...]
    packet: U64
    path: I32
    arrived: I64
    delay: I64
    left: I64
    departures: I64
    injected: Flags
    waiting: Flags
    changed: Flags
    duplicated: Flags

    def rows(self, ids: U64) -> I64:
        """The row of each of these numbers; -1 where the ledger does not know it."""
        if not len(self.packet):
            return np.full(len(ids), -1, np.int64)
        at = np.minimum(np.searchsorted(self.packet, ids), len(self.packet) - 1)
        return np.where(self.packet[at] == ids, at, -1)

    def on(self, path: str) -> I64:
        """The rows of one path."""
        if path not in self.paths:
            return np.zeros(0, np.int64)
        return np.flatnonzero(self.path == self.paths.index(path))


def decisions(ledger: Ledger) -> Decisions:
    """Of the original of each packet; what became of its copies is in `Ledger.entries`."""
    entries = sorted(ledger.by_packet.values(), key=lambda entry: entry.packet)
    paths = {path: number for number, path in enumerate(sorted({entry.path for entry in entries}))}
    effects: dict[tuple[object, ...], int] = {}
    for entry in entries:
        if entry.acts not in effects:
            effects[entry.acts] = _CHANGED * entry.did(Effect.CHANGED) + _DUPLICATED * entry.did(Effect.DUPLICATED)
    done = np.array([effects[entry.acts] for entry in entries], np.int64)
    decided = np.array([entry.decision for entry in entries], np.int64)
    departures = np.array([len(entry.departures) for entry in entries], np.int64)
    return Decisions(
        tuple(paths),
        np.array([entry.packet for entry in entries], np.uint64),
        np.array([paths[entry.path] for entry in entries], np.int32),
        np.array([entry.arrived for entry in entries], np.int64),
        np.array([entry.delay for entry in entries], np.int64),
        np.array([_first(entry) for entry in entries], np.int64),
        departures,
        decided == form.INJECTED,
        (decided == form.WAITING) & (departures == 0),
        done & _CHANGED > 0,
        done & _DUPLICATED > 0,
    )


def _first(entry: LedgerEntry) -> int:
    return min((left for _, left in entry.departures), default=0)
