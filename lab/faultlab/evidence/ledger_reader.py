"""Reads a ledger back: every packet with what was decided, by which fault, and when each of its copies left.

A ledger that was cut short (`kill -9`) gives what is whole of it, and says that it is not complete.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from faultlab.faults.base import FaultAct
from faultlab.errors import LabFailure
from faultlab.evidence import ledger_format as form
from faultlab.faults.base import Effect



@dataclass(slots=True)
class LedgerEntry:
    """One packet, or one dropped copy of it. Times are CLOCK_MONOTONIC ns; `departures` are (copy, time)."""

    packet: int
    path: str
    flow: str
    ordinal: int
    copy: int
    decision: int
    acts: tuple[FaultAct, ...]
    arrived: int
    size: int
    payload_size: int
    payload_crc: int
    delay: int
    detail: int
    copies: int
    departures: list[tuple[int, int]]

    @property
    def dropped(self) -> bool:
        return self.decision == form.DROPPED

    @property
    def injected(self) -> bool:
        return self.decision == form.INJECTED

    def did(self, effect: Effect) -> bool:
        return any(done == effect for _, done, _ in self.acts)


@dataclass(slots=True)
class FaultNote:
    """A fault as the ledger has it: where, what, and from when to when it stood. `asked` makes the same fault again."""

    id: str
    path: str
    kind: str
    describe: str
    leaves: tuple[Effect, ...]
    reorders: bool
    set_at: int
    asked: dict[str, Any]
    cleared_at: int | None = None


@dataclass
class Ledger:
    """What a ledger file says. `entries` are in the order of arrival; a dropped copy has an entry of its own."""

    entries: list[LedgerEntry] = field(default_factory=list)
    notes: list[dict[str, Any]] = field(default_factory=list)
    faults: list[FaultNote] = field(default_factory=list)
    complete: bool = False

    @cached_property
    def by_packet(self) -> dict[int, LedgerEntry]:
        """The original's entry for each packet id."""
        return {entry.packet: entry for entry in self.entries if entry.copy == 0}

    def noted(self, kind: str) -> list[dict[str, Any]]:
        return [note for note in self.notes if note["note"] == kind]

    @cached_property
    def run(self) -> dict[str, Any]:
        """The header: seed, engine, nodes, epoch_offset (wall clock minus monotonic, ns)."""
        return self.noted("run")[0]

    @property
    def toxics(self) -> tuple[dict[str, Any], ...]:
        """Each toxic that was set, as toxiproxy said, with `set_t`, and `cleared_t`: None where it stood to the end."""
        ends = {_toxic(note): note.get("cleared_t") for note in self.noted("toxic-cleared")}
        return tuple({**note, "cleared_t": ends.get(_toxic(note))} for note in self.noted("toxic-set"))

    @property
    def seed(self) -> int:
        return int(self.run["seed"])


def _toxic(note: dict[str, Any]) -> tuple[str, str, int | None]:
    """Which toxic a note is about: toxiproxy may give the name of one that is gone to another."""
    return note["proxy"], note["name"], note.get("set_t")


def read_ledger(path: Path) -> Ledger:
    """LabFailure where the file is no ledger at all, or its records contradict each other."""
    try:
        with path.open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise LabFailure(f"{path}: no ledger to read: {error.strerror}") from error
    except ValueError as error:  # there is no map of nothing
        raise LabFailure(f"{path}: no ledger to read: the file is empty") from error
    with data:
        if data[: len(form.MAGIC)] != form.MAGIC:
            raise LabFailure(f"{path}: not a ledger of this lab, or of another version of it")
        try:
            return _Reading(data).ledger
        except (AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
            raise LabFailure(f"{path}: damaged: it has a record that no lab writes") from error


class _Reading:
    """One pass over the records."""

    def __init__(self, data: mmap.mmap) -> None:
        self.ledger = Ledger()
        self._flows: dict[int, tuple[str, str]] = {}
        self._acts: dict[int, tuple[FaultAct, ...]] = {0: ()}
        self._open: dict[int, LedgerEntry] = {}
        self._faults: dict[str, FaultNote] = {}
        self._read(data)

    def _read(self, data: mmap.mmap) -> None:
        at, end = len(form.MAGIC), len(data)
        packet, depart, note = form.PACKET_RECORD, form.DEPART_RECORD, form.NOTE_HEADER
        while at < end:
            kind = data[at]
            if kind == form.PACKET and at + packet.size <= end:
                self._packet(packet.unpack_from(data, at))
                at += packet.size
            elif kind == form.DEPART and at + depart.size <= end:
                self._depart(depart.unpack_from(data, at))
                at += depart.size
            elif kind == form.NOTE and at + note.size <= end:
                size = note.unpack_from(data, at)[3]
                if at + note.size + size > end:
                    return
                self._note(json.loads(data[at + note.size : at + note.size + size]))
                at += note.size + size
            else:
                return

    def _packet(self, record: tuple[Any, ...]) -> None:
        (
            _,
            decision,
            _,
            _,
            flow,
            number,
            arrived,
            left,
            ordinal,
            crc,
            acts,
            size,
            payload,
            delay,
            detail,
            copies,
            copy,
        ) = record
        path, label = self._flows[flow]
        decision, later = decision & ~form.LATER, decision & form.LATER
        if later and self._amend(number, copy, decision, self._acts[acts], delay):
            return
        departures = [(0, left)] if left else []
        entry = LedgerEntry(
            number, path, label, ordinal, copy, decision, self._acts[acts], arrived, size, payload, crc, delay, detail,
            copies, departures,
        )  # fmt: skip
        self.ledger.entries.append(entry)
        if decision in (form.WAITING, form.INJECTED) or copy == 0:
            self._open.setdefault(number, entry)

    def _amend(self, number: int, copy: int, decision: int, acts: tuple[FaultAct, ...], delay: int) -> bool:
        """More was decided about a packet that waited. Returns whether that is all: a dropped copy has its own."""
        original = self._open[number]
        if decision == form.DROPPED:
            original.copies -= 1
        if copy == 0:
            original.decision, original.acts, original.delay = decision, acts, delay
        return copy == 0 or decision != form.DROPPED

    def _depart(self, record: tuple[Any, ...]) -> None:
        _, copy, _, _, _, _, number, left = record
        self._open[number].departures.append((copy, left))

    def _note(self, note: dict[str, Any]) -> None:
        self.ledger.notes.append(note)
        match note["note"]:
            case "flow":
                self._flows[note["flow"]] = (note["path"], note["label"])
            case "acts":
                self._acts[note["acts"]] = tuple((fault, Effect(did), why) for fault, did, why in note["list"])
            case "fault-set":
                fault = FaultNote(
                    note["id"],
                    note["path"],
                    note["fault"],
                    note["describe"],
                    tuple(map(Effect, note["leaves"])),
                    note["reorders"],
                    note["t"],
                    note.get("asked", {}),  # a ledger from before 2026-12 has none
                )
                self._faults[fault.id] = fault
                self.ledger.faults.append(fault)
            case "fault-cleared":
                self._faults[note["id"]].cleared_at = note["t"]
            case "end":
                self.ledger.complete = True
