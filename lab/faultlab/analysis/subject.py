"""What is looked at: a run's evidence with its ledger, or captures from anywhere, on one clock.

    with a ledger     a folder of `lab run` or `lab up`: of a lab that is down, that still stands, or that was killed
    without           one capture file, or a folder with the captures of both ends (`tcpdump -w`, say)

A damaged or short file gives what is readable of it, and a remark says so; what can't be known at all is in words in
`Subject.unknown`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from faultlab.analysis.decisions import Decisions, decisions
from faultlab.analysis.hosts import Hosts
from faultlab.analysis.waits import earliest, latest
from faultlab.captures.columns import I32, I64, U64, Columns, Flags, joined
from faultlab.captures.files import CaptureFile
from faultlab.captures.noticed import Noticed
from faultlab.captures.pcapng import packet_ids
from faultlab.errors import LabError, UsageError
from faultlab.evidence.gaps import Gaps
from faultlab.evidence.ledger_reader import FaultNote, Ledger, read_ledger

LEDGER, SENT, DELIVERED, RUN = "ledger.bin", "sent.pcapng", "delivered.pcapng", "run.json"
_SUFFIXES = {".pcap", ".pcapng", ".cap"}

NO_LEDGER = "what was decided about a packet, and by which fault: there is no ledger"
ONE_END = (
    "one-way delay, and loss, reordering or duplication on the way: that takes the captures of both ends "
    "(name a folder that holds the two)"
)
TWO_CLOCKS = "one-way delay better than the clocks of the two captures agree"


@dataclass(frozen=True)
class Side:
    """One capture, whole, in columns. Index i is packet number i + 1, as Wireshark counts.

    `time_ns` counts from the subject's first packet. `outer_ns` is when each packet can have been sent at the earliest,
    or handed over at the latest: another time only where the wire did not see its devices. `ids` are the ledger's
    (0: none). `source` and `target` are indices into `Subject.nodes`.
    """

    file: CaptureFile
    name: str
    columns: Columns
    time_ns: I64
    outer_ns: I64
    ids: U64
    source: I32
    target: I32

    def __len__(self) -> int:
        return len(self.columns)

    def frame(self, index: int) -> bytes:
        """What was captured of a packet."""
        return self.file.frame(self.columns, index)

    def way(self, source: int, target: int) -> Flags:
        """The packets from one node to another (indices into `Subject.nodes`)."""
        return np.asarray((self.source == source) & (self.target == target))

    def between(self, one: int, other: int) -> Flags:
        """The packets of both ways between two nodes."""
        return self.way(one, other) | self.way(other, one)

    def where(self, index: int) -> str:
        """As findings say it: `sent.pcapng frame 12 (ledger 345)`."""
        ledger = int(self.ids[index])
        return f"{self.name} frame {index + 1}" + (f" (ledger {ledger})" if ledger else "")

    @cached_property
    def _by_id(self) -> tuple[I64, U64]:
        order = np.argsort(self.ids, kind="stable")
        return order, self.ids[order]

    def indices(self, packet: int) -> list[int]:
        """Where a packet of the ledger stands here, in the file's order: not at all, once, or once for each copy."""
        order, ids = self._by_id
        first, last = np.searchsorted(ids, [packet, packet + 1])
        return [int(index) for index in order[first:last]]


@dataclass(frozen=True)
class FaultWindow:
    """A fault, where it stood, and from when to when, in ns since the first packet; None: to the end."""

    id: str
    path: str
    kind: str
    description: str
    from_ns: int
    to_ns: int | None


@dataclass(frozen=True)
class Subject:
    """What there is to look at. A run's folder has `sent`, `delivered` and `ledger`, whichever could be read.

    `decisions` are the ledger's, in columns. `captures` are all that were read: both of a run, the two of both ends, or
    the only one. `more` are further files of the folder (`capture-NODE.pcapng`), unread. `start_ns` is the first
    packet's time since the epoch. `run` is `run.json`: scenario text, name, seed, runtime, engine. `unknown` and
    `remarks` are sentences for people.
    """

    path: Path
    captures: tuple[Side, ...]
    sent: Side | None
    delivered: Side | None
    more: tuple[Path, ...]
    ledger: Ledger | None
    decisions: Decisions | None
    faults: tuple[FaultWindow, ...]
    nodes: tuple[str, ...]
    start_ns: int
    run: dict[str, Any]
    unknown: tuple[str, ...]
    remarks: tuple[str, ...]

    @property
    def main(self) -> Side:
        """The capture to go through: of what was sent, where there is a choice."""
        return self.sent or self.captures[0]

    @cached_property
    def end_ns(self) -> int:
        """The last packet's time, ns since the first."""
        return max((int(side.time_ns.max()) for side in self.captures if len(side)), default=0)

    def since_start(self, monotonic_ns: int) -> int:
        """A time of the ledger's in ns since the first packet. Only where there is a ledger."""
        assert self.ledger is not None
        return monotonic_ns + int(self.ledger.run["epoch_offset"]) - self.start_ns


def open_subject(path: Path) -> Subject:
    """A run's folder, a folder of two captures, or a capture file. UsageError, in one line, for anything else."""
    if path.is_file():
        if path.name == LEDGER:
            raise UsageError(f"{path}: the ledger alone; name its folder: {path.parent}")
        return _of_captures(path, [path])
    if not path.is_dir():
        raise UsageError(f"{path}: no such file or folder; expected a run's folder or a capture file")
    captures = sorted(file for file in path.iterdir() if file.suffix in _SUFFIXES and file.is_file())
    own = [path / name for name in (SENT, DELIVERED)]
    if (path / LEDGER).is_file() or any(file in captures for file in own):
        return _of_run(path, own, [file for file in captures if file not in own])
    if len(captures) in (1, 2):
        return _of_captures(path, captures)
    found = f"{len(captures)} captures" if captures else "no evidence"
    raise UsageError(
        f"{path}: {found} in this folder; expected a run's evidence ({LEDGER}), or the captures of two ends"
    )


def _of_run(folder: Path, own: Sequence[Path], more: Sequence[Path]) -> Subject:
    remarks: list[str] = []
    ledger = _read_ledger(folder / LEDGER, remarks)
    files = [_open_capture(file, remarks) for file in own]
    if ledger is None and not any(files):
        raise UsageError(f"{folder}: nothing readable in it: {'; '.join(remarks)}")
    decided = decisions(ledger) if ledger else None
    reading = _Reading(ledger, decided)
    read = [reading.columns(file, path) if file else None for file, path in zip(files, own, strict=True)]
    sent, delivered = reading.sides(read)
    if ledger is not None:
        if not ledger.complete:
            remarks.append(f"{LEDGER} has no end: the lab still stands, or was killed; the last packets may be missing")
        remarks += [str(note["text"]) for note in ledger.noted("warning")]
        gaps = Gaps(ledger.noted("gap"))
        if gaps.is_long:
            remarks.append(f"{gaps.in_words()}; delays and round trips count what a packet can have waited unseen")
    unknown = [] if ledger else [NO_LEDGER]
    if sent is None or delivered is None:
        unknown.append(ONE_END)
    captures = tuple(side for side in (sent, delivered) if side)
    return Subject(
        folder, captures, sent, delivered, tuple(more), ledger, decided, _windows(ledger, reading.start_ns),
        reading.nodes, reading.start_ns, _run_file(folder / RUN, remarks), tuple(unknown),
        tuple(remarks + reading.problems),
    )  # fmt: skip


def _of_captures(path: Path, files: Sequence[Path]) -> Subject:
    reading = _Reading()
    sides = reading.sides([reading.columns(CaptureFile(file), file) for file in files])
    captures = tuple(side for side in sides if side)
    unknown = (NO_LEDGER, ONE_END if len(captures) == 1 else TWO_CLOCKS)
    return Subject(
        path,
        captures,
        None,
        None,
        (),
        None,
        None,
        (),
        reading.nodes,
        reading.start_ns,
        {},
        unknown,
        tuple(reading.problems),
    )


def _read_ledger(file: Path, remarks: list[str]) -> Ledger | None:
    """None, and a remark, where it can't be read, or does not even say whose it is."""
    try:
        ledger = read_ledger(file)
        if not ledger.noted("run"):
            remarks.append(f"{file}: a ledger without its first note")
            return None
        # What is asked of it later must not be found damaged then.
        _windows(ledger, 0), _addresses(ledger), Gaps(ledger.noted("gap"))
    except LabError as error:
        remarks.append(str(error))
        return None
    except (ArithmeticError, LookupError, TypeError, ValueError):
        remarks.append(f"{file}: damaged, so not used: it has a note that no lab writes")
        return None
    return ledger


def _open_capture(file: Path, remarks: list[str]) -> CaptureFile | None:
    try:
        return CaptureFile(file)
    except UsageError as error:
        remarks.append(str(error))
        return None


class _Reading:
    """Captures of one subject, read whole: first all columns, then, once the first packet's time is known, sides."""

    def __init__(self, ledger: Ledger | None = None, decided: Decisions | None = None) -> None:
        self._ledger = ledger
        self._decisions = decided
        self._hosts = Hosts(_addresses(ledger))
        self.problems: list[str] = []
        self.start_ns = 0

    @property
    def nodes(self) -> tuple[str, ...]:
        return tuple(self._hosts.names)

    def columns(self, file: CaptureFile, path: Path) -> tuple[CaptureFile, Path, Columns]:
        columns = joined(Columns, list(file.batches()))
        self._hosts.learn(file.names)
        noticed = Noticed()
        noticed.feed(columns)
        self.problems += [f"{path.name}: {problem}" for problem in file.problems + noticed.notes]
        return file, path, columns

    def sides(self, read: Sequence[tuple[CaptureFile, Path, Columns] | None]) -> list[Side | None]:
        firsts = [int(one[2].time_ns.min()) for one in read if one and len(one[2])]
        self.start_ns = min(firsts, default=0)
        return [self._side(*one) if one else None for one in read]

    def _side(self, file: CaptureFile, path: Path, columns: Columns) -> Side:
        time_ns = columns.time_ns - self.start_ns
        ids = packet_ids(path, columns)
        source, target = self._hosts.ends(columns)
        if self._decisions is not None:
            source, target = self._as_ledger_says(self._decisions, ids, source, target)
        return Side(file, path.name, columns, time_ns, self._outer(path.name, time_ns, source), ids, source, target)

    def _outer(self, name: str, time_ns: I64, source: I32) -> I64:
        if self._ledger is None or name not in (SENT, DELIVERED):
            return time_ns
        gaps = Gaps(self._ledger.noted("gap"), int(self._ledger.run["epoch_offset"]) - self.start_ns)
        return latest(gaps, time_ns) if name == DELIVERED else earliest(gaps, time_ns, source, self.nodes)

    def _as_ledger_says(self, decided: Decisions, ids: U64, source: I32, target: I32) -> tuple[I32, I32]:
        """A fault may have changed an address, and a packet need not be IP at all: the ledger knows its path."""
        ends = np.array([self._hosts.path(path) for path in decided.paths] or [(0, 0)], np.int32)
        rows = decided.rows(ids)
        known = np.flatnonzero(rows >= 0)
        source, target = source.copy(), target.copy()
        source[known], target[known] = ends[decided.path[rows[known]]].T
        return source, target


def _addresses(ledger: Ledger | None) -> dict[str, str]:
    """The name of each of the lab's addresses."""
    nodes = ledger.run.get("nodes", []) if ledger else []
    return {node[family]: node["name"] for node in nodes for family in ("ipv4", "ipv6")}


def _windows(ledger: Ledger | None, start_ns: int) -> tuple[FaultWindow, ...]:
    if ledger is None:
        return ()
    offset = int(ledger.run["epoch_offset"]) - start_ns
    faults = [_window(fault, offset) for fault in ledger.faults]
    return tuple(faults)


def _window(fault: FaultNote, offset: int) -> FaultWindow:
    to_ns = None if fault.cleared_at is None else fault.cleared_at + offset
    return FaultWindow(fault.id, fault.path, fault.kind, fault.describe, fault.set_at + offset, to_ns)


def _run_file(file: Path, remarks: list[str]) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        remarks.append(f"{file}: not readable: {error.strerror}")
        return {}
    except (ValueError, RecursionError):
        remarks.append(f"{file}: not JSON, so not used")
        return {}
    return facts if isinstance(facts, dict) else {}
