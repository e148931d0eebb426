"""Engines that do nothing of what they are asked, in the place of the runner's `Placer`: no run with one may pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from faultlab.faults import Fault, Match
from faultlab.lab.lab import Lab
from faultlab.scenario.model import PlacedToxic
from faultlab.scenario.timeline import Steps


class Silent:
    """A deaf engine: it takes every fault, and does nothing."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    def set(self, path: str, faults: Sequence[Fault], later: Steps = ()) -> None:
        pass

    def add_toxic(self, placed: PlacedToxic) -> dict[str, Any]:
        return {
            "proxy": f"port-{placed.port}",
            "port": placed.port,
            "name": "deaf",
            "type": placed.toxic.type,
            "stream": placed.toxic.stream,
            "attributes": placed.toxic.attributes(),
            "note": None,
            "set_t": self._lab.now(),
            "cleared_t": None,
        }

    def remove_toxic(self, toxic: dict[str, Any]) -> None:
        toxic["cleared_t"] = self._lab.now()


class Pretending(Silent):
    """A worse one: the ledger shows each fault as set, but it never acts."""

    def set(self, path: str, faults: Sequence[Fault], later: Steps = ()) -> None:
        never = Match(payload="no packet ever says this", until_ms=0.001)

        def deaf(step: Sequence[Fault]) -> tuple[Fault, ...]:
            return tuple(fault.model_copy(update={"match": never}) for fault in step[:1])

        self._lab.set_faults(path, *deaf(faults), later=[(at_ms, deaf(step)) for at_ms, step in later])


class DeafToxiproxy(Silent):
    """The link engine does what it is told; only toxiproxy does not."""

    def set(self, path: str, faults: Sequence[Fault], later: Steps = ()) -> None:
        self._lab.set_faults(path, *faults, later=later)
