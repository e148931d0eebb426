"""Makes ladders: of a run, from ledger and both captures; of a capture from elsewhere, which knows one side only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from faultlab.analysis.ladder import Arrival, Deed, Fate, Ladder, StandingFault, Step
from faultlab.analysis.messages import Message, contents
from faultlab.analysis.subject import Side, Subject
from faultlab.analysis.words import Direction, Numbering, packet_text
from faultlab.captures.columns import I64, Columns, Flags
from faultlab.evidence.ledger_reader import Ledger, LedgerEntry
from faultlab.faults.base import Effect
from faultlab.network.packets import PROTOCOL_NAMES, SYN, TCP, Packet, checksum_right

Messages = Mapping[Direction, Sequence[Message]]
"""Where the messages of a stream lie, for the directions of which that is known."""
Remarks = Mapping[int, Sequence[str]]
"""What an analysis says of a packet, by its frame's number in the capture that was gone through (`Subject.main`)."""
Keep = Callable[[Side], Flags]
"""Which packets of a capture are looked at."""
ONE_SIDE = "one capture and no ledger: what the network did with these packets elsewhere can't be known"
_PROTOCOLS = {**PROTOCOL_NAMES, 0: "other"}


@dataclass(frozen=True, slots=True)
class Pair:
    """Two that talked, and how many packets they sent each other. `left` is who began."""

    left: str
    right: str
    packets: int


def pairs(subject: Subject, keep: Keep | None = None) -> list[Pair]:
    """All pairs, in the order they began. A host that talks to itself is two: its name with either port."""
    ends = _Ends(subject, subject.main)
    source, target = ends.source, ends.target
    if keep is not None:
        kept = keep(subject.main)
        source, target = source[kept], target[kept]
    key = np.minimum(source, target) * len(ends.names) + np.maximum(source, target)
    _, first, counts = np.unique(key, return_index=True, return_counts=True)
    return [
        Pair(ends.names[source[at]], ends.names[target[at]], int(count))
        for at, count in sorted(zip(first.tolist(), counts.tolist(), strict=True))
    ]


def build_ladder(
    subject: Subject,
    left: str,
    right: str,
    *,
    keep: Keep | None = None,
    messages: Messages | None = None,
    remarks: Remarks | None = None,
) -> Ladder:
    """Between two that talked (names as `pairs` gives them), of the packets that `keep` keeps."""
    building = _Building(subject, (left, right), messages or {}, remarks or {})
    faults = _standing(subject, left, right)
    return Ladder(left, right, subject.start_ns, building.steps(keep), faults, _unknown(subject))


def _unknown(subject: Subject) -> str:
    if subject.ledger is not None and subject.sent is not None and subject.delivered is not None:
        return ""
    others = [side.name for side in subject.captures if side is not subject.main]
    if others and subject.ledger is None:
        return (
            f"drawn is {subject.main.name} alone; what the network did between it and {others[0]}, the summary counts"
        )
    return ONE_SIDE


def build_steps(
    subject: Subject,
    *,
    keep: Keep | None = None,
    messages: Messages | None = None,
    remarks: Remarks | None = None,
) -> tuple[Step, ...]:
    """The packets that `keep` keeps, whoever they are between, in the order they were sent."""
    return _Building(subject, None, messages or {}, remarks or {}).steps(keep)


@dataclass(frozen=True, slots=True)
class _Found:
    """A packet of one capture, or one that only the ledger tells of."""

    time_ns: int
    side: Side
    index: int
    entry: LedgerEntry | None


class _Building:
    """One ladder in the making: finds the packets, puts each in words, in the order they were sent."""

    def __init__(self, subject: Subject, pair: tuple[str, str] | None, messages: Messages, remarks: Remarks) -> None:
        self._subject, self._pair = subject, pair
        self._ends = _Ends(subject, subject.main)
        self._messages, self._remarks = messages, remarks
        self._numbering = Numbering()
        self._describe = {one.id: one.describe for one in subject.ledger.faults} if subject.ledger else {}
        self._copies = _dropped_copies(subject.ledger) if subject.ledger else {}
        self._arrived = _by_ledger_id(subject.delivered) if subject.delivered else {}

    def steps(self, keep: Keep | None) -> tuple[Step, ...]:
        """A packet that is not kept is read all the same where its stream begins there."""
        main = self._subject.main
        kept = keep(main) if keep else np.ones(len(main), np.bool_)
        between = self._ends.between(*self._pair) if self._pair else np.ones(len(main), np.bool_)
        starts = (main.columns.protocol == TCP) & ((main.columns.flags & SYN) != 0)
        found = [*self._sent(np.flatnonzero(between & (kept | starts))), *self._forged(keep)]
        steps = []
        for one in sorted(found, key=lambda one: one.time_ns):
            forged = one.side is not main
            packet = packet_at(one.side, one.index)
            self._numbering.note(packet)
            if forged or kept[one.index]:
                steps.append(self._step(one, packet, forged))
        return _with_overtaken(steps)

    def _sent(self, rows: I64) -> Iterator[_Found]:
        main, ledger = self._subject.main, self._subject.ledger
        for index in rows.tolist():
            entry = ledger.by_packet.get(int(main.ids[index])) if ledger else None
            yield _Found(int(main.time_ns[index]), main, index, entry)

    def _forged(self, keep: Keep | None) -> Iterator[_Found]:
        """Packets that a fault made, as they arrived: nobody sent them."""
        subject, delivered = self._subject, self._subject.delivered
        if subject.ledger is None or delivered is None:
            return
        kept = keep(delivered) if keep else np.ones(len(delivered), np.bool_)
        for entry in subject.ledger.entries:
            if entry.injected and (self._pair is None or set(entry.path.split("->")) == set(self._pair)):
                came = self._arrived.get(entry.packet)
                if came and kept[came[0]]:
                    yield _Found(subject.since_start(entry.arrived), delivered, came[0], entry)

    def _step(self, found: _Found, packet: Packet, forged: bool) -> Step:
        sender, receiver = self._names(found, forged)
        name = _PROTOCOLS.get(packet.protocol, str(packet.protocol))
        frame = None if forged else found.index + 1
        step = Step(
            found.time_ns,
            sender,
            receiver,
            frame,
            found.entry.packet if found.entry else 0,
            _flow(name, packet, sender, receiver),
            name,
            packet_text(packet, self._numbering),
            self._holds(packet, Direction.of(packet)),
            Fate.UNKNOWN,
            remarks=tuple(self._remarks.get(frame or 0, ())),
        )
        return self._with_fate(step, found.entry, packet) if found.entry else step

    def _names(self, found: _Found, forged: bool) -> tuple[str, str]:
        if forged and found.entry:
            sender, _, receiver = found.entry.path.partition("->")
            return sender, receiver
        return self._ends.of(found.index)

    def _with_fate(self, step: Step, entry: LedgerEntry, packet: Packet) -> Step:
        dropped = self._copies.get(entry.packet, [])
        lost = len(dropped) + entry.dropped
        acts = [*entry.acts, *(act for copy in dropped for act in copy.acts)]
        deeds = dict.fromkeys(
            Deed(fault, self._describe.get(fault, fault), effect, reason) for fault, effect, reason in acts
        )
        arrivals = tuple(self._arrivals(step, packet, entry))
        fate = Fate.DELIVERED if arrivals else Fate.DROPPED if lost else Fate.WAITING
        if self._subject.delivered is None and not lost:
            fate = Fate.UNKNOWN
        return replace(step, flow=entry.flow, fate=fate, arrivals=arrivals, deeds=tuple(deeds), lost=lost)

    def _arrivals(self, step: Step, sent: Packet, entry: LedgerEntry) -> Iterator[Arrival]:
        """Frames that no fault says it changed are not compared: the check `ledger` and `path_facts` do that."""
        side = self._subject.delivered
        direction, changed = Direction.of(sent), entry.did(Effect.CHANGED)
        for copy, index in enumerate(self._arrived.get(step.ledger, ())):
            assert side is not None
            at = int(side.time_ns[index])
            if not changed or side.frame(index) == sent.frame:
                yield Arrival(at, index + 1, copy, step.what, step.holds)
            else:
                came = packet_at(side, index)
                what = packet_text(came, self._numbering, direction)
                holds = _rebound(sent, came) or self._holds(came, direction)
                yield Arrival(at, index + 1, copy, what, holds, not checksum_right(came))

    def _holds(self, packet: Packet, direction: Direction) -> str:
        """A SYN is number 0 of its stream, so that the first byte, whose offset is 0, is number 1."""
        messages = self._messages.get(direction, ())
        size = packet.payload_end - packet.payload_at
        if not messages or packet.protocol != TCP or not size:
            return ""
        begin = self._numbering.seq(packet, direction) - 1
        return contents(messages, begin, begin + size)


class _Ends:
    """Names of both ends of each packet. Of a host that talks to itself (loopback) each port is an end of its own."""

    def __init__(self, subject: Subject, side: Side) -> None:
        self.names = list(subject.nodes)
        self.source, self.target = side.source.astype(np.int64), side.target.astype(np.int64)
        alone = np.flatnonzero(self.source == self.target)
        if len(alone):
            self._tell_apart(side, alone)

    def _tell_apart(self, side: Side, alone: I64) -> None:
        numbers: dict[tuple[int, int], int] = {}
        for ends, ports in ((self.source, side.columns.source_port), (self.target, side.columns.target_port)):
            host_and_port = ends[alone] << 16 | ports[alone]
            known, inverse = np.unique(host_and_port, return_inverse=True)
            for key in known.tolist():
                if (key >> 16, key & 0xFFFF) not in numbers:
                    numbers[key >> 16, key & 0xFFFF] = len(self.names)
                    self.names.append(f"{self.names[key >> 16]}:{key & 0xFFFF}")
            ends[alone] = np.array([numbers[key >> 16, key & 0xFFFF] for key in known.tolist()])[inverse]

    def of(self, index: int) -> tuple[str, str]:
        return self.names[self.source[index]], self.names[self.target[index]]

    def between(self, left: str, right: str) -> Flags:
        if left not in self.names or right not in self.names:
            return np.zeros(len(self.source), np.bool_)
        one, other = self.names.index(left), self.names.index(right)
        there = (self.source == one) & (self.target == other)
        back = (self.source == other) & (self.target == one)
        return np.asarray(there | back)


def packet_at(side: Side, index: int) -> Packet:
    """A packet of a capture, whatever its link layer and however little of it was captured: the columns know."""
    columns = side.columns
    frame = side.frame(index)
    packet = Packet.parse(frame)
    whole = columns.captured[index] == columns.original[index]
    plain = packet.version == columns.ip[index] and columns.link_type[index] == _ETHERNET
    # Of a packet in a tunnel the columns have the inner one.
    same = packet.protocol == columns.protocol[index] and packet.source_port == columns.source_port[index]
    if whole and plain and same:
        return packet
    return _from_columns(columns, index, frame)


_ETHERNET = 1


def _from_columns(columns: Columns, index: int, frame: bytes) -> Packet:
    packet = Packet(frame)
    size = 4 if columns.ip[index] == 4 else 16
    packet.version, packet.protocol = int(columns.ip[index]), int(columns.protocol[index])
    packet.source = _address(columns.source_high[index], columns.source_low[index], size)
    packet.target = _address(columns.target_high[index], columns.target_low[index], size)
    packet.source_port, packet.target_port = int(columns.source_port[index]), int(columns.target_port[index])
    packet.seq, packet.ack = int(columns.seq[index]), int(columns.ack[index])
    packet.flags = int(columns.flags[index]) & 0xFF
    packet.fragment = int(columns.fragment[index]) // 8 | int(columns.more_fragments[index]) << 13
    packet.payload_at = int(columns.payload_at[index])
    packet.payload_end = packet.payload_at + int(columns.payload[index])
    return packet


def _address(high: np.uint64, low: np.uint64, size: int) -> bytes:
    return (int(high) << 64 | int(low)).to_bytes(16, "big")[-size:]


def _flow(protocol: str, packet: Packet, sender: str, receiver: str) -> str:
    if not packet.source_port and not packet.target_port:
        return f"{protocol} {sender} -> {receiver}"
    ends = [
        name if name.endswith(f":{port}") else f"{name}:{port}"
        for name, port in ((sender, packet.source_port), (receiver, packet.target_port))
    ]
    return f"{protocol} {' -> '.join(ends)}"


def _rebound(sent: Packet, came: Packet) -> str:
    """`source port 12841`, where that is another than the packet was sent with, as a NAT does it (RFC 3022, 2.2)."""
    if came.source_port != sent.source_port:
        return f"source port {came.source_port}"
    return f"target port {came.target_port}" if came.target_port != sent.target_port else ""


def _by_ledger_id(delivered: Side) -> dict[int, list[int]]:
    """Where each packet of the ledger stands in the capture of what was delivered, in its order."""
    found: dict[int, list[int]] = {}
    for index, packet in enumerate(delivered.ids.tolist()):
        found.setdefault(packet, []).append(index)
    return found


def _dropped_copies(ledger: Ledger) -> dict[int, list[LedgerEntry]]:
    found: dict[int, list[LedgerEntry]] = {}
    for entry in ledger.entries:
        if entry.copy and entry.dropped:
            found.setdefault(entry.packet, []).append(entry)
    return found


def _with_overtaken(steps: Sequence[Step]) -> tuple[Step, ...]:
    """Each with the frames of its path that were sent later and arrived sooner."""
    found = []
    for index, step in enumerate(steps):
        by = [later.frame for later in _sent_while_on_its_way(steps, index) if later.frame and _sooner(later, step)]
        found.append(replace(step, overtaken_by=tuple(by)) if by else step)
    return tuple(found)


def _sent_while_on_its_way(steps: Sequence[Step], index: int) -> Iterator[Step]:
    arrived = steps[index].arrivals[0].at_ns if steps[index].arrivals else -1
    for at in range(index + 1, len(steps)):
        if steps[at].at_ns > arrived:
            return
        yield steps[at]


def _sooner(one: Step, other: Step) -> bool:
    """Whether it arrived before the other, on the same path; the capture of what was delivered has their order."""
    same = (one.sender, one.receiver) == (other.sender, other.receiver)
    return same and bool(one.arrivals) and one.arrivals[0].frame < other.arrivals[0].frame


def _standing(subject: Subject, left: str, right: str) -> tuple[StandingFault, ...]:
    """Faults on the paths between these two, and the toxics where one of them is toxiproxy."""
    paths = {f"{left}->{right}", f"{right}->{left}"}
    found = [
        StandingFault(one.id, one.path, one.description, one.from_ns, one.to_ns)
        for one in subject.faults
        if one.path in paths
    ]
    if subject.ledger is None or "toxiproxy" not in (left, right):
        return tuple(found)
    for note in subject.ledger.toxics:
        values = " ".join(f"{name} {value}" for name, value in (note.get("attributes") or {}).items())
        end = note["cleared_t"]
        found.append(
            StandingFault(
                note["name"],
                f"toxiproxy:{note['port']}",
                f"toxic {note['type']} {note['stream']} {values}".rstrip(),
                subject.since_start(note["set_t"]),
                None if end is None else subject.since_start(end),
            )
        )
    return tuple(found)
