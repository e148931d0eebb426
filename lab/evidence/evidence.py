"""All that one run left behind, in one place for the checks: ledger, captures, journals. Read when asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from lab.evidence.journal import Line, read_journal
from lab.evidence.pcapng import Capture
from lab.evidence.reader import Ledger, read_ledger


@dataclass(frozen=True)
class Workload:
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
    workloads: tuple[Workload, ...] = ()
    toxics: tuple[dict[str, Any], ...] = ()
    _journals: dict[str, list[Line]] = field(default_factory=dict)

    @cached_property
    def ledger(self) -> Ledger:
        return read_ledger(self.folder / "ledger.bin")

    @cached_property
    def sent(self) -> Capture:
        """Frames as their nodes sent them."""
        return Capture(self.folder / "sent.pcapng")

    @cached_property
    def delivered(self) -> Capture:
        """Frames as their nodes were handed them."""
        return Capture(self.folder / "delivered.pcapng")

    def journal(self, name: str) -> list[Line]:
        """By its file's name."""
        if name not in self._journals:
            self._journals[name] = read_journal(self.folder / name)
        return self._journals[name]

    def of_kind(self, kind: str) -> tuple[Workload, ...]:
        return tuple(workload for workload in self.workloads if workload.kind == kind)
