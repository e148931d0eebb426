"""The wire without I/O: frames and times in, frames and the next deadline out.

An Ethernet switch that knows which node owns which MAC and gives each directed path its own faults. No sockets, no
clock, no global randomness: the same core runs under the TAP loop, on virtual time in the property tests, and in a
Compose sidecar. All times are integer nanoseconds of one monotonic clock, given by the caller.

What the core promises: a packet is delivered, dropped or waiting, and each is told to the recorder; order on a path
is kept unless a fault of that path may reorder; nothing waits without bound (`QUEUE_LIMIT`), and what does not fit is
dropped and recorded as such.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Protocol

from lab.engines.flows import FlowNames
from lab.faults import Fault, check_composition
from lab.faults.base import Change, Copies, Decider, Delay, Draw, Drop, Effect, Hold, Inject, Overtake, Stage
from lab.faults.match import Selected
from lab.packets import SYN, TCP, Packet
from lab.topology import Node

QUEUE_LIMIT = 32_768
"""Packets that may wait on one path: about 50 MB of full-sized frames."""
FLOW_LIMIT = 65_536
"""Flows remembered for one path; the oldest is forgotten first, and noted."""

Act = tuple[str, Effect, str]
"""(fault id, what it did, why)"""
Out = tuple[int, bytes]
"""(target node's index, frame)"""


class Recorder(Protocol):
    """Who writes down what the core decides. Node arguments are indices into the core's nodes."""

    def flow(self, number: int, path: PathState, label: str) -> None: ...
    def acts(self, acts: tuple[Act, ...]) -> int:
        """A number for this combination; the same for the same."""

    def passed(self, path: PathState, flow: Flow, packet_id: int, frame: bytes, payload_at: int, now: int) -> None:
        """Arrived, untouched and delivered in one step."""

    def decided(self, path: PathState, flow: Flow, packet_id: int, transit: Transit, now: int) -> None:
        """Arrived, and touched by a fault or sent to wait."""

    def delivered(self, path: PathState, transit: Transit, now: int) -> None: ...
    def note(self, kind: str, **fields: object) -> None: ...


@dataclass(slots=True, eq=False)
class Active:
    """A fault on a path, since when, and its id in the ledger."""

    fault: Fault
    id: str
    rank: int
    since: int
    shared: tuple[Selected | None, Decider] | None = None


Step = tuple[Active, Selected | None, Decider]


@dataclass(slots=True, eq=False)
class Flow:
    """One direction of one conversation on one path."""

    number: int
    label: str
    ordinal: int = 0
    first_seq: int | None = None
    generation: int = -1
    steps: tuple[Step, ...] = ()
    held: list[Transit] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class PathState:
    """One directed path: its flows, its faults and what waits on it."""

    name: str
    source: int
    target: int
    flows: dict[bytes, Flow] = field(default_factory=dict)
    active: tuple[Active, ...] = ()
    backward: tuple[Active, ...] = ()
    generation: int = 0
    plain: bool = True
    may_reorder: bool = False
    waiting: int = 0
    last_due: int = 0


@dataclass(slots=True, eq=False)
class Transit:
    """A packet on its way through the stages: one copy of it, what was done to it, when it leaves."""

    original: Packet
    packet: Packet
    packet_id: int
    flow: Flow
    frame: bytes
    arrived: int
    due: int
    delay: int = 0
    acts: tuple[Act, ...] = ()
    dropped: bool = False
    injected: bool = False
    overtakes: bool = False
    passes_left: int = 0
    detail: int = 0
    copies: int = 1


class Core:
    """The switch. `nodes` fixes the indices used everywhere; `forced_drops` replays a recorded run's drops.

    `forced_drops` maps (path, flow label) to the (ordinal, copy) pairs to drop; where given, no fault drops by itself.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        seed: int,
        recorder: Recorder | None,
        forced_drops: Mapping[tuple[str, str], frozenset[tuple[int, int]]] | None = None,
    ) -> None:
        self.nodes = tuple(nodes)
        self.seed = seed
        self.recorder = recorder
        self.forced_drops = forced_drops
        self._by_mac: list[dict[bytes, PathState]] = [{} for _ in nodes]
        self.paths: dict[str, PathState] = {}
        for source, a in enumerate(nodes):
            for target, b in enumerate(nodes):
                if source != target:
                    path = PathState(f"{a.name}->{b.name}", source, target)
                    self.paths[path.name] = path
                    self._by_mac[source][b.mac_bytes] = path
        self._names = FlowNames(nodes)
        self._heap: list[tuple[int, int, PathState, Transit]] = []
        self._pushed = 0
        self._packets = 0
        self._flows = 0
        self._faults = 0
        self.strays = 0

    # -- packets ---------------------------------------------------------------------------------------------------

    def receive(self, source: int, frame: bytes, now: int) -> list[Out]:
        """A frame that node `source` sent; returns what leaves at once. The rest waits for `release`."""
        path = self._by_mac[source].get(frame[:6])
        if path is None:
            return self._stray(source, frame, now)
        # The common case is spelled out for speed: IPv4 without options or fragments.
        if frame[12:15] == b"\x08\x00\x45" and not frame[20] & 0x3F and not frame[21] and len(frame) >= 54:
            key = frame[23:24] + frame[26:38]
            payload_at = min(34 + (frame[46] >> 2 & 0x3C), len(frame)) if frame[23] == TCP else 42
            may_open = frame[23] == TCP and frame[47] & SYN
        else:
            key, payload_at = self._names.key(frame)
            may_open = key[0] == TCP
        flow = path.flows.get(key)
        if flow is None:
            flow = self._new_flow(path, key, frame)
        flow.ordinal += 1
        self._packets += 1
        if path.plain and now >= path.last_due:
            if may_open:
                _note_syn(flow, Packet.parse(frame))
            if self.recorder is not None:
                self.recorder.passed(path, flow, self._packets, frame, payload_at, now)
            return [(path.target, frame)]
        return self._impair(path, flow, frame, now)

    def release(self, now: int) -> list[Out]:
        """What is due by `now`, in order of its due time."""
        out: list[Out] = []
        while self._heap and self._heap[0][0] <= now:
            _, _, path, transit = heappop(self._heap)
            path.waiting -= 1
            self._deliver(path, transit, now, out)
        return out

    @property
    def packets(self) -> int:
        """Frames seen so far, forged ones included."""
        return self._packets

    @property
    def waiting(self) -> int:
        """Packets delayed or held now."""
        return sum(path.waiting for path in self.paths.values())

    @property
    def deadline(self) -> int | None:
        """When `release` has something next; None where nothing waits for a time."""
        return self._heap[0][0] if self._heap else None

    def _impair(self, path: PathState, flow: Flow, frame: bytes, now: int) -> list[Out]:
        packet = Packet.parse(frame)
        packet.ordinal = flow.ordinal
        if packet.protocol == TCP:
            _note_syn(flow, packet)
            if flow.first_seq is not None:
                packet.stream_at = (packet.seq + bool(packet.flags & SYN) - flow.first_seq - 1) & 0xFFFFFFFF
        if flow.generation != path.generation:
            self._renew_steps(path, flow)
        transit = Transit(packet, packet, self._packets, flow, frame, now, now)
        out: list[Out] = []
        later: list[tuple[Transit, int]] = [(transit, 0)]
        forged: list[tuple[PathState, bytes, tuple[Act, ...]]] = []
        finished = []
        while later:
            copy, step = later.pop(0)
            self._stages(path, copy, step, later, forged)
            finished.append(copy)
        transit.copies = sum(not copy.dropped for copy in finished)
        for copy in finished:
            self._take_place(path, copy)
        for copy in finished:
            if self.recorder is not None and (copy is transit or copy.dropped):
                self.recorder.decided(path, flow, self._packets, copy, now)
        for copy in finished:
            if not copy.dropped:
                self._send_on(path, copy, now, out)
        for onto, forged_frame, acts in forged:
            self._inject(onto, forged_frame, acts, now, out)
        return out

    def _stages(
        self,
        path: PathState,
        transit: Transit,
        first: int,
        later: list[tuple[Transit, int]],
        forged: list[tuple[PathState, bytes, tuple[Act, ...]]],
    ) -> None:
        """Ask each fault in turn what becomes of one copy; copies made on the way join `later`."""
        flow = transit.flow
        forced = self._forced(path, flow, transit)
        if forced:
            transit.dropped, transit.acts = True, (*transit.acts, ("replay", Effect.DROPPED, "as recorded"))
            return
        for number in range(first, len(flow.steps)):
            active, selected, decide = flow.steps[number]
            at = transit.due - active.since
            if selected is not None and not selected(transit.packet, at):
                continue
            verdict = decide(transit.packet, at)
            if verdict is None:
                continue
            match verdict:
                case Drop():
                    if self.forced_drops is None:
                        transit.dropped = True
                        _act(transit, active, Effect.DROPPED, verdict.reason)
                        return
                case Delay():
                    if not (transit.overtakes and active.fault.stage == Stage.LATENCY):
                        transit.due += verdict.ns
                        transit.delay += verdict.ns
                        _act(transit, active, Effect.DELAYED, verdict.reason)
                case Copies():
                    _act(transit, active, Effect.DUPLICATED, verdict.reason)
                    for extra in range(1, verdict.extra + 1):
                        later.append((self._copy(transit, transit.packet.copy + extra), number + 1))
                case Change():
                    transit.packet = _changed(transit.packet, verdict.frame)
                    transit.frame, transit.detail = verdict.frame, verdict.detail
                    _act(transit, active, Effect.CHANGED, verdict.reason)
                case Hold():
                    transit.passes_left = verdict.passes
                    _act(transit, active, Effect.HELD, verdict.reason)
                case Overtake():
                    transit.overtakes = True
                    _act(transit, active, Effect.OVERTOOK, verdict.reason)
                case Inject():
                    acts: tuple[Act, ...] = ((active.id, Effect.INJECTED, verdict.reason),)
                    forged.extend((path, frame, acts) for frame in verdict.onward)
                    back = self._back(path)
                    forged.extend((back, frame, acts) for frame in verdict.back)
                    if verdict.onward:
                        transit.dropped = True
                        _act(transit, active, Effect.DROPPED, verdict.reason)
                        return

    def _forced(self, path: PathState, flow: Flow, transit: Transit) -> bool:
        if self.forced_drops is None:
            return False
        drops = self.forced_drops.get((path.name, flow.label), frozenset())
        return (transit.packet.ordinal, transit.packet.copy) in drops

    def _copy(self, transit: Transit, copy: int) -> Transit:
        packet = _changed(transit.packet, transit.frame)
        packet.copy = copy
        return Transit(
            transit.original,
            packet,
            transit.packet_id,
            transit.flow,
            transit.frame,
            transit.arrived,
            transit.due,
            transit.delay,
            transit.acts,
        )

    def _take_place(self, path: PathState, transit: Transit) -> None:
        """Order and room: a packet leaves after those before it, unless its path may reorder, and only if it fits."""
        if transit.dropped:
            return
        if not path.may_reorder and not transit.overtakes and not transit.passes_left:
            transit.due = max(transit.due, path.last_due)
        must_wait = transit.due > transit.arrived or transit.passes_left
        if must_wait and path.waiting >= QUEUE_LIMIT:
            transit.dropped = True
            transit.acts = (
                *transit.acts,
                ("wire", Effect.DROPPED, f"queue full: {QUEUE_LIMIT} packets wait"),
            )
            return
        if must_wait:
            path.waiting += 1
        path.last_due = max(path.last_due, transit.due)

    def _send_on(self, path: PathState, transit: Transit, now: int, out: list[Out]) -> None:
        if transit.passes_left:
            transit.flow.held.append(transit)
        elif transit.due > now:
            self._push(path, transit)
        else:
            self._deliver(path, transit, now, out)

    def _push(self, path: PathState, transit: Transit) -> None:
        self._pushed += 1
        heappush(self._heap, (transit.due, self._pushed, path, transit))

    def _deliver(self, path: PathState, transit: Transit, now: int, out: list[Out]) -> None:
        out.append((path.target, transit.frame))
        if self.recorder is not None:
            self.recorder.delivered(path, transit, now)
        if transit.flow.held:
            self._count_pass(path, transit, now, out)

    def _count_pass(self, path: PathState, passed: Transit, now: int, out: list[Out]) -> None:
        flow = passed.flow
        freed = []
        for held in flow.held:
            if passed.packet_id > held.packet_id:
                held.passes_left -= 1
                if held.passes_left <= 0:
                    freed.append(held)
        if freed:
            flow.held = [held for held in flow.held if held.passes_left > 0]
            self._free(path, freed, now, out)

    def _free(self, path: PathState, freed: list[Transit], now: int, out: list[Out]) -> None:
        for transit in freed:
            transit.passes_left = 0
            if transit.due > now:
                self._push(path, transit)
            else:
                path.waiting -= 1
                self._deliver(path, transit, now, out)

    def _inject(self, path: PathState, frame: bytes, acts: tuple[Act, ...], now: int, out: list[Out]) -> None:
        """A forged frame follows what already waits on its path; no fault touches it."""
        key, _ = self._names.key(frame)
        flow = path.flows.get(key) or self._new_flow(path, key, frame)
        self._packets += 1
        packet = Packet.parse(frame)
        transit = Transit(packet, packet, self._packets, flow, frame, now, now, acts=acts, injected=True)
        self._take_place(path, transit)
        if self.recorder is not None:
            self.recorder.decided(path, flow, self._packets, transit, now)
        if not transit.dropped:
            self._send_on(path, transit, now, out)

    def _stray(self, source: int, frame: bytes, now: int) -> list[Out]:
        """To no node of the lab (broadcast, multicast, a stranger): dropped, counted, and the first ones noted."""
        self.strays += 1
        if self.recorder is not None and self.strays <= 100:
            self.recorder.note("stray", node=self.nodes[source].name, t=now, head=frame[:64].hex())
        return []

    # -- flows -----------------------------------------------------------------------------------------------------

    def _new_flow(self, path: PathState, key: bytes, frame: bytes) -> Flow:
        self._flows += 1
        flow = Flow(self._flows, self._names.label(key))
        if len(path.flows) >= FLOW_LIMIT:
            # QUEUE_LIMIT is smaller than FLOW_LIMIT, so there is always one that holds nothing.
            oldest = next(key for key, old in path.flows.items() if not old.held)
            self._note("flow-forgotten", path=path.name, flow=path.flows.pop(oldest).label)
        path.flows[key] = flow
        if key[0] == TCP:
            _note_syn(flow, Packet.parse(frame))
        if self.recorder is not None:
            self.recorder.flow(flow.number, path, flow.label)
        return flow

    # -- faults ----------------------------------------------------------------------------------------------------

    def set_faults(self, name: str, faults: Sequence[Fault], now: int) -> list[Out]:
        """Make `faults` all that is on this path from `now` on; a fault already there keeps its state.

        Returns frames freed: without a fault that holds, held packets go on. UsageError where faults clash.
        """
        check_composition(faults)
        path = self.paths[name]
        kept = list(path.active)
        active = []
        for rank, fault in _ranked(faults):
            old = next((one for one in kept if one.fault == fault), None)
            if old is not None:
                kept.remove(old)
            active.append(old if old is not None else self._activate(path, fault, rank, now))
        for gone in kept:
            self._note("fault-cleared", id=gone.id, path=name, t=now)
        path.active = tuple(active)
        back = self._back(path)
        back.backward = tuple(one for one in map(_turned, active) if one is not None)
        self._refresh(path)
        self._refresh(back)
        return self._let_go(path, now)

    def faults(self, name: str) -> tuple[Fault, ...]:
        return tuple(active.fault for active in self.paths[name].active)

    def _activate(self, path: PathState, fault: Fault, rank: int, now: int) -> Active:
        self._faults += 1
        active = Active(fault, f"f{self._faults}", rank, now)
        if fault.per_path:
            active.shared = (fault.match.selector(), fault.decider(self._draw(path, active, "*")))
        self._note(
            "fault-set",
            id=active.id,
            path=path.name,
            t=now,
            fault=fault.kind,
            describe=fault.describe(),
            leaves=sorted(fault.leaves),
        )
        return active

    def _draw(self, path: PathState, active: Active, flow: str) -> Draw:
        return Draw(self.seed, path.name, active.fault.kind, active.rank, flow)

    def _renew_steps(self, path: PathState, flow: Flow) -> None:
        old = {step[0].id: step for step in flow.steps}
        steps: list[Step] = []
        for active in (*path.active, *path.backward):
            if active.shared is not None:
                steps.append((active, *active.shared))
            elif active.id in old:
                steps.append(old[active.id])
            else:
                fault = active.fault
                steps.append((active, fault.match.selector(), fault.decider(self._draw(path, active, flow.label))))
        flow.steps, flow.generation = tuple(steps), path.generation

    def _refresh(self, path: PathState) -> None:
        path.generation += 1
        path.may_reorder = any(active.fault.reorders for active in path.active)
        path.plain = not path.active and not path.backward and not self.forced_drops

    def _let_go(self, path: PathState, now: int) -> list[Out]:
        out: list[Out] = []
        if not path.may_reorder:
            for flow in path.flows.values():
                freed, flow.held = flow.held, []
                self._free(path, freed, now, out)
        return out

    def _back(self, path: PathState) -> PathState:
        return self.paths[f"{self.nodes[path.target].name}->{self.nodes[path.source].name}"]

    def _note(self, kind: str, **fields: object) -> None:
        if self.recorder is not None:
            self.recorder.note(kind, **fields)


def _ranked(faults: Sequence[Fault]) -> list[tuple[int, Fault]]:
    """In the order they act, each with its number among those of its kind: adding one kind never re-seeds another."""
    counts: dict[str, int] = {}
    ranked = []
    for fault in sorted(faults, key=lambda fault: fault.stage):
        counts[fault.kind] = counts.get(fault.kind, 0) + 1
        ranked.append((counts[fault.kind], fault))
    return ranked


def _turned(active: Active) -> Active | None:
    """The part of a fault that acts on the way back."""
    if active.shared is None:
        return None
    backward = active.fault.backward(active.shared[1])
    if backward is None:
        return None
    return Active(active.fault, active.id, active.rank, active.since, (None, backward))


def _act(transit: Transit, active: Active, effect: Effect, reason: str) -> None:
    transit.acts = (*transit.acts, (active.id, effect, reason))


def _changed(packet: Packet, frame: bytes) -> Packet:
    changed = Packet.parse(frame)
    changed.ordinal, changed.copy, changed.stream_at = packet.ordinal, packet.copy, packet.stream_at
    return changed


def _note_syn(flow: Flow, packet: Packet) -> None:
    if packet.flags & SYN:
        flow.first_seq = packet.seq
