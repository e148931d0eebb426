"""The ladder: who sent what, and what the wire did with it, packet by packet, between two nodes. No colours, no widths.

    client                        the wire                        tcp-server
      | SYN ------------------------------------------------------> |
      |                                    X <------------- SYN-ACK |   dropped by: drop (tcp syn+ack, which 1)

A `Step` is one packet: when it was sent, by whom, what it is, what the faults did to it, and when each copy arrived.
`faultlab.analysis.build_ladder` makes ladders; `chosen` leaves out what went as it should.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from faultlab.faults.base import Effect

CONTEXT = 2
"""Packets shown before and after one that is worth a look."""
WITHIN = ("length", "end mark")
"""Words of `faultlab.analysis.messages` for a segment that ends within a message's prefix, or before its end mark."""
SHORT = 16
"""A ladder of so many packets is shown whole."""
MOST = 40
"""Packets that `chosen` chooses at most, unless told otherwise."""
OPENING = 3
"""Packets at the start that are always shown: a handshake's."""


class Fate(StrEnum):
    """What became of a packet. WAITING: still on the wire when the lab ended. UNKNOWN: only one side was seen."""

    DELIVERED = "delivered"
    DROPPED = "dropped"
    WAITING = "waiting"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Deed:
    """What a fault did to a packet, and why: `fault` is its id in the ledger, `describe` its short phrase there."""

    fault: str
    describe: str
    effect: Effect
    reason: str


@dataclass(frozen=True, slots=True)
class Arrival:
    """A copy that arrived, `at_ns` since the ladder's time 0: `frame` in delivered.pcapng; `copy` 0 is the original.

    `what` and `holds` are those of the step, or else what a fault made of it. `damaged`: its checksum is wrong, so that
    the receiver's stack throws it away.
    """

    at_ns: int
    frame: int
    copy: int
    what: str
    holds: str = ""
    damaged: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """One packet. `at_ns`: when it was sent (a forged one: came to be), ns since the ladder's time 0.

    frame: its number in sent.pcapng; None for a forged packet, which nobody sent.
    ledger: its id in the ledger; 0 where there is none.
    flow: `tcp client:20000 -> tcp-server:8082`.
    what: "SYN-ACK", "data 1..103 (102 B)" (see `faultlab.analysis.words`).
    holds: "message 2", where the stream's framing is known.
    lost: how many of its copies were dropped, itself among them.
    overtaken_by: frames that were sent later and arrived earlier.
    remarks: what TCP's analysis says of it: "repeats frame 2, which f1 dropped".
    """

    at_ns: int
    sender: str
    receiver: str
    frame: int | None
    ledger: int
    flow: str
    protocol: str
    what: str
    holds: str
    fate: Fate
    arrivals: tuple[Arrival, ...] = ()
    deeds: tuple[Deed, ...] = ()
    lost: int = 0
    overtaken_by: tuple[int, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def forged(self) -> bool:
        return self.fate is not Fate.UNKNOWN and self.frame is None

    def did(self, effect: Effect) -> bool:
        return any(deed.effect is effect for deed in self.deeds)

    @property
    def stories(self) -> tuple[str, ...]:
        """Why it is worth a look, one word group for each kind of reason; empty where all went as asked."""
        found = [f"{deed.effect} by {deed.fault}" for deed in self.deeds if deed.effect in _TELLING]
        if self.overtaken_by:
            found.append("overtaken")
        if self.fate is Fate.WAITING:
            found.append("waiting")
        if any(word in self.holds for word in WITHIN):
            found.append("cut where the receiver can't know yet how long the message is")
        found += [re.sub(r"\d+", "", remark) for remark in self.remarks]
        return tuple(found)


_TELLING = frozenset(Effect) - {Effect.DELAYED}
"""A delay alone is what was asked for; its order, if another, shows as `overtaken_by`."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Packets that `chosen` left out between two steps."""

    packets: int
    from_ns: int
    to_ns: int
    stories: int
    """How many of them are worth a look all the same."""


@dataclass(frozen=True, slots=True)
class StandingFault:
    """A fault on a path between the two nodes, from when to when, ns since time 0; `to_ns` None: until the end."""

    fault: str
    path: str
    describe: str
    from_ns: int
    to_ns: int | None


@dataclass(frozen=True, slots=True)
class Ladder:
    """All steps between `left` and `right`, in the order they were sent. `start_ns`: time 0, ns since the epoch.

    In a ladder of a run time 0 is the run's first packet, of a capture the capture's. `unknown` says what can't be
    known; empty where both ends were seen.
    """

    left: str
    right: str
    start_ns: int
    steps: tuple[Step, ...]
    faults: tuple[StandingFault, ...] = ()
    unknown: str = ""


def chosen(ladder: Ladder, *, around: frozenset[int] = frozenset(), most: int = MOST) -> list[Step | Gap]:
    """What is worth showing of a ladder that is not short, with gaps between; its beginning where nothing happened.

    First the handshake and the packets of `around` (ledger ids, of findings); then the first packet of each kind of
    story; then the others in their order, each with what was sent just before and after it, until there are `most`.
    """
    steps = ladder.steps
    if len(steps) <= SHORT:
        return list(steps)
    if not any(step.stories or step.ledger in around for step in steps):
        return list(_with_gaps(steps, range(SHORT)))
    shown = set(range(OPENING))
    told: set[str] = set()
    first, other = [], []
    for index, step in enumerate(steps):
        stories = set(step.stories)
        if step.ledger in around or not stories <= told:
            first.append(index)
        elif stories:
            other.append(index)
        told |= stories
    for index in (*first, *other):
        near = set(range(max(0, index - CONTEXT), min(len(steps), index + CONTEXT + 1)))
        if len(shown | near) > most:
            break
        shown |= near
    return list(_with_gaps(steps, sorted(shown)))


def _with_gaps(steps: Sequence[Step], shown: Sequence[int]) -> Iterator[Step | Gap]:
    for before, index in pairwise((-1, *shown, len(steps))):
        left_out = steps[before + 1 : index]
        if len(left_out) == 1:
            yield left_out[0]  # a line that says that one is left out is as long
        elif left_out:
            telling = sum(bool(step.stories) for step in left_out)
            yield Gap(len(left_out), left_out[0].at_ns, left_out[-1].at_ns, telling)
        if index < len(steps):
            yield steps[index]
