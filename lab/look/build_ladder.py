"""Makes ladders: of a run, from ledger and both captures; of a capture from elsewhere, which knows one side only."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from lab.evidence.evidence import Evidence
from lab.evidence.reader import Entry, Ledger
from lab.look.ladder import Arrival, Deed, Fate, Ladder, Standing, Step
from lab.look.messages import Message, contents
from lab.look.words import Direction, Numbering, in_words
from lab.packets import PROTOCOL_NAMES, TCP, Packet, checksum_right

Messages = Mapping[Direction, Sequence[Message]]
"""Where the messages of a stream lie, for the directions of which that is known."""
Remarks = Mapping[int, Sequence[str]]
"""What an analysis says of a packet, by its frame's number in sent.pcapng (or in the capture from elsewhere)."""
ONE_SIDE = "one capture and no ledger: what the network did with these packets elsewhere can't be known"


@dataclass(frozen=True, slots=True)
class Seen:
    """A packet as a capture has it: its frame's `number` there, `time_ns` since the epoch, names of both ends."""

    number: int
    time_ns: int
    sender: str
    receiver: str
    packet: Packet
    ledger: int = 0


def pairs(ledger: Ledger) -> list[tuple[str, str]]:
    """The pairs of nodes between which packets were sent, (who began, the other), in the order they began."""
    found: dict[frozenset[str], tuple[str, str]] = {}
    for entry in ledger.entries:
        source, _, target = entry.path.partition("->")
        found.setdefault(frozenset((source, target)), (source, target))
    return list(found.values())


def run_ladder(
    evidence: Evidence,
    left: str,
    right: str,
    *,
    keep: Callable[[Seen], bool] = lambda seen: True,
    messages: Messages | None = None,
    remarks: Remarks | None = None,
) -> Ladder:
    """Between two nodes of a run, of the packets that `keep` keeps. LabFailure where a file can't be read."""
    ledger, offset = evidence.ledger, int(evidence.ledger.run["epoch_offset"])
    start = ledger.entries[0].arrived + offset if ledger.entries else 0
    arrived = _by_packet(evidence)
    describe = {fault.id: fault.describe for fault in ledger.faults}
    lost: Counter[int] = Counter(entry.packet for entry in ledger.entries if entry.dropped)
    copies: defaultdict[int, list[Entry]] = defaultdict(list)
    for entry in ledger.entries:
        if entry.copy:
            copies[entry.packet].append(entry)
    teller = _Teller(start, messages or {}, remarks or {})
    steps = []
    for seen, entry in _sent(evidence, frozenset((left, right)), offset, arrived):
        teller.numbering.note(seen.packet)
        if not keep(seen):
            continue
        step = teller.step(seen, forged=entry.injected)
        acts = [*entry.acts, *(act for copy in copies[entry.packet] for act in copy.acts)]
        deeds = dict.fromkeys(Deed(fault, describe.get(fault, fault), effect, why) for fault, effect, why in acts)
        arrivals = tuple(
            teller.arrival(one, step, seen, copy) for copy, one in enumerate(arrived.get(entry.packet, ()))
        )
        fate = Fate.DELIVERED if arrivals else Fate.DROPPED if lost[entry.packet] else Fate.WAITING
        steps.append(
            replace(step, flow=entry.flow, fate=fate, arrivals=arrivals, deeds=tuple(deeds), lost=lost[entry.packet])
        )
    return Ladder(left, right, start, _with_overtaken(steps), _standing(ledger, left, right, start - offset))


def capture_ladder(
    seen: Iterable[Seen],
    left: str,
    right: str,
    start_ns: int,
    *,
    messages: Messages | None = None,
    remarks: Remarks | None = None,
) -> Ladder:
    """Of one capture, which says when a packet passed a point, and not what became of it."""
    teller = _Teller(start_ns, messages or {}, remarks or {})
    steps = []
    for one in seen:
        teller.numbering.note(one.packet)
        steps.append(teller.step(one))
    return Ladder(left, right, start_ns, tuple(steps), unknown=ONE_SIDE)


class _Teller:
    """Puts packets in words, given in the order they were sent."""

    def __init__(self, start_ns: int, messages: Messages, remarks: Remarks) -> None:
        self.numbering = Numbering()
        self._start, self._messages, self._remarks = start_ns, messages, remarks

    def step(self, seen: Seen, *, forged: bool = False) -> Step:
        packet, direction = seen.packet, Direction.of(seen.packet)
        name = PROTOCOL_NAMES.get(packet.protocol, str(packet.protocol))
        return Step(
            seen.time_ns - self._start,
            seen.sender,
            seen.receiver,
            None if forged else seen.number,
            seen.ledger,
            f"{name} {seen.sender}:{packet.source_port} -> {seen.receiver}:{packet.target_port}",
            name,
            in_words(packet, self.numbering),
            self._holds(packet, direction),
            Fate.UNKNOWN,
            remarks=() if forged else tuple(self._remarks.get(seen.number, ())),
        )

    def arrival(self, seen: Seen, step: Step, original: Seen, copy: int) -> Arrival:
        at, packet = seen.time_ns - self._start, seen.packet
        if packet.frame == original.packet.frame:
            return Arrival(at, seen.number, copy, step.what, step.holds)
        direction = Direction.of(original.packet)
        return Arrival(
            at,
            seen.number,
            copy,
            in_words(packet, self.numbering, direction),
            self._holds(packet, direction),
            not checksum_right(packet),
        )

    def _holds(self, packet: Packet, direction: Direction) -> str:
        """A SYN is number 0 of its stream, so that the first byte, whose offset is 0, is number 1."""
        messages = self._messages.get(direction, ())
        size = packet.payload_end - packet.payload_at
        if not messages or packet.protocol != TCP or not size:
            return ""
        begin = self.numbering.seq(packet, direction) - 1
        return contents(messages, begin, begin + size)


def _by_packet(evidence: Evidence) -> dict[int, list[Seen]]:
    """What arrived, by ledger id, in the order in which it did."""
    capture = evidence.delivered
    found: dict[int, list[Seen]] = {}
    for index, number in enumerate(capture.packets):
        seen = Seen(
            index + 1, capture.times[index], "", capture.node(index), Packet.parse(capture.frame(index)), number
        )
        found.setdefault(number, []).append(seen)
    return found


def _sent(
    evidence: Evidence, nodes: frozenset[str], offset: int, arrived: Mapping[int, list[Seen]]
) -> Iterator[tuple[Seen, Entry]]:
    """Each packet between the nodes, with its entry; of a forged one, which nobody sent, as it arrived."""
    capture = evidence.sent
    index = {packet: at for at, packet in enumerate(capture.packets)}
    for entry in evidence.ledger.entries:
        source, _, target = entry.path.partition("->")
        if entry.copy or {source, target} != nodes:
            continue
        at = index.get(entry.packet)
        if at is not None:
            packet = Packet.parse(capture.frame(at))
            yield Seen(at + 1, entry.arrived + offset, source, target, packet, entry.packet), entry
        elif entry.injected and entry.packet in arrived:
            packet = arrived[entry.packet][0].packet
            yield Seen(0, entry.arrived + offset, source, target, packet, entry.packet), entry


def _with_overtaken(steps: Sequence[Step]) -> tuple[Step, ...]:
    """Each with the frames of its path that were sent later, before it arrived, and arrived earlier."""
    found = []
    for index, step in enumerate(steps):
        by = []
        arrived = step.arrivals[0].at_ns if step.arrivals else 0
        at = index + 1
        while at < len(steps) and steps[at].at_ns < arrived:
            later = steps[at]
            same = later.sender == step.sender and later.frame is not None and later.arrivals
            if same and later.arrivals[0].at_ns < arrived and later.frame is not None:
                by.append(later.frame)
            at += 1
        found.append(replace(step, overtaken_by=tuple(by)) if by else step)
    return tuple(found)


def _standing(ledger: Ledger, left: str, right: str, start: int) -> tuple[Standing, ...]:
    """Faults and toxics that touched these two; `start` is time 0 as the ledger counts, monotonic ns."""
    paths = {f"{left}->{right}", f"{right}->{left}"}
    found = [
        Standing(one.id, one.path, one.describe, one.set_at - start, one.cleared_at and one.cleared_at - start)
        for one in ledger.faults
        if one.path in paths
    ]
    cleared = {(note["proxy"], note["name"]): note["t"] for note in ledger.noted("toxic-cleared") if "t" in note}
    for note in ledger.noted("toxic-set") if "toxiproxy" in (left, right) else ():
        end = cleared.get((note["proxy"], note["name"]))
        values = " ".join(f"{name} {value}" for name, value in dict(note.get("attributes") or {}).items())
        describe = f"toxic {note['type']} {note['stream']} {values}".rstrip()
        place = f"toxiproxy:{note['port']}"
        found.append(Standing(note["name"], place, describe, note["set_t"] - start, end and end - start))
    return tuple(found)
