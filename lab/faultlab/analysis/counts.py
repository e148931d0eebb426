"""What a path has carried so far, as numbers, and what of it was in the last second."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

SECOND_NS = 1_000_000_000


@dataclass(slots=True)
class Counts:
    """Packets of one path. None: not known while the lab runs (an engine that keeps no ledger of its own).

    packets + duplicated + forged = delivered + dropped + waiting. `size` is the bytes of the frames that were sent,
    `reordered` counts packets that a fault held back or let overtake, `connections` those opened in this direction.
    """

    packets: int = 0
    size: int = 0
    delivered: int = 0
    dropped: int = 0
    waiting: int = 0
    delayed: int | None = 0
    duplicated: int | None = 0
    reordered: int | None = 0
    changed: int | None = 0
    forged: int | None = 0
    retransmissions: int = 0
    connections: int = 0

    def since(self, earlier: Counts) -> Counts:
        """What has come since; `waiting` is what waits more, or less."""
        return Counts(*map(_difference, self._values(), earlier._values()))

    def _values(self) -> list[Any]:
        return [getattr(self, field.name) for field in fields(self)]


def _difference(now: int | None, before: int | None) -> Any:
    return None if now is None or before is None else now - before


class Lately(NamedTuple):
    """What each path has carried in the last `seconds`."""

    seconds: float
    paths: Mapping[str, Counts]


class History:
    """Snapshots of the last second or so."""

    def __init__(self) -> None:
        self._snapshots: deque[tuple[int, dict[str, Counts]]] = deque()

    def add(self, time_ns: int, paths: Mapping[str, Counts]) -> Lately:
        """The counts of this moment (monotonic ns); returns how they differ from those of a second ago.

        Where there are none as old as that, from the oldest; of the very first snapshot nothing is known.
        """
        snapshots = self._snapshots
        snapshots.append((time_ns, {path: replace(counts) for path, counts in paths.items()}))
        while len(snapshots) > 2 and snapshots[1][0] <= time_ns - SECOND_NS:
            snapshots.popleft()
        then, before = snapshots[0]
        lately = {path: counts.since(before.get(path, Counts())) for path, counts in paths.items()}
        return Lately((time_ns - then) / SECOND_NS, lately if then < time_ns else {})
