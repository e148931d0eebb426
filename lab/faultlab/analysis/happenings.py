"""What happens on a lab's network as it happens: packets, in words, and what the faults did to them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from faultlab.analysis.capture_tail import Seen
from faultlab.analysis.protocols import DNS_PORT, PROTOCOLS
from faultlab.analysis.words import Numbering, packet_text
from faultlab.errors import UsageError
from faultlab.network.packets import Packet
from faultlab.network.topology import NetworkPath, Node, parse_paths

MOST_ON_THE_WAY = 1 << 16
"""Of more packets, the oldest are forgotten, and how late they arrive is not known."""
_DEED = re.compile(r"(\w+) by (\S+) \((.*?)\)(?:; |$)")
_DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class Happening:
    """A packet was sent, or a copy of it arrived. Times are ns since the epoch.

    `deeds` are what faults did to it: "dropped by loss 5%". `late_ns` is how long after it was sent it arrived, where
    that is known; `copy` counts the copies that had arrived before. `packet` is its number in the ledger, 0 where it
    has none.
    """

    time_ns: int
    arrived: bool
    sender: str
    receiver: str
    packet: int
    what: str
    protocol: int
    ports: tuple[int, int]
    effects: tuple[str, ...] = ()
    deeds: tuple[str, ...] = ()
    late_ns: int | None = None
    copy: int = 0

    @property
    def dropped(self) -> bool:
        return _DROPPED in self.effects


@dataclass(frozen=True)
class Wanted:
    """Which of them are looked at; all of what is given must be so. `on` is a node, `A->B` or `A<->B`."""

    on: str | None = None
    protocol: str | None = None
    port: int | None = None
    effects: frozenset[str] = frozenset()

    def check(self, nodes: Sequence[str]) -> None:
        """UsageError where `on` names no node."""
        if self.on is not None and "->" in self.on:
            parse_paths(self.on, nodes)
        elif self.on is not None and self.on not in nodes:
            raise UsageError(f"--on {self.on}: no such node; the nodes are {', '.join(nodes)}, or A->B, A<->B")

    def words(self) -> list[str]:
        """The options of `lab inspect` that say the same."""
        given = {"--on": self.on, "--protocol": self.protocol, "--port": self.port}
        options = [*given.items(), *(("--only", effect) for effect in sorted(self.effects))]
        return [word for option, value in options if value is not None for word in (option, str(value))]

    def __call__(self, one: Happening) -> bool:
        return (
            (self.on is None or self._on(one))
            and (self.protocol is None or one.protocol in PROTOCOLS[self.protocol])
            and (self.protocol != "dns" or DNS_PORT in one.ports)
            and (self.port is None or self.port in one.ports)
            and (not self.effects or not self.effects.isdisjoint(one.effects))
        )

    def _on(self, one: Happening) -> bool:
        assert self.on is not None
        if "->" not in self.on:
            return self.on in (one.sender, one.receiver)
        return NetworkPath(one.sender, one.receiver) in parse_paths(self.on)


class Happenings:
    """Takes packets in order of time. `faults` are the faults' words by id, and may grow meanwhile."""

    def __init__(self, nodes: Sequence[Node], faults: Mapping[str, str]) -> None:
        self._names = [node.name for node in nodes]
        self._by_mac = {node.mac_bytes: node.name for node in nodes}
        self._faults = faults
        self._numbering = Numbering()
        self._sent: dict[int, tuple[int, int]] = {}
        """When each packet was sent, by its number in the ledger, and how many of its copies have arrived."""

    def of(self, seen: Seen) -> Happening | None:
        """None where nothing is to be said: a packet that arrived at the moment in which it was sent."""
        frame, number, arrived = seen.frame, seen.packet, seen.side == "delivered"
        packet = Packet.parse(frame)
        late, copy = self._arrival(number, seen.time_ns) if arrived else (None, 0)
        if late == 0 and copy == 0:
            return None
        if not arrived:
            self._numbering.note(packet)
            self._remember(number, seen.time_ns)
        here = self._names[seen.node]
        there = self._by_mac.get(frame[6:12] if arrived else frame[:6], "?")
        sender, receiver = (there, here) if arrived else (here, there)
        acts = _DEED.findall(seen.comment)
        return Happening(
            seen.time_ns, arrived, sender, receiver, number, packet_text(packet, self._numbering), packet.protocol,
            (packet.source_port, packet.target_port), tuple(effect for effect, _, _ in acts),
            tuple(self._deed(*act) for act in acts), late, copy,
        )  # fmt: skip

    def _deed(self, effect: str, fault: str, reason: str) -> str:
        words = self._faults.get(fault)
        return f"{effect} by {words}" if words else f"{effect} by {fault} ({reason})"

    def _remember(self, number: int, time_ns: int) -> None:
        if number:
            self._sent[number] = (time_ns, 0)
            if len(self._sent) > MOST_ON_THE_WAY:
                del self._sent[next(iter(self._sent))]

    def _arrival(self, number: int, time_ns: int) -> tuple[int | None, int]:
        if number not in self._sent:
            return None, 0
        sent, copies = self._sent[number]
        self._sent[number] = (sent, copies + 1)
        return time_ns - sent, copies
