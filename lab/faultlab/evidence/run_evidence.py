"""All that one run left behind, in one place for the checks: ledger, captures, journals. Read when asked for."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from faultlab.evidence.gaps import Gaps
from faultlab.evidence.journal import JournalLine, read_journal
from faultlab.evidence.pcapng import Capture
from faultlab.evidence.ledger_reader import Ledger, read_ledger


@dataclass(frozen=True)
class WorkloadRecord:
    """What a client was told to do, as the checks need it. `target` is the node dialled; journals are file names.

    A server of the user's own leaves no journal, and nor does a client of theirs: the name is empty then. `status` is
    the exit status of a client that ended by itself.
    """

    name: str
    kind: str
    client_journal: str
    server_journal: str
    source: str
    target: str
    port: int
    protocol: str
    framing: str | None
    messages: int
    connections: int
    source_port: int | None
    status: int | None = None


@dataclass(frozen=True)
class Evidence:
    """A run's folder, its workloads, and the toxics that were set (as toxiproxy said, with `set_t`, `cleared_t`)."""

    folder: Path
    workloads: tuple[WorkloadRecord, ...] = ()
    toxics: tuple[dict[str, Any], ...] = ()
    _journals: dict[str, list[JournalLine]] = field(default_factory=dict)

    @cached_property
    def ledger(self) -> Ledger:
        return read_ledger(self.folder / "ledger.bin")

    @cached_property
    def gaps(self) -> Gaps:
        """What the wire did not see, in the captures' times."""
        return Gaps(self.ledger.noted("gap"), int(self.ledger.run["epoch_offset"]))

    @cached_property
    def sent(self) -> Capture:
        """Frames as their nodes sent them."""
        return Capture(self.folder / "sent.pcapng")

    @cached_property
    def delivered(self) -> Capture:
        """Frames as their nodes were handed them."""
        return Capture(self.folder / "delivered.pcapng")

    @cached_property
    def end(self) -> dict[str, Any]:
        """The lab's last word: why it ended, and the frames of each node lost before the engine saw them.

        Empty where the lab left none.
        """
        file = self.folder / "end.json"
        return dict(json.loads(file.read_text())) if file.exists() else {}

    def journal(self, name: str) -> list[JournalLine]:
        """By its file's name."""
        if name not in self._journals:
            self._journals[name] = read_journal(self.folder / name)
        return self._journals[name]

    def journal_is_whole(self, name: str) -> bool:
        """Whether its writer closed it in order: no crash, no `kill -9`."""
        lines = self.journal(name) if (self.folder / name).exists() else []
        return bool(lines) and (lines[-1]["op"], lines[-1]["phase"]) == ("journal", "ok")

    def operations(self, workload: WorkloadRecord) -> list[JournalLine]:
        """The lines of a client's journal about its messages, datagrams or names; none where it never began."""
        if not (self.folder / workload.client_journal).exists():
            return []
        lines = self.journal(workload.client_journal)
        return [line for line in lines if line["op"] in ("message", "lookup", "resolve") and line["n"] is not None]

    def last_words(self, workload: WorkloadRecord) -> str:
        """The last line that a client printed; empty where it said nothing."""
        log = self.folder / "log" / f"{workload.name}.txt"
        lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
        return lines[-1] if lines else ""

    def of_kind(self, kind: str) -> tuple[WorkloadRecord, ...]:
        return tuple(workload for workload in self.workloads if workload.kind == kind)
