"""The faults of a path, one after the other: each is asked about a packet, and its verdict carried out on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from faultlab.engines.transit import Active, DecidingFault, PathState, Transit
from faultlab.faults.base import (
    ChangePacket,
    CopyPacket,
    DelayPacket,
    DropPacket,
    Effect,
    FaultAct,
    HoldPacket,
    InjectPackets,
    OvertakePackets,
    Stage,
)
from faultlab.network.packets import Packet
from faultlab.network.sendings import RecordedFate, Sending

Recorded = Mapping[Sending, RecordedFate]
"""The packets of a flow to drop again."""


@dataclass(slots=True, eq=False)
class Forged:
    """A frame that a fault made: `back` to the sender, or onward in its packet's place."""

    frame: bytes
    back: bool
    acts: tuple[FaultAct, ...]


@dataclass(slots=True, eq=False)
class Passage:
    """One packet's way through the faults. `family` is the packet and its copies so far, in the order they were made.

    `only_drop` is set in a replay: no other packet of the flow is dropped, but by a full queue. `at_link` says that the
    wait for the link is over.
    """

    path: PathState
    now: int
    only_drop: Recorded | None
    family: list[Transit]
    forged: list[Forged]
    at_link: bool = False


def walk(passage: Passage, transit: Transit, steps: tuple[DecidingFault, ...]) -> None:
    """Take one copy from its step to the last one, or to where it ends or has to wait; copies join the family."""
    replays = bool(passage.only_drop)
    for number in range(transit.step, len(steps)):
        active, selected, decide = steps[number]
        transit.step = number
        if active.is_link and transit.overtakes:
            continue
        if active.is_link and not passage.at_link and _waits_for_link(passage, transit, active, selected is None):
            return
        at = transit.due - active.since
        verdict = decide(transit.packet, at) if selected is None or selected(transit.packet, at) else None
        if replays and not isinstance(verdict, DropPacket | InjectPackets) and _recorded(passage, transit) == active.id:
            verdict = _AS_RECORDED
        if verdict is not None:
            _CARRY_OUT[type(verdict)](passage, transit, active, verdict)
            if transit.dropped:
                return
    if replays and _recorded(passage, transit) is not None:
        transit.drop("replay", _AS_RECORDED.reason)


def _waits_for_link(passage: Passage, transit: Transit, active: Active, is_for_all: bool) -> bool:
    """A packet meets the link when it gets there; in order: after all that was on its way when the faults changed.

    A link that all packets take is one queue, which they join as they come (sch_netem: with a rate, none is sent before
    the last in the queue), so that jitter before it reorders nothing.
    """
    path = passage.path
    if is_for_all:
        behind = path.link_due - transit.due
        if behind > 0:
            _delay(passage, transit, active, DelayPacket(behind, "in order"))
        path.link_due = transit.due
    if not path.may_reorder:
        transit.due = max(transit.due, path.floor)
    transit.before_link = transit.due > passage.now or transit.passes_left > 0
    return transit.before_link


def _recorded(passage: Passage, transit: Transit) -> str | None:
    """In a replay: the fault that dropped this copy in the first run. It drops it again, whatever it decides now; where
    it is not there now, the replay itself does.

    A packet may have more copies now than then, or fewer. One that was lost is lost again, with every copy; one of
    which a copy arrived loses the others only where there are others.
    """
    if not passage.only_drop:
        return None
    fates = [passage.only_drop[name] for name in transit.names if name in passage.only_drop]
    copy = transit.packet.copy
    for fate in fates:
        if not fate.arrived:
            return fate.dropped.get(copy) or next(iter(fate.dropped.values()))
    if any(other is not transit and not other.dropped for other in passage.family):
        return next((fate.dropped[copy] for fate in fates if copy in fate.dropped), None)
    return None


def _drop(passage: Passage, transit: Transit, active: Active, verdict: DropPacket) -> None:
    if passage.only_drop is None or active.is_link or _recorded(passage, transit) == active.id:
        transit.drop(active.id, verdict.reason)


def _delay(passage: Passage, transit: Transit, active: Active, verdict: DelayPacket) -> None:
    if transit.overtakes and active.fault.stage == Stage.LATENCY:
        return
    transit.due += verdict.ns
    transit.delay += verdict.ns
    transit.act(active.id, Effect.DELAYED, verdict.reason)


def _copy(passage: Passage, transit: Transit, active: Active, verdict: CopyPacket) -> None:
    transit.act(active.id, Effect.DUPLICATED, verdict.reason)
    for _ in range(verdict.extra):
        packet = _reparsed(transit.packet, transit.frame)
        packet.copy = len(passage.family)
        passage.family.append(replace(transit, packet=packet, step=transit.step + 1))


def _change(passage: Passage, transit: Transit, active: Active, verdict: ChangePacket) -> None:
    transit.packet = _reparsed(transit.packet, verdict.frame)
    transit.frame, transit.detail = verdict.frame, verdict.detail
    transit.act(active.id, Effect.CHANGED, verdict.reason)


def _hold(passage: Passage, transit: Transit, active: Active, verdict: HoldPacket) -> None:
    transit.passes_left, transit.holder = verdict.passes, active
    transit.act(active.id, Effect.HELD, verdict.reason)


def _overtake(passage: Passage, transit: Transit, active: Active, verdict: OvertakePackets) -> None:
    transit.overtakes = True
    transit.act(active.id, Effect.OVERTOOK, verdict.reason)


def _inject(passage: Passage, transit: Transit, active: Active, verdict: InjectPackets) -> None:
    acts: tuple[FaultAct, ...] = ((active.id, Effect.INJECTED, verdict.reason),)
    passage.forged += [Forged(frame, False, acts) for frame in verdict.onward]
    passage.forged += [Forged(frame, True, acts) for frame in verdict.back]
    if verdict.onward:
        transit.drop(active.id, verdict.reason)


def _reparsed(packet: Packet, frame: bytes) -> Packet:
    """The packet that these bytes are now; it stays the same one of its flow."""
    changed = Packet.parse(frame)
    changed.ordinal, changed.copy, changed.stream_at = packet.ordinal, packet.copy, packet.stream_at
    return changed


_AS_RECORDED = DropPacket("as recorded")
_CARRY_OUT: dict[type, Callable[[Passage, Transit, Active, Any], None]] = {
    DropPacket: _drop,
    DelayPacket: _delay,
    CopyPacket: _copy,
    ChangePacket: _change,
    HoldPacket: _hold,
    OvertakePackets: _overtake,
    InjectPackets: _inject,
}
