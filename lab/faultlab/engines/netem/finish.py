"""The last thing the netem process does: read its captures, infer the ledger, and write all three files anew."""

from __future__ import annotations

import mmap
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from heapq import merge
from pathlib import Path

from faultlab.engines.flow_names import FlowNames
from faultlab.engines.netem.inference import NOTHING, DeliveredPacket, InferredFate, SentPacket, Setting, infer
from faultlab.engines.netem.live import Live
from faultlab.engines.netem.messages import Counters
from faultlab.engines.recorder import FileRecorder
from faultlab.engines.transit import PathFlow, PathState, Transit
from faultlab.evidence.pcapng import read_packets
from faultlab.faults.base import Effect
from faultlab.network.packets import Packet
from faultlab.network.topology import PathEnds

SLACK_NS = 100_000
"""How far a capture's time may lie from the moment that the qdisc met the packet."""
NOTED_STRAYS = 100


class Timeline:
    """What each path had, and when. A change has a first and a last moment; between them either may be in force."""

    def __init__(self) -> None:
        self._begins: dict[PathEnds, list[int]] = {}
        self._changes: dict[PathEnds, list[tuple[int, Setting]]] = {}

    def change(self, ends: PathEnds, first: int, last: int, setting: Setting) -> None:
        self._begins.setdefault(ends, []).append(first - SLACK_NS)
        self._changes.setdefault(ends, [(0, NOTHING)]).append((last + SLACK_NS, setting))

    def at(self, ends: PathEnds, time: int) -> tuple[Setting, ...]:
        """What the path may have had at that time, the newest first."""
        changes = self._changes.get(ends)
        if changes is None:
            return (NOTHING,)
        newest = bisect_right(self._begins[ends], time)
        found = [changes[newest][1]]
        while newest and time < changes[newest][0]:
            newest -= 1
            found.append(changes[newest][1])
        return tuple(found)


@dataclass(frozen=True)
class Run:
    """All that is known once the last packet has left. `lost`: frames that the sniffer missed."""

    live: Live
    timeline: Timeline
    counters: Mapping[PathEnds, Counters]
    lost: int


def finish(run: Run) -> int:
    """Replace the live files by the finished ones; returns how many frames went to no node."""
    folder = run.live.folder
    run.live.close(run.lost)
    sent, strays = _read_sent(run, folder / "sent.pcapng")
    arrivals = _read_arrivals(run, folder / "delivered.pcapng")
    waiting = {ends: counted.waiting for ends, counted in run.counters.items()}
    fates, strangers = infer(sent, arrivals, waiting)
    work = folder / "inferred"
    work.mkdir()
    _Writer(run, work, sent, arrivals, fates).write(strays, strangers)
    for file in sorted(work.iterdir()):
        file.replace(folder / file.name)
    work.rmdir()
    return len(strays)


def _read_sent(run: Run, file: Path) -> tuple[list[SentPacket], list[DeliveredPacket]]:
    """Packets between nodes, in order of time; and frames to nobody, as arrivals at the node they come from."""
    number_of = {node.mac_bytes: number for number, node in enumerate(run.live.nodes)}
    sent, strays = [], []
    for source, wall, frame in read_packets(_contents(file)):
        time = wall - run.live.clock.offset_ns
        target = number_of.get(bytes(frame[:6]))
        if target is None or target == source:
            strays.append(DeliveredPacket(source, time, frame))
        else:
            ends = (source, target)
            sent.append(SentPacket(ends, time, frame, run.timeline.at(ends, time)))
    sent.sort(key=lambda one: one.time)
    return sent, strays


def _read_arrivals(run: Run, file: Path) -> list[DeliveredPacket]:
    arrivals = [
        DeliveredPacket(node, wall - run.live.clock.offset_ns, frame)
        for node, wall, frame in read_packets(_contents(file))
    ]
    arrivals.sort(key=lambda one: one.time)
    return arrivals


def _contents(file: Path) -> memoryview:
    with file.open("rb") as opened:
        return memoryview(mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ))


class _Writer:
    """Tells a `FileRecorder` what happened, in order of time, as the wire's core would have."""

    def __init__(
        self,
        run: Run,
        folder: Path,
        sent: Sequence[SentPacket],
        arrivals: Sequence[DeliveredPacket],
        fates: Sequence[InferredFate],
    ) -> None:
        live = run.live
        self._run, self._sent, self._arrivals, self._fates = run, sent, arrivals, fates
        self._recorder = FileRecorder(folder, live.nodes, live.header, live.clock.offset_ns)
        self._names = FlowNames(live.nodes)
        self._paths: dict[PathEnds, PathState] = {}
        self._flows: dict[tuple[PathEnds, bytes], PathFlow] = {}
        self._flow_of: list[PathFlow] = []
        self._left = {
            departure.arrival: (number, copy)
            for number, fate in enumerate(fates)
            for copy, departure in enumerate(fate.departures)
        }

    def write(self, strays: Sequence[DeliveredPacket], strangers: Sequence[int]) -> None:
        moments = merge(self._notes(strays), self._packets(), self._deliveries(set(strangers)), key=lambda one: one[0])
        for _, tell in moments:
            tell()
        self._compare()
        self._recorder.close(strays=len(strays))

    def _notes(self, strays: Sequence[DeliveredPacket]) -> Iterator[tuple[int, Callable[[], None]]]:
        note, nodes = self._recorder.note, self._run.live.nodes
        notes = [(int(str(fields["t"])), partial(note, kind, **fields)) for kind, fields in self._run.live.notes]
        for stray in strays[:NOTED_STRAYS]:
            fields = {"node": nodes[stray.target].name, "t": stray.time, "head": stray.frame[:64].hex()}
            notes.append((stray.time, partial(note, "stray", **fields)))
        return iter(sorted(notes, key=lambda one: one[0]))

    def _packets(self) -> Iterator[tuple[int, Callable[[], None]]]:
        return ((one.time, partial(self._decided, number)) for number, one in enumerate(self._sent))

    def _deliveries(self, strangers: set[int]) -> Iterator[tuple[int, Callable[[], None]]]:
        for number, arrival in enumerate(self._arrivals):
            tell = self._unexplained if number in strangers else self._delivered
            yield arrival.time, partial(tell, number)

    def _decided(self, number: int) -> None:
        one, fate = self._sent[number], self._fates[number]
        frame = bytes(one.frame)
        flow, packet = self._flow(one.ends, frame), Packet.parse(frame)
        flow.ordinal += 1
        packet.ordinal = flow.ordinal
        self._flow_of.append(flow)
        first = fate.departures[0] if fate.departures else None
        transit = Transit(
            packet, packet, number + 1, flow, frame, one.time, 0, first.asked_delay if first else 0, fate.acts,
            dropped=fate.dropped,
            detail=(first.flipped_bit or 0) if first else 0,
            copies=len(fate.departures) or int(fate.waiting),
        )  # fmt: skip
        self._recorder.decided(self._path(one.ends), flow, number + 1, transit, one.time)

    def _delivered(self, arrival_number: int) -> None:
        number, copy = self._left[arrival_number]
        one, arrival = self._sent[number], self._arrivals[arrival_number]
        frame = bytes(arrival.frame)
        packet = Packet.parse(frame)
        packet.copy = copy
        acts = self._fates[number].departures[copy].acts
        transit = Transit(packet, packet, number + 1, self._flow_of[number], frame, one.time, arrival.time, acts=acts)
        self._recorder.delivered(self._path(one.ends), transit, arrival.time)

    def _unexplained(self, arrival_number: int) -> None:
        """Nobody sent it: it goes into the ledger as forged, by no fault."""
        arrival = self._arrivals[arrival_number]
        frame = bytes(arrival.frame)
        macs = [node.mac_bytes for node in self._run.live.nodes]
        source = macs.index(frame[6:12]) if frame[6:12] in macs else (arrival.target + 1) % len(macs)
        ends = (source, arrival.target)
        flow, packet = self._flow(ends, frame), Packet.parse(frame)
        packet_id = len(self._sent) + 1 + arrival_number
        acts = (("netem", Effect.INJECTED, "delivered, and nobody sent it"),)
        transit = Transit(packet, packet, packet_id, flow, frame, arrival.time, 0, acts=acts, injected=True)
        self._recorder.decided(self._path(ends), flow, packet_id, transit, arrival.time)
        self._recorder.delivered(self._path(ends), transit, arrival.time)

    def _path(self, ends: PathEnds) -> PathState:
        if ends not in self._paths:
            source, target = (self._run.live.nodes[number].name for number in ends)
            self._paths[ends] = PathState(f"{source}->{target}", *ends)
        return self._paths[ends]

    def _flow(self, ends: PathEnds, frame: bytes) -> PathFlow:
        key, _ = self._names.key(frame)
        flow = self._flows.get((ends, key))
        if flow is None:
            flow = self._flows[ends, key] = PathFlow(len(self._flows) + 1, self._names.label(key))
            self._recorder.flow(flow.number, self._path(ends), flow.label)
        return flow

    def _compare(self) -> None:
        """The qdiscs' own counters, and a warning where the captures say otherwise."""
        dropped = Counter(one.ends for one, fate in zip(self._sent, self._fates, strict=True) if fate.dropped)
        for ends in sorted(self._run.counters.keys() | dropped.keys()):
            counted = self._run.counters.get(ends, Counters(0, 0, 0))
            name = self._path(ends).name
            self._recorder.note("counters", path=name, **vars(counted))
            if counted.dropped != dropped[ends]:
                text = "netem counted other drops than the captures show"
                self._recorder.note("warning", text=text, path=name, counted=counted.dropped, captured=dropped[ends])
