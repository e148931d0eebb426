"""What the wire did not see: when a frame can have waited before it was read, and how far that makes times unsure.

The wire notes each such time in its ledger (`faultlab.engines.wire.gaps`); netem has none, for the kernel stamps its frames.
Every check that judges a time asks here how long something took, and gets bounds.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

LONG_NS = 100_000_000
"""A gap that is longer may be all there is to a delay: then not even a lower bound is taken from a time that has it."""


class Took(NamedTuple):
    """How long something took, in ns. `fair` is without the gaps that it met, so that it is not to blame on them.

    What judges a bound from below takes `least`, which is `fair` where a gap was long. `most` counts the wait.
    """

    fair: int
    least: int
    most: int


class _Windows:
    """Gaps in the order of their begin, and of their end."""

    def __init__(self, spans: Sequence[tuple[int, int]]) -> None:
        self._begins = [begin for begin, _ in spans]
        self._ends = [end for _, end in spans]

    def earliest(self, at: int) -> int:
        """The begin of the first gap that this moment is in; the moment itself where it is in none."""
        index = bisect_left(self._ends, at)
        return min(at, self._begins[index]) if index < len(self._begins) else at

    def latest(self, at: int) -> int:
        """The end of the last gap that this moment is in."""
        index = bisect_right(self._begins, at) - 1
        return max(at, self._ends[index]) if index >= 0 else at

    def within(self, start: int, end: int) -> list[tuple[int, int]]:
        """What of each gap is between two moments."""
        spans = slice(bisect_left(self._ends, start), bisect_right(self._begins, end))
        cut = ((max(start, a), min(end, b)) for a, b in zip(self._begins[spans], self._ends[spans], strict=True))
        return [(a, b) for a, b in cut if a < b]


class Gaps:
    """The `gap` notes of a ledger. Times are ns of the notes' clock, and `offset` more."""

    def __init__(self, notes: Iterable[Mapping[str, Any]], offset: int = 0) -> None:
        self._spans: dict[str | None, list[tuple[int, int]]] = {None: []}
        for note in notes:
            self._spans.setdefault(note.get("node"), []).append((note["t"] + offset, note["until"] + offset))
        self.all = sorted(span for some in self._spans.values() for span in some)
        self._stops = _Windows(self._spans[None])
        self._queues = {node: _Windows(some) for node, some in self._spans.items() if node is not None}

    def spans(self, node: str | None = None) -> Sequence[tuple[int, int]]:
        """(begin, end) of those of one node alone; default: of the whole wire."""
        return self._spans.get(node, ())

    @property
    def longest(self) -> tuple[int, int]:
        """(begin, end) of the longest of all; both 0 where there is none."""
        return max(self.all, key=lambda span: span[1] - span[0], default=(0, 0))

    def earliest(self, node: str, at: int) -> int:
        """When a frame of `node` that was stamped `at` can have been sent."""
        queue = self._queues.get(node)
        first = self._stops.earliest(at)
        return min(first, queue.earliest(at)) if queue is not None else first

    def latest(self, at: int) -> int:
        """When a frame that was stamped as delivered `at` can have been handed over."""
        return self._stops.latest(at)

    @property
    def is_long(self) -> bool:
        """Whether any is longer than `LONG_NS`."""
        begin, end = self.longest
        return end - begin > LONG_NS

    def has(self, at: int) -> bool:
        """Whether the wire stood still just before this moment."""
        return self._stops.earliest(at) < at

    def in_words(self) -> str:
        """The longest of them, for a finding."""
        since, until = self.longest
        return f"the wire did not see its devices for up to {(until - since) / 1e6:.1f} ms ({len(self.all)} gaps)"

    def took(self, node: str | None, start: int, end: int, stamps: Sequence[int] | None = None) -> Took:
        """From a frame that `node` sent to one that was delivered; of a time that a client measured, `node` is None.

        `stamps` are the moments, within that time, at which a frame was read or delivered: only a gap that has one
        can have made it longer. Default: every gap can.
        """
        most = end - start if node is None else self.latest(end) - self.earliest(node, start)
        if not self.all:
            return Took(end - start, end - start, most)
        met = self._stops.within(start, end)
        if stamps is not None:
            met = [span for span in met if any(span[0] <= stamp <= span[1] for stamp in stamps)]
        fair = end - start - _covered(met)
        is_long = any(until - since > LONG_NS for since, until in met)
        return Took(fair, fair if is_long else end - start, most)


def _covered(spans: Sequence[tuple[int, int]]) -> int:
    """The length of the spans together, what they share counted once. They are in order."""
    shared = sum(max(0, before[1] - after[0]) for before, after in pairwise(spans))
    return sum(until - since for since, until in spans) - shared
