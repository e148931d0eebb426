"""The wire without I/O: frames and times in, frames and the next deadline out.

An Ethernet switch that knows which node owns which MAC and gives each directed path its own faults. No sockets, no
clock, no global randomness: the same core runs under the TAP loop, on virtual time in the property tests, and in a
Compose sidecar. All times are integer nanoseconds of one monotonic clock, given by the caller, and never go back.

What the core promises: a packet is delivered, dropped or waiting, and each is told to the recorder; order on a path
is kept unless a fault of that path may reorder; nothing waits without bound (`QUEUE_LIMIT`), and what does not fit is
dropped and recorded as such.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from heapq import heappop, heappush
from struct import Struct

from faultlab.engines.flow_names import FlowNames
from faultlab.engines.transit import Active, DecidingFault, Out, PathFlow, PathState, Recorder, Transit
from faultlab.engines.wire.receiver import Receiver
from faultlab.engines.wire.stages import Forged, Passage, Recorded, walk
from faultlab.faults import Fault, check_composition, fault_to_json
from faultlab.faults.base import ChangePacket, Draw, Effect, Stage
from faultlab.network.packets import (
    ETHERNET_HEADER,
    IPV4,
    RST,
    SYN,
    TCP,
    UDP,
    Packet,
    checksum_right,
    stream_offset,
    with_sequence,
)
from faultlab.network.sendings import STREAM, Sendings
from faultlab.network.topology import Node

QUEUE_LIMIT = 32_768
"""Packets that may wait on one path: about 50 MB of full-sized frames."""
FLOW_LIMIT = 65_536
"""Flows remembered for one path; the oldest is forgotten first, and noted."""
NOTED_STRAYS = 100

_IP_START = Struct("!12xIH2xHxB").unpack_from
"""Ethertype with the first two bytes of IP; then of IPv4: total length, fragment, protocol."""
_IPV4_START = IPV4 << 8 | 0x45
_NOT_IP = (0, 0, 0, 0)


class Core:
    """The switch. `nodes` fixes the indices used everywhere; `forced_drops` replays a recorded run's drops.

    `forced_drops` maps (path, flow label) to the sendings to drop, with their fates; where given, no others are
    dropped but by a full queue.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        seed: int,
        recorder: Recorder | None,
        forced_drops: Mapping[tuple[str, str], Recorded] | None = None,
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
                    path = PathState(f"{a.name}->{b.name}", source, target, plain=forced_drops is None)
                    self.paths[path.name] = path
                    self._by_mac[source][b.mac_bytes] = path
        self._names = FlowNames(nodes)
        self._heap: list[tuple[int, int, PathState, Transit]] = []
        self._pushed = 0
        self._packets = 0
        self._flows = 0
        self._faults = 0
        self.strays = 0

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

    # -- packets ---------------------------------------------------------------------------------------------------

    def receive(self, source: int, frame: bytes, now: int) -> list[Out]:
        """A frame that node `source` sent; returns what leaves at once. The rest waits for `release`."""
        path = self._by_mac[source].get(frame[:6])
        if path is None:
            return self._stray(source, frame, now)
        # Nearly every packet takes one of the first two branches, so these are spelled out for speed.
        size = len(frame)
        start, total, fragment, protocol = _IP_START(frame) if size >= 54 else _NOT_IP
        quick = start >> 8 == _IPV4_START and total == size - ETHERNET_HEADER and not fragment & 0x3FFF
        if quick and protocol == UDP:
            key, payload_at = frame[23:24] + frame[26:38], 42
        elif quick and protocol == TCP and not frame[47] & SYN:
            key, payload_at = frame[23:24] + frame[26:38], min(34 + (frame[46] >> 2 & 0x3C), size)
        else:
            found = _ipv6_key(frame)
            quick = found is not None
            key, payload_at = found or self._names.key(frame)
        flow = path.flows.get(key)
        if flow is None:
            flow = self._new_flow(path, key)
        flow.ordinal += 1
        self._packets += 1
        if path.plain and not path.waiting:
            if not quick:
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
            self._go_on(path, transit, now, out)
        return out

    def _impair(self, path: PathState, flow: PathFlow, frame: bytes, now: int) -> list[Out]:
        """Through the faults of the path: one packet in; it and its copies each get a fate of their own."""
        # What is due goes first, or this packet would overtake it.
        out = self.release(now) if self._heap and self._heap[0][0] <= now else []
        packet = Packet.parse(frame)
        packet.ordinal = flow.ordinal
        _note_syn(flow, packet)
        if packet.protocol == TCP and flow.first_seq is not None:
            packet.stream_at = stream_offset(packet, flow.first_seq)
        transit = Transit(packet, packet, self._packets, flow, frame, now, now)
        if flow.sendings is not None:
            transit.names = flow.sendings.names(packet)
        passage = self._passage(path, transit, now)
        steps = self._steps(path, flow)
        for copy in passage.family:
            walk(passage, copy, steps)
            if not path.may_reorder and not copy.before_link:
                copy.due = max(copy.due, path.last_due)
            self._find_room(path, copy, now)
        transit.copies = sum([not copy.dropped for copy in passage.family])
        if self.recorder is not None:
            for copy in passage.family:
                if copy is transit or copy.dropped:
                    self.recorder.decided(path, flow, transit.packet_id, copy, now)
        for copy in passage.family:
            self._send_on(path, copy, now, out)
        for forged in passage.forged:
            self._inject(path, flow, forged, now, out)
        return out

    def _resume(self, path: PathState, transit: Transit, now: int, out: list[Out]) -> None:
        """A packet's turn at the link has come, as the link is now."""
        transit.before_link, transit.due = False, now
        steps = self._steps(path, transit.flow)
        transit.step = sum(not step[0].is_link for step in steps)
        decided = len(transit.acts)
        passage = self._passage(path, transit, now)
        passage.at_link = True
        walk(passage, transit, steps)
        self._find_room(path, transit, now)
        if self.recorder is not None and len(transit.acts) > decided:
            self.recorder.decided_later(path, transit)
        self._send_on(path, transit, now, out)

    def _passage(self, path: PathState, transit: Transit, now: int) -> Passage:
        only = None
        if self.forced_drops is not None:
            only = self.forced_drops.get((path.name, transit.flow.label), {})
        return Passage(path, now, only, [transit], [])

    def _find_room(self, path: PathState, transit: Transit, now: int) -> None:
        """A packet waits only where it fits."""
        if transit.dropped:
            return
        if transit.due > now or transit.passes_left:
            if path.waiting >= QUEUE_LIMIT:
                transit.drop("wire", f"queue full: {QUEUE_LIMIT} packets wait")
                return
            path.waiting += 1
        path.last_due = max(path.last_due, transit.due)

    def _send_on(self, path: PathState, transit: Transit, now: int, out: list[Out]) -> None:
        if transit.dropped:
            return
        if transit.passes_left:
            transit.flow.held.append(transit)
        elif transit.due > now:
            self._push(path, transit)
        else:
            self._go_on(path, transit, now, out)

    def _push(self, path: PathState, transit: Transit) -> None:
        self._pushed += 1
        heappush(self._heap, (transit.due, self._pushed, path, transit))

    def _go_on(self, path: PathState, transit: Transit, now: int, out: list[Out]) -> None:
        if transit.before_link:
            self._resume(path, transit, now, out)
        else:
            self._deliver(path, transit, now, out)

    def _deliver(self, path: PathState, transit: Transit, now: int, out: list[Out]) -> None:
        if path.watched and transit.packet.protocol == TCP:
            _watch(transit)
        out.append((path.target, transit.frame))
        if self.recorder is not None:
            self.recorder.delivered(path, transit, now)
        if transit.flow.held and not transit.injected:
            self._count_pass(path, transit, now, out)

    def _count_pass(self, path: PathState, passed: Transit, now: int, out: list[Out]) -> None:
        flow = passed.flow
        for held in flow.held:
            held.passes_left -= passed.packet_id > held.packet_id
        freed = [held for held in flow.held if held.passes_left <= 0]
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
                self._go_on(path, transit, now, out)

    def _inject(self, path: PathState, cause: PathFlow, forged: Forged, now: int, out: list[Out]) -> None:
        """Onward, a forged frame follows all that waits on the path; back, it goes at once. No fault touches it."""
        onto = self._back(path) if forged.back else path
        frame = _turned_back(onto, forged.frame, now) if forged.back else forged.frame
        key, _ = self._names.key(frame)
        flow = onto.flows.get(key) or self._new_flow(onto, key)
        self._packets += 1
        packet = Packet.parse(frame)
        due = now if forged.back else max(now, onto.last_due)
        there = onto.flows.get(self._names.key(forged.frame)[0]) if forged.back else cause
        transit = Transit(
            packet, packet, self._packets, flow, frame, now, due, acts=forged.acts, injected=True,
            receiver=there.receiver if there is not None else None,
        )  # fmt: skip
        self._find_room(onto, transit, now)
        if self.recorder is not None:
            self.recorder.decided(onto, flow, self._packets, transit, now)
        self._send_on(onto, transit, now, out)

    def _stray(self, source: int, frame: bytes, now: int) -> list[Out]:
        """To no node of the lab (broadcast, multicast, a stranger): dropped, counted, and the first ones noted."""
        self.strays += 1
        if self.strays <= NOTED_STRAYS:
            self._note("stray", node=self.nodes[source].name, t=now, head=frame[:64].hex())
        return []

    # -- flows -----------------------------------------------------------------------------------------------------

    def _new_flow(self, path: PathState, key: bytes) -> PathFlow:
        self._flows += 1
        label, sendings = self._names.label(key), None
        if self.forced_drops is not None:
            forced = self.forced_drops.get((path.name, label), {})
            sendings = Sendings({(one.what, one.at) for one in forced if one.what in STREAM})
        flow = PathFlow(self._flows, label, sendings)
        if len(path.flows) >= FLOW_LIMIT:
            # QUEUE_LIMIT is smaller than FLOW_LIMIT, so there is always one that holds nothing.
            oldest = next(key for key, old in path.flows.items() if not old.held)
            self._note("flow-forgotten", path=path.name, flow=path.flows.pop(oldest).label)
        path.flows[key] = flow
        if self.recorder is not None:
            self.recorder.flow(flow.number, path, flow.label)
        return flow

    def _steps(self, path: PathState, flow: PathFlow) -> tuple[DecidingFault, ...]:
        """The faults that the flow meets, with its own state of each; what acts on the way back of a NAT is first."""
        if flow.generation != path.generation:
            known = {step[0]: step for step in flow.steps}
            own = tuple(known.get(active) or self._step(path, flow, active) for active in path.active)
            flow.steps, flow.generation = (*path.backward, *own), path.generation
        return flow.steps

    def _step(self, path: PathState, flow: PathFlow, active: Active) -> DecidingFault:
        decider = active.decider or active.fault.decider(self._draw(path, active, flow.label))
        return active, active.fault.match.selector(), decider

    # -- faults ----------------------------------------------------------------------------------------------------

    def set_faults(self, name: str, faults: Sequence[Fault], now: int) -> list[Out]:
        """Make `faults` all that is on this path from `now` on; a fault already there keeps its state.

        Returns what leaves at once: what was due, and packets held by a fault that is gone. UsageError where faults
        clash.
        """
        check_composition(faults)
        out = self.release(now)
        path = self.paths[name]
        path.active = self._renewed(path, faults, now)
        path.floor = path.last_due
        back = self._back(path)
        self._watch_both(path, back)
        self._refresh(path)
        back.backward = tuple(step for step in map(_turned, path.active) if step is not None)
        self._refresh(back)
        self._let_go(path, now, out)
        return out

    def faults(self, name: str) -> tuple[Fault, ...]:
        return tuple(active.fault for active in self.paths[name].active)

    def _renewed(self, path: PathState, faults: Sequence[Fault], now: int) -> tuple[Active, ...]:
        """The faults in the order they act, those that stay as they are."""
        left = list(path.active)
        staying: dict[int, Active] = {}
        for number, fault in enumerate(faults):
            old = next((active for active in left if active.fault == fault), None)
            if old is not None:
                left.remove(old)
                staying[number] = old
        ranks = {(active.fault.kind, active.rank) for active in staying.values()}
        renewed = [
            staying.get(number) or self._activate(path, fault, _free_rank(fault.kind, ranks), now)
            for number, fault in enumerate(faults)
        ]
        for gone in left:
            self._note("fault-cleared", id=gone.id, path=path.name, t=now)
        return tuple(sorted(renewed, key=lambda active: active.fault.stage))

    def _activate(self, path: PathState, fault: Fault, rank: int, now: int) -> Active:
        self._faults += 1
        active = Active(fault, f"f{self._faults}", rank, now, fault.stage == Stage.RATE)
        if fault.per_path:
            active.decider = fault.decider(self._draw(path, active, "*"))
        self._note(
            "fault-set",
            id=active.id,
            path=path.name,
            t=now,
            fault=fault.kind,
            describe=fault.describe(),
            leaves=sorted(fault.leaves),
            reorders=fault.reorders,
            asked=fault_to_json(fault),
        )
        return active

    def _draw(self, path: PathState, active: Active, flow: str) -> Draw:
        return Draw(self.seed, path.name, active.fault.kind, active.rank, flow)

    def _watch_both(self, *both: PathState) -> None:
        """A reset takes what each end expects: that is learnt from all that is delivered, once there is one."""
        watched = any(active.fault.stage == Stage.RESET for path in both for active in path.active)
        for path in both:
            if watched and not path.watched:
                for flow in path.flows.values():
                    flow.receiver = None
            path.watched = watched

    def _refresh(self, path: PathState) -> None:
        path.generation += 1
        path.may_reorder = any(active.fault.reorders for active in path.active)
        path.plain = not (path.active or path.backward or path.watched) and self.forced_drops is None

    def _let_go(self, path: PathState, now: int, out: list[Out]) -> None:
        """What a fault that is gone had held goes on."""
        for flow in path.flows.values():
            freed = [held for held in flow.held if held.holder not in path.active]
            if freed:
                flow.held = [held for held in flow.held if held.holder in path.active]
                self._free(path, freed, now, out)

    def _back(self, path: PathState) -> PathState:
        return self.paths[f"{self.nodes[path.target].name}->{self.nodes[path.source].name}"]

    def _note(self, kind: str, **fields: object) -> None:
        if self.recorder is not None:
            self.recorder.note(kind, **fields)


def _ipv6_key(frame: bytes) -> tuple[bytes, int] | None:
    """As `FlowNames.key`, for whole packets with UDP, or TCP without SYN, right behind the IPv6 header."""
    size = len(frame)
    if size < 74 or frame[12:14] != b"\x86\xdd" or frame[18] << 8 | frame[19] != size - 54:
        return None
    if frame[20] == UDP:
        return frame[20:21] + frame[22:58], 62
    if frame[20] == TCP and not frame[67] & SYN:
        return frame[20:21] + frame[22:58], min(54 + (frame[66] >> 2 & 0x3C), size)
    return None


def _free_rank(kind: str, taken: set[tuple[str, int]]) -> int:
    """A fault's number among those of its kind on a path, for its draws: adding one kind never re-seeds another."""
    rank = 1
    while (kind, rank) in taken:
        rank += 1
    taken.add((kind, rank))
    return rank


def _turned(active: Active) -> DecidingFault | None:
    """What a fault does on the way back, to every packet there."""
    backward = active.fault.backward(active.decider) if active.decider is not None else None
    return (active, None, backward) if backward is not None else None


def _turned_back(onto: PathState, frame: bytes, now: int) -> bytes:
    """A frame forged beyond a NAT, as its sender gets it."""
    for active, _, decide in onto.backward:
        verdict = decide(Packet.parse(frame), now - active.since)
        if isinstance(verdict, ChangePacket):
            frame = verdict.frame
    return frame


def _watch(transit: Transit) -> None:
    """What the receiver expects after this packet; a forged RST takes what it expects now (RFC 5961, 3.2)."""
    packet = transit.packet
    if not transit.injected:
        if not any(effect == Effect.CHANGED for _, effect, _ in transit.acts) or checksum_right(packet):
            transit.flow.receiver = transit.flow.receiver or Receiver()
            transit.flow.receiver.take(packet)
    elif packet.flags & RST and transit.receiver is not None and transit.receiver.next is not None:
        transit.frame = with_sequence(packet, transit.receiver.next)


def _note_syn(flow: PathFlow, packet: Packet) -> None:
    if packet.protocol == TCP and packet.flags & SYN:
        flow.first_seq = packet.seq
