"""What each directed path did with its packets, by both captures, and by the ledger where there is one.

`path_facts(subject)` is empty for a subject of which only one end was captured. docs/captures.md has the definitions
in a table. All times are ns, and count from the subject's first packet.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from faultlab.analysis.agreement import Agreement, agreement
from faultlab.analysis.hosts import NOBODY
from faultlab.analysis.losses import Losses, losses
from faultlab.analysis.pairing import Pairing, by_ids, match
from faultlab.analysis.reordering import Reordering, reordering
from faultlab.analysis.subject import Side, Subject
from faultlab.captures.columns import I64, Flags


@dataclass(frozen=True)
class PathFacts:
    """One directed path. What is an array has an element for each packet of `sent`, in the order of sending.

    `copies` says how often a packet arrived (RFC 5560, 3.4). `first` is the place in `pairing.delivered` of its first
    arrival, -1 where it never came. `changed` says whether that arrival's bytes are others than were sent. `waiting`
    is true for one that was on its way when the ledger ended; it is not lost. `delay_ns` is the first arrival's
    one-way delay (RFC 7679, 3.4) with what it can have waited unseen, and `asked_ns` what the ledger says it was to be
    (None without a ledger); both are 0 where there was no arrival, and of use where `arrived`.

    RFC 7680, 2.5 counts a packet that arrives corrupted as lost. Here it is one of `changed`, and not of `losses`.
    """

    path: str
    source: str
    target: str
    sent_side: Side
    delivered_side: Side
    pairing: Pairing
    sent_ns: I64
    copies: I64
    first: I64
    changed: Flags
    waiting: Flags
    delay_ns: I64
    asked_ns: I64 | None
    reordering: Reordering
    agreement: Agreement | None

    @property
    def arrived(self) -> Flags:
        return self.copies > 0

    @property
    def sent(self) -> int:
        """Packets sent."""
        return len(self.copies)

    @property
    def delivered(self) -> int:
        """Packets that arrived, each counted once."""
        return int(np.count_nonzero(self.arrived))

    @cached_property
    def losses(self) -> Losses:
        return losses(~self.arrived & ~self.waiting)

    @property
    def duplicated(self) -> int:
        """Packets that arrived more than once."""
        return int(np.count_nonzero(self.copies > 1))

    @property
    def forged(self) -> int:
        """Arrivals of what nobody sent."""
        return int(np.count_nonzero(self.pairing.of < 0))

    @property
    def duplication_fraction(self) -> float:
        """Further copies for each packet that arrived (RFC 5560, 5.1)."""
        return int(self.copies.sum()) / self.delivered - 1 if self.delivered else 0.0

    @property
    def replicated_rate(self) -> float:
        """The share of the packets that arrived which did so more than once (RFC 5560, 5.2)."""
        return self.duplicated / self.delivered if self.delivered else 0.0

    def delay(self, percent: float) -> int | None:
        """A percentile of the one-way delay (RFC 2330, 11.3) of what arrived; None where nothing did.

        RFC 7679, 5.1 takes lost packets as infinitely late; here they are left out, and told apart as losses.
        """
        return _percentile(self.delay_ns[self.arrived], percent)

    def asked(self, percent: float) -> int | None:
        """The same percentile of the delay that was asked for; None without a ledger."""
        return None if self.asked_ns is None else _percentile(self.asked_ns[self.arrived], percent)

    @cached_property
    def variation_ns(self) -> I64:
        """IP packet delay variation: of packets sent one after the other the later's delay less the earlier's.

        RFC 3393, 2.4, with consecutive packets selected; where one of the two did not arrive there is none.
        """
        both = self.arrived[1:] & self.arrived[:-1]
        return np.diff(self.delay_ns)[both]


def path_facts(subject: Subject) -> tuple[PathFacts, ...]:
    """Of each path that carried a packet, in the order of their nodes."""
    if subject.sent is not None and subject.delivered is not None:
        return _of_run(subject, subject.sent, subject.delivered)
    if len(subject.captures) == 2:
        return _of_two_ends(subject)
    return ()


def _of_run(subject: Subject, sent: Side, delivered: Side) -> tuple[PathFacts, ...]:
    """By the ledger's numbers; a lab with netem numbers its packets only when it goes down."""
    pair = by_ids if sent.ids.any() else match
    facts = []
    for source, target in _directions(subject, sent, delivered):
        pairing = pair(sent, _on(sent, source, target), delivered, _on(delivered, source, target))
        facts.append(_facts(subject, source, target, sent, delivered, pairing))
    return tuple(facts)


def _of_two_ends(subject: Subject) -> tuple[PathFacts, ...]:
    """Each pair of hosts has one capture nearer to each of them: the one in which its own packets come first."""
    one, other = subject.captures
    facts = []
    for source, target in _directions(subject, one, other):
        sent, delivered = (one, other) if _is_near(one, other, source, target) else (other, one)
        pairing = _overlap(match(sent, _on(sent, source, target), delivered, _on(delivered, source, target)))
        if len(pairing.sent):
            facts.append(_facts(subject, source, target, sent, delivered, pairing))
    return tuple(facts)


def _is_near(one: Side, other: Side, source: int, target: int) -> bool:
    """Whether `one` was captured at the source. The clocks need not agree where packets went both ways.

    From one to the other a packet takes its one-way delay and the clocks' difference, on the way back its delay less
    the difference: the sum is a round trip, which is never negative.
    """
    ways = [_later(one, other, *ends) for ends in ((source, target), (target, source))]
    there, back = ways
    if there is None or back is None:
        return (there or 0) - (back or 0) >= 0
    return there - back >= 0


def _later(one: Side, other: Side, source: int, target: int) -> int | None:
    """How much later a packet of this path typically is in `other`; None where both have none of the same."""
    pairing = match(one, _on(one, source, target), other, _on(other, source, target))
    both = pairing.of >= 0
    if not both.any():
        return None
    before = one.time_ns[pairing.sent[pairing.of[both]]]
    return int(np.median(other.time_ns[pairing.delivered[both]] - before))


def _overlap(pairing: Pairing) -> Pairing:
    """From the first to the last packet that both captures have: they need not have begun and ended together.

    What comes before and after is in neither list, so that it is not taken for lost.
    """
    both = np.flatnonzero(pairing.of >= 0)
    if not len(both):
        nothing = np.zeros(0, np.int64)
        return Pairing(nothing, nothing, nothing, np.zeros(0, bool))
    first, last = int(pairing.of[both].min()), int(pairing.of[both].max())
    span = slice(int(both[0]), int(both[-1]) + 1)
    of = pairing.of[span]
    return Pairing(
        pairing.sent[first : last + 1], pairing.delivered[span], np.where(of < 0, -1, of - first),
        pairing.changed[span], pairing.ambiguous, pairing.resized,
    )  # fmt: skip


def _directions(subject: Subject, *sides: Side) -> list[tuple[int, int]]:
    """Each (source, target) that a packet has; a frame that is not IP has neither."""
    count = len(subject.nodes)
    codes = np.unique(np.concatenate([side.source.astype(np.int64) * count + side.target for side in sides]))
    pairs = [divmod(code, count) for code in codes.tolist()]
    return [pair for pair in pairs if NOBODY not in (subject.nodes[pair[0]], subject.nodes[pair[1]])]


def _on(side: Side, source: int, target: int) -> I64:
    """The path's packets in order of time, which a file's order need not be."""
    at = np.flatnonzero(side.way(source, target))
    return at[np.argsort(side.time_ns[at], kind="stable")]


def _facts(subject: Subject, source: int, target: int, sent: Side, delivered: Side, pairing: Pairing) -> PathFacts:
    count, of = len(pairing.sent), pairing.of
    known = np.flatnonzero(of >= 0)
    # Backwards, so that of the arrivals of one packet the first is written last.
    first = np.full(count, -1, np.int64)
    first[of[known[::-1]]] = known[::-1]
    arrived = first >= 0
    sent_ns = sent.time_ns[pairing.sent]
    delay_ns = np.zeros(count, np.int64)
    delay_ns[arrived] = delivered.outer_ns[pairing.delivered[first[arrived]]] - sent.outer_ns[pairing.sent[arrived]]
    changed = np.zeros(count, bool)
    changed[arrived] = pairing.changed[first[arrived]]
    in_order_of_arrival = np.flatnonzero(arrived)[np.argsort(first[arrived])]
    name = f"{subject.nodes[source]}->{subject.nodes[target]}"
    asked, waiting, agrees = _by_ledger(subject, name, sent, delivered, pairing)
    return PathFacts(
        name, subject.nodes[source], subject.nodes[target], sent, delivered, pairing, sent_ns,
        np.bincount(of[known], minlength=count), first, changed, waiting, delay_ns, asked,
        reordering(in_order_of_arrival + 1), agrees,
    )  # fmt: skip


def _by_ledger(
    subject: Subject, path: str, sent: Side, delivered: Side, pairing: Pairing
) -> tuple[I64 | None, Flags, Agreement | None]:
    """The delays that were asked for, which packets still wait, and whether the ledger and the captures agree."""
    waiting = np.zeros(len(pairing.sent), bool)
    decided = subject.decisions
    if decided is None or not sent.ids.any():
        return None, waiting, None
    asked = np.zeros(len(waiting), np.int64)
    rows = decided.rows(sent.ids[pairing.sent])
    asked[rows >= 0] = decided.delay[rows[rows >= 0]]
    waiting[rows >= 0] = decided.waiting[rows[rows >= 0]]
    return asked, waiting, agreement(path, subject, sent, delivered, pairing)


def _percentile(values: I64, percent: float) -> int | None:
    return int(np.percentile(values, percent, method="inverted_cdf")) if len(values) else None
