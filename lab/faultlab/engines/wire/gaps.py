"""How long a frame can have waited before the wire read it: what the wire did not see, as it knows itself.

A frame is stamped when it is read. It came after the moment at which its device was last seen empty, so that moment
and the stamp are the two bounds of its arrival. A sleep is over as soon as a frame comes, unless the loop was stopped
or got no processor: it then lasts longer than was asked, and the heartbeat bounds what was asked.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

HEARTBEAT_NS = 20_000_000
"""The longest sleep: a stop within one that is not longer than this stays unseen."""
TOLERANCE_NS = 2_000_000
"""Shorter waits are not told."""

GapNote = Callable[[int, int, int | None], None]
"""(since, until, node): frames that were read in this time, of the node or of all, may have come at `since` already;
and where no node is named, what left then may have been written as late as `until`."""


class GapWatch:
    """`batches` is how many full batches a device can hold. Times are ns of one clock."""

    def __init__(self, note: GapNote, now: int, batches: int) -> None:
        self._note = note
        self._looked = now
        self._since = now
        self._room = batches + 2
        self.queues: dict[int, deque[int]] = {}
        """Of each device that was not seen empty: since when, and when each batch was begun since."""

    def mind(self, now: int) -> None:
        """One turn of the loop is over, and the next begins."""
        if now - self._since > TOLERANCE_NS:
            self._note(self._since, now, None)
        self._since = self._looked

    def slept(self, asked_at: int, woken: int, nap: int) -> None:
        """The loop slept until `woken`; it had asked for `nap` at most."""
        if woken - asked_at <= nap + TOLERANCE_NS:
            self._since = woken

    def look(self, now: int) -> None:
        """Now it sees which devices have frames: the others are empty."""
        self._looked = now

    def left_over(self, node: int, began: int, now: int) -> None:
        """A whole batch was read from this device, and more may be there."""
        queue = self.queues.get(node)
        if queue is None:
            queue = self.queues[node] = deque([self._since], self._room)
        self._tell(node, queue, now)
        queue.append(began)

    def emptied(self, node: int, now: int) -> None:
        """The device had no more frames."""
        queue = self.queues.pop(node, None)
        if queue is not None:
            self._tell(node, queue, now)

    def _tell(self, node: int, queue: deque[int], now: int) -> None:
        if now - queue[0] > TOLERANCE_NS:
            self._note(queue[0], now, node)
