"""A ledger as it grows: counts of each path, from its records in whatever pieces they come.

Unlike `faultlab.evidence.ledger_reader` it keeps nothing of a packet once all its copies have left.
`faultlab.evidence.ledger_format` has the format.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from faultlab.analysis.counts import Counts
from faultlab.errors import LabFailure
from faultlab.evidence import ledger_format as form
from faultlab.faults.base import Effect
from faultlab.network.topology import PathEnds

_COUNTED = {
    Effect.DELAYED: "delayed",
    Effect.CHANGED: "changed",
    Effect.HELD: "reordered",
    Effect.OVERTOOK: "reordered",
}


class _Deeds(NamedTuple):
    """What the faults did to packets with the same acts: the names of the counts that it adds to."""

    counted: tuple[str, ...]
    forged: bool
    duplicated: bool


class LedgerTail:
    """Takes a ledger's bytes from its start on, cut anywhere."""

    def __init__(self) -> None:
        self._rest = b""
        self._begun = False
        self._nodes: list[str] = []
        self._counts: dict[PathEnds, Counts] = {}
        self._deeds: dict[int, _Deeds] = {0: _deeds(frozenset())}
        self.faults: dict[str, str] = {}
        """Each fault that was ever set, in words, by its id."""
        self._waiting: dict[int, tuple[int, int]] = {}
        """Of each packet of which a copy is on its way: how many are, and the number of its acts."""

    @property
    def paths(self) -> dict[str, Counts]:
        """The counts of each path that has carried something."""
        return {f"{self._nodes[a]}->{self._nodes[b]}": counts for (a, b), counts in self._counts.items()}

    def feed(self, data: bytes) -> None:
        """The next piece; a record that it cuts waits for the one after. LabFailure where this is no ledger."""
        data, at = self._rest + data, 0
        if not self._begun:
            if not form.MAGIC.startswith(data[: len(form.MAGIC)]):
                raise LabFailure("not a ledger of this lab, or of another version of it")
            self._begun = len(data) >= len(form.MAGIC)
            at = len(form.MAGIC) if self._begun else 0
        while self._begun and (size := _whole(data, at)):
            match data[at]:
                case form.PACKET:
                    self._packet(form.PACKET_RECORD.unpack_from(data, at))
                case form.DEPART:
                    self._depart(form.DEPART_RECORD.unpack_from(data, at))
                case form.NOTE:
                    self._note(json.loads(data[at + form.NOTE_HEADER.size : at + size]))
            at += size
        self._rest = data[at:]

    def _path(self, source: int, target: int) -> Counts:
        counts = self._counts.get((source, target))
        if counts is None:
            counts = self._counts[source, target] = Counts()
        return counts

    def _packet(self, record: tuple[Any, ...]) -> None:
        (_, decision, source, target, _, packet, _, left, _, _, acts, size, _, _, _, copies, copy) = record
        path = self._path(source, target)
        dropped = decision & ~form.LATER == form.DROPPED
        path.dropped += dropped
        if decision & form.LATER:
            self._amend(path, packet, copy, acts, dropped)
        elif copy:
            _add(path, "duplicated", 1)  # a copy that has a record was dropped; those that live are told of below
        elif left:
            path.packets += 1
            path.size += size
            path.delivered += 1
        else:
            self._decided(path, packet, acts, size, copies, dropped)

    def _decided(self, path: Counts, packet: int, acts: int, size: int, copies: int, dropped: bool) -> None:
        deeds = self._deeds[acts]
        if deeds.forged:
            _add(path, "forged", 1)
        else:
            path.packets += 1
            path.size += size
        if dropped and not deeds.duplicated:
            copies = 0
        if copies > (not dropped):
            _add(path, "duplicated", copies - (not dropped))
        _count(path, deeds, 1)
        if copies:
            path.waiting += copies
            self._waiting[packet] = (copies, acts)

    def _amend(self, path: Counts, packet: int, copy: int, acts: int, dropped: bool) -> None:
        """More was decided about a copy that waits; what is said of the original takes the place of what was said."""
        copies, before = self._waiting[packet]
        if copy == 0:
            _count(path, self._deeds[before], -1)
            _count(path, self._deeds[acts], 1)
            before = acts
        self._waiting[packet] = (copies, before)
        if dropped:
            self._one_less(path, packet)

    def _depart(self, record: tuple[Any, ...]) -> None:
        _, _, source, target, _, _, packet, _ = record
        path = self._path(source, target)
        path.delivered += 1
        self._one_less(path, packet)

    def _one_less(self, path: Counts, packet: int) -> None:
        path.waiting -= 1
        copies, acts = self._waiting.pop(packet)
        if copies > 1:
            self._waiting[packet] = (copies - 1, acts)

    def _note(self, note: dict[str, Any]) -> None:
        match note["note"]:
            case "run":
                self._nodes = [node["name"] for node in note["nodes"]]
            case "fault-set":
                self.faults[note["id"]] = note["describe"]
            case "acts":
                self._deeds[note["acts"]] = _deeds(frozenset(Effect(did) for _, did, _ in note["list"]))


def _whole(data: bytes, at: int) -> int:
    """The size of the record that starts there; 0 where it is not all there yet."""
    if at == len(data):
        return 0
    match data[at]:
        case form.PACKET:
            size = form.PACKET_RECORD.size
        case form.DEPART:
            size = form.DEPART_RECORD.size
        case form.NOTE:
            size = form.NOTE_HEADER.size
            if at + size <= len(data):
                size += form.NOTE_HEADER.unpack_from(data, at)[3]
        case kind:
            raise LabFailure(f"the ledger has a record of kind {kind}, which is none of ours")
    return size if at + size <= len(data) else 0


def _deeds(effects: frozenset[Effect]) -> _Deeds:
    """Held and overtaking is reordered once."""
    counted = tuple({_COUNTED[effect] for effect in effects if effect in _COUNTED})
    return _Deeds(counted, Effect.INJECTED in effects, Effect.DUPLICATED in effects)


def _count(path: Counts, deeds: _Deeds, step: int) -> None:
    """A packet to which this was done, or with step -1 one less."""
    for name in deeds.counted:
        _add(path, name, step)


def _add(path: Counts, name: str, step: int) -> None:
    setattr(path, name, getattr(path, name) + step)
