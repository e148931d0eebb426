"""Reordering of one stream of packets, as RFC 4737 and RFC 5236 measure it.

Both take the packets' numbers in the order of sending (1, 2, 3, ...) as they arrived: without the copies of a packet
after its first (RFC 4737, 4.1.3; RFC 5236, 3.1), and with gaps where packets were lost.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from itertools import islice

import numpy as np

from faultlab.captures.columns import I64, Flags

DISPLACEMENT_THRESHOLD = 100
"""RFC 5236's DT: what is further from its place than that many packets counts as lost."""


@dataclass(frozen=True)
class Reordering:
    """What became of the order of `received` packets.

    `reordered` says of each arrival whether it is (RFC 4737, 3.3: a later one had arrived before it). Of those that
    are, in order of arrival: `extents` (4.2.3: how many arrivals ago the first later one came) and `n` (5.3: how many
    arrivals right before it all were later ones; 0 where the one before was not; from 3 on, TCP takes it for lost, RFC
    5681, 3.2). `density` is RFC 5236's (3.6): the share of packets with each displacement, early ones negative.
    """

    received: int
    reordered: Flags
    extents: I64
    n: I64
    density: dict[int, float]

    @property
    def count(self) -> int:
        return len(self.extents)

    @property
    def ratio(self) -> float:
        """Type-P-Reordered-Ratio-Stream (RFC 4737, 4.1.3); 0 where nothing arrived."""
        return self.count / self.received if self.received else 0.0

    def degree(self, n: int) -> float:
        """The share of received packets that are n-reordered (RFC 4737, 5.3, definition 2)."""
        return int(np.count_nonzero(self.n >= n)) / self.received if self.received else 0.0


def reordering(arrived: I64, threshold: int = DISPLACEMENT_THRESHOLD) -> Reordering:
    """Of packets' numbers in order of arrival, each once. O(n log n); O(n) where nothing is out of order."""
    highest = np.maximum.accumulate(arrived)
    reordered = highest > arrived
    late = np.flatnonzero(reordered)
    if not len(late):
        nothing = np.zeros(0, np.int64)
        return Reordering(len(arrived), reordered, nothing, nothing, {0: 1.0} if len(arrived) else {})
    # The highest so far never falls, so that the first arrival above a number is where it first exceeds it.
    extents = late - np.searchsorted(highest, arrived[late], side="right")
    return Reordering(len(arrived), reordered, extents, _later_before(arrived, late), density(arrived, threshold))


def _later_before(arrived: I64, late: I64) -> I64:
    """How many arrivals right before each of `late` have a higher number."""
    counts = np.zeros(len(late), np.int64)
    climbing: list[int] = []  # arrivals so far that no smaller number followed, so with numbers that grow
    numbers = arrived.tolist()
    places = iter(enumerate(late.tolist()))
    slot, place = next(places)
    for at, number in enumerate(numbers):
        while climbing and numbers[climbing[-1]] > number:
            climbing.pop()
        if at == place:
            counts[slot] = at - 1 - (climbing[-1] if climbing else -1)
            slot, place = next(places, (-1, -1))
        climbing.append(at)
    return counts


def density(arrived: I64, threshold: int = DISPLACEMENT_THRESHOLD) -> dict[int, float]:
    """Reorder density: displacement to share of packets, in order of displacement (RFC 5236, 3.6).

    The method of 7.1, which looks `threshold` packets ahead before it takes one that is missing for lost.
    """
    counts: Counter[int] = Counter()
    coming = iter(arrived.tolist())
    window = deque(islice(coming, threshold + 1))
    ahead, early = set(window), set[int]()
    index = 1
    while window:
        if index not in ahead and index not in early:
            index = max(index + 1, min(ahead | early))  # lost, and so is what lies between
            continue
        number = window.popleft()
        ahead.discard(number)
        displacement = index - number
        if abs(displacement) <= threshold:
            counts[displacement] += 1
            early.discard(index)
            if displacement < 0:
                early.add(number)
            index += 1
        for following in islice((one for one in coming if one >= index), 1):
            window.append(following)
            ahead.add(following)
    total = counts.total()
    return {displacement: counts[displacement] / total for displacement in sorted(counts)}
