"""When the faults of a path change: an engine's own clockwork, so that no other process has to be in time for them.

One order says what stands now and all that follows: when it is over (`for_ms`), or what comes at which time from the
network's next packet on (`later`), which is how a scenario counts. Times are ns of CLOCK_MONOTONIC.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from faultlab.faults import Fault, fault_from_json, fault_to_json

FaultChange = tuple[int, str, tuple[Fault, ...]]
"""When, on which path, and what is all that stands there from then on."""


class Timetable:
    """Changes to come, in the order of their times; those of one time in the order in which they were asked for."""

    def __init__(self) -> None:
        self._changes: list[FaultChange] = []
        self._waiting: list[FaultChange] = []
        """Those whose time counts from the next packet."""
        self._seen = 0
        self.next: int | None = None
        """When `due` has something."""

    def follow(self, order: Mapping[str, Any], packets: int) -> tuple[Fault, ...]:
        """Take an order `set`; returns what it asks for now. All that was to come on its path is forgotten.

        `packets` is how many the engine has seen so far.
        """
        path, faults = order["path"], [fault_from_json(one) for one in order["faults"]]
        self._waiting = [change for change in self._waiting if change[1] != path]
        self._plan([change for change in self._changes if change[1] != path])
        for at_ms, numbers in order.get("later", ()):
            self._waiting.append((_ns(at_ms), path, tuple(faults[number] for number in numbers)))
            self._seen = packets
        return tuple(faults[: order.get("now", len(faults))])

    def is_set(self, order: Mapping[str, Any], now: int) -> None:
        """What the order asks for now stands since `now`: from then on counts the time for which it is asked."""
        if order.get("for_ms") is not None:
            self._plan([*self._changes, (now + _ns(order["for_ms"]), order["path"], ())])

    def begins(self, packets: int, now: int) -> bool:
        """Whether the packet that times count from has come, at `now` and not before."""
        if not self._waiting or packets <= self._seen:
            return False
        self._plan([*self._changes, *((now + after, path, faults) for after, path, faults in self._waiting)])
        self._waiting = []
        return True

    def due(self, now: int) -> Iterator[tuple[str, tuple[Fault, ...]]]:
        """What has to change by now: path, and all that stands there."""
        due = [change for change in self._changes if change[0] <= now]
        self._plan(self._changes[len(due) :])
        for _, path, faults in due:
            yield path, faults

    def _plan(self, changes: list[FaultChange]) -> None:
        self._changes = sorted(changes, key=lambda change: change[0])
        self.next = self._changes[0][0] if self._changes else None


def set_order(
    path: str, faults: Sequence[Fault], for_ms: float | None, later: Sequence[tuple[float, Sequence[Fault]]]
) -> dict[str, Any]:
    """The order `set` that `Timetable.follow` takes. Each fault is in it once, as a trace of delays is long."""
    known = list(faults)
    steps = []
    for at_ms, step in later:
        known += [fault for fault in step if fault not in known]
        steps.append([at_ms, [known.index(fault) for fault in step]])
    asked = {"faults": [fault_to_json(fault) for fault in known], "now": len(faults)}
    return {"do": "set", "path": path, **asked, "for_ms": for_ms, "later": steps}


def _ns(ms: float) -> int:
    return round(ms * 1e6)
