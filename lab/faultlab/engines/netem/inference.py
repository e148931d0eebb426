"""The ledger that netem does not keep, inferred: each packet as sent is matched with what was delivered.

By content: the same bytes at the target are the same packet; bytes that differ in one bit, where corruption was asked
for, are it too, changed. What has no match was dropped; what has two was duplicated. Identical packets are told apart
by time: each delivery goes to the sending whose delay comes nearest to what was asked. The acts are those of the faults
that were on the path when the packet was sent, so a packet lost by accident under a loss fault counts as lost by it:
this is why the ledger's first note says `inferred`.

Pure: packets and settings in, fates out. All times are monotonic nanoseconds.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

from faultlab.engines.netem.options import Netem
from faultlab.faults.base import Effect, FaultAct
from faultlab.network.topology import PathEnds

Frame = bytes | memoryview

LOSING = ("partition", "loss", "burst-loss")
"""Kinds that drop, the one that explains most first."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What a path had for a while: netem's options, and `faults`, kind -> (id in the ledger, words for people)."""

    netem: Netem
    faults: Mapping[str, tuple[str, str]]

    def explains(self, delay: int | None) -> bool:
        """Whether a packet may have met this delay, or (None) its end, here."""
        if delay is None:
            return any(kind in self.faults for kind in LOSING) or bool(self.netem.rate)
        return delay >= self.netem.least_delay or self.netem.reorder > 0


NOTHING = Setting(Netem(), {})


@dataclass(frozen=True, slots=True)
class SentPacket:
    """A packet as sent. `settings` is what its path had; two where it was being changed just then."""

    ends: PathEnds
    time: int
    frame: Frame
    settings: tuple[Setting, ...]


@dataclass(frozen=True, slots=True)
class DeliveredPacket:
    """A packet as delivered to node `target`."""

    target: int
    time: int
    frame: Frame


@dataclass(frozen=True, slots=True)
class Departure:
    """One copy of a sent packet that left: the number of its arrival, and what was done to it."""

    arrival: int
    acts: tuple[FaultAct, ...]
    asked_delay: int
    flipped_bit: int | None


@dataclass(slots=True)
class InferredFate:
    """What became of one sent packet: it left, once or more; or it is `waiting` in the qdisc; or it was dropped."""

    departures: list[Departure] = field(default_factory=list)
    waiting: bool = False
    acts: tuple[FaultAct, ...] = ()

    @property
    def dropped(self) -> bool:
        return not self.departures and not self.waiting


def infer(
    sent: Sequence[SentPacket], arrivals: Sequence[DeliveredPacket], waiting: Mapping[PathEnds, int]
) -> tuple[list[InferredFate], list[int]]:
    """A fate for each sent packet, and the numbers of the arrivals that nobody sent.

    `sent` and `arrivals` are in order of time; `waiting` says how many packets each path's qdisc still held at the end.
    """
    same, strangers = _match(sent, arrivals)
    bent, strangers = _match_bent(sent, arrivals, same, strangers)
    fates = [InferredFate() for _ in sent]
    for number, numbers in (*same.items(), *bent.items()):
        for arrival in numbers:
            fates[number].departures.append(_departure(sent[number], arrivals[arrival], arrival))
    for fate in fates:
        fate.departures.sort(key=lambda departure: departure.arrival)
    _keep_waiting(sent, fates, dict(waiting))
    for one, fate in zip(sent, fates, strict=True):
        fate.acts = _acts(one, fate)
    return fates, strangers


# -- who is who --------------------------------------------------------------------------------------------------------

Matches = dict[int, list[int]]
"""Number of the sent packet -> numbers of its arrivals."""


def _match(sent: Sequence[SentPacket], arrivals: Sequence[DeliveredPacket]) -> tuple[Matches, list[int]]:
    """Pairs by equal content, and the arrivals left over."""
    groups: dict[tuple[int, bytes], tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    for number, one in enumerate(sent):
        groups[one.ends[1], _digest(one.frame)][0].append(number)
    for number, arrival in enumerate(arrivals):
        groups[arrival.target, _digest(arrival.frame)][1].append(number)
    matches: Matches = defaultdict(list)
    strangers: list[int] = []
    for senders, receivers in groups.values():
        of_group = [sent[number] for number in senders]
        known = [number for number in receivers if of_group and of_group[0].time <= arrivals[number].time]
        strangers += receivers[: len(receivers) - len(known)]
        if known:
            times = [arrivals[number].time for number in known]
            for receiver, chosen in zip(known, _assign(of_group, times), strict=True):
                matches[senders[chosen]].append(receiver)
    return matches, sorted(strangers)


def _assign(sent: Sequence[SentPacket], times: Sequence[int]) -> list[int]:
    """For each arrival of identical packets the sending it belongs to, which came before it."""
    begun = [one.time for one in sent]
    expected = [one.time + _asked(one) for one in sent]
    before = [bisect_right(begun, time) for time in times]
    if any(_may_repeat(one) and _may_lose(one) for one in sent):
        return _nearest(expected, times, before)
    return _in_order(expected, times, before)


def _nearest(expected: Sequence[int], times: Sequence[int], before: Sequence[int]) -> list[int]:
    """For copies and losses at the same time. `before[i]` sendings came before arrival i."""
    order = sorted(range(len(expected)), key=expected.__getitem__)
    ordered = [expected[number] for number in order]
    chosen = []
    for time, sendings in zip(times, before, strict=True):
        after = bisect_left(ordered, time)
        best = after - 1
        for at in range(after, len(order)):
            if best >= 0 and _is_nearer(ordered, best, at, time):
                break
            if order[at] < sendings:
                best = at
                break
        chosen.append(order[best])
    return chosen


def _in_order(expected: Sequence[int], times: Sequence[int], before: Sequence[int]) -> list[int]:
    """For losses or copies, never both: each sending is used once, but for as many as sendings and arrivals differ.

    `before[i]` sendings came before arrival i. Where each of those has its arrival already, this one is a copy.
    """
    chosen, at, copies = [], 0, len(times) - len(expected)
    for time, sendings in zip(times, before, strict=True):
        while copies < 0 and at + 1 < sendings and _is_nearer(expected, at + 1, at, time):
            at, copies = at + 1, copies + 1
        if at >= sendings or (copies > 0 and at > 0 and _is_nearer(expected, at - 1, at, time)):
            copies -= 1
            chosen.append(at - 1)
        else:
            chosen.append(at)
            at += 1
    return chosen


def _is_nearer(expected: Sequence[int], one: int, other: int, time: int) -> bool:
    return abs(expected[one] - time) <= abs(expected[other] - time)


def _match_bent(
    sent: Sequence[SentPacket], arrivals: Sequence[DeliveredPacket], same: Matches, strangers: Iterable[int]
) -> tuple[Matches, list[int]]:
    """Pairs that differ in one bit, where corruption was asked for: the half that is whole finds them."""
    halves: dict[tuple[int, int, int, bytes], list[int]] = defaultdict(list)
    strangers = list(strangers)
    if strangers:
        for number, one in enumerate(sent):
            if any(setting.netem.corrupt for setting in one.settings):
                for key in _halves(one.ends[1], one.frame):
                    halves[key].append(number)
    matches: Matches = defaultdict(list)
    left = []
    for stranger in strangers:
        arrival = arrivals[stranger]
        near = {number for key in _halves(arrival.target, arrival.frame) for number in halves.get(key, ())}
        fits = [n for n in near if sent[n].time <= arrival.time and _flipped(sent[n].frame, arrival.frame) is not None]
        if not fits:
            left.append(stranger)
            continue
        best = min(
            fits,
            key=lambda n, at=arrival.time: (n in same or n in matches, abs(sent[n].time + _asked(sent[n]) - at), n),  # type: ignore[misc]
        )
        matches[best].append(stranger)
    return matches, left


def _digest(frame: Frame) -> bytes:
    return blake2b(frame, digest_size=16).digest()


def _halves(target: int, frame: Frame) -> tuple[tuple[int, int, int, bytes], ...]:
    middle = len(frame) // 2
    return (target, len(frame), 0, _digest(frame[:middle])), (target, len(frame), 1, _digest(frame[middle:]))


def _flipped(one: Frame, other: Frame) -> int | None:
    """The number, from the frame's first bit, of the one bit in which frames of one size differ; else None."""
    difference = int.from_bytes(one, "big") ^ int.from_bytes(other, "big")
    if difference.bit_count() != 1:
        return None
    return len(one) * 8 - difference.bit_length()


def _asked(one: SentPacket) -> int:
    return one.settings[0].netem.delay


def _may_repeat(one: SentPacket) -> bool:
    return any(setting.netem.duplicate for setting in one.settings)


def _may_lose(one: SentPacket) -> bool:
    return any(setting.explains(None) for setting in one.settings)


# -- what was done -----------------------------------------------------------------------------------------------------


def _departure(one: SentPacket, arrival: DeliveredPacket, number: int) -> Departure:
    delay = arrival.time - one.time
    setting = _setting(one, delay)
    netem, faults = setting.netem, setting.faults
    acts: list[FaultAct] = []
    bit = _flipped(one.frame, arrival.frame)
    if bit is not None:
        acts.append(_act(faults, "corrupt", Effect.CHANGED))
    overtook = netem.reorder > 0 and delay < netem.least_delay
    if overtook:
        acts.append(_act(faults, "reorder", Effect.OVERTOOK))
    elif "latency" in faults:
        acts.append(_act(faults, "latency", Effect.DELAYED))
    if netem.rate and not overtook:
        acts.append(_act(faults, "rate", Effect.DELAYED))
    varies = netem.jitter or netem.rate
    asked = 0 if overtook or not acts else delay if varies else netem.delay
    return Departure(number, tuple(acts), asked, bit)


def _setting(one: SentPacket, delay: int | None) -> Setting:
    """Of what the path had, the first with faults that explains the packet's fate."""
    fitting = [setting for setting in one.settings if setting.explains(delay)]
    return next((setting for setting in fitting if setting.faults), fitting[0] if fitting else one.settings[0])


def _acts(one: SentPacket, fate: InferredFate) -> tuple[FaultAct, ...]:
    """Of the packet as a whole: those of its first copy, and that it was copied."""
    if fate.dropped:
        setting = _setting(one, None)
        losing = next((kind for kind in LOSING if kind in setting.faults), None)
        if losing is not None:
            return (_act(setting.faults, losing, Effect.DROPPED),)
        if setting.netem.rate:
            name, words = setting.faults["rate"]
            return ((name, Effect.DROPPED, f"queue full: {words}"),)
        return (("netem", Effect.DROPPED, "lost, and no fault explains it"),)
    if fate.waiting:
        return ()
    if len(fate.departures) > 1:
        faults = next((setting.faults for setting in one.settings if setting.netem.duplicate), {})
        copied = _act(faults, "duplicate", Effect.DUPLICATED)
        fate.departures = [
            Departure(one.arrival, (copied, *one.acts), one.asked_delay, one.flipped_bit) for one in fate.departures
        ]
    return fate.departures[0].acts


def _act(faults: Mapping[str, tuple[str, str]], kind: str, effect: Effect) -> FaultAct:
    name, words = faults.get(kind, ("netem", "no fault explains it"))
    return name, effect, words


def _keep_waiting(sent: Sequence[SentPacket], fates: Sequence[InferredFate], waiting: dict[PathEnds, int]) -> None:
    """The last packets of a path that did not arrive are those that its qdisc still held."""
    for one, fate in zip(reversed(sent), reversed(fates), strict=True):
        if fate.dropped and waiting.get(one.ends, 0) > 0:
            waiting[one.ends] -= 1
            fate.waiting = True
