"""What each conversation of a subject did, in a few numbers; and which packets are one conversation's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lab.captures.columns import I32, Flags
from lab.captures.flows import Flow, Flows
from lab.errors import UsageError
from lab.look.build_ladder import Keep
from lab.look.subject import Side, Subject
from lab.packets import PROTOCOL_NAMES


@dataclass(frozen=True)
class FlowFacts:
    """One conversation. `number` counts from 1 in the order of the first packets; `stream` is Wireshark's tcp.stream or
    udp.stream. Lists of two: of who began, and of the other. `bytes` are whole IP packets, times ns since time 0.
    """

    number: int
    protocol: str
    stream: int
    ends: tuple[str, str]
    packets: tuple[int, int]
    bytes: tuple[int, int]
    first_ns: int
    last_ns: int

    def __str__(self) -> str:
        return f"{self.protocol} {self.ends[0]} <-> {self.ends[1]}"


class Conversations:
    """The flows of the capture that is gone through (`Subject.main`)."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        flows = Flows()
        self.of: I32 = flows.feed(subject.main.columns).flow
        """For each packet, its flow's place in `all`, or -1."""
        first = dict(zip(*(one.tolist() for one in np.unique(self.of, return_index=True)), strict=True))
        self.all: Sequence[FlowFacts] = [self._facts(flow, first[flow.index]) for flow in flows.all]

    def keep(self, number: int) -> Keep:
        """The packets of one flow. UsageError where there is no flow of that number."""
        if not 1 <= number <= len(self.all):
            count = len(self.all)
            expected = f"expected 1 to {count}" if count else "there is none"
            raise UsageError(f"--flow {number}: no such flow in {self._subject.path}; {expected}")
        facts = self.all[number - 1]

        def keep(side: Side) -> Flags:
            if side is self._subject.main:
                return np.asarray(self.of == number - 1)
            return _between(self._subject, side, facts)

        return keep

    def _facts(self, flow: Flow, first: int) -> FlowFacts:
        subject, start, main = self._subject, self._subject.start_ns, self._subject.main
        hosts = subject.nodes[main.source[first]], subject.nodes[main.target[first]]
        ends = [f"{host}:{end.port}" for host, end in zip(hosts, flow.ends, strict=True)]
        return FlowFacts(
            flow.index + 1,
            PROTOCOL_NAMES[flow.protocol],
            flow.number,
            (ends[0], ends[1]),
            (flow.packets[0], flow.packets[1]),
            (flow.bytes[0], flow.bytes[1]),
            flow.first_ns - start,
            flow.last_ns - start,
        )


def _between(subject: Subject, side: Side, facts: FlowFacts) -> Flags:
    """Of another capture: what has the same names and ports."""
    (one, _, one_port), (other, _, other_port) = (end.rpartition(":") for end in facts.ends)
    a, b = subject.nodes.index(one), subject.nodes.index(other)
    columns = side.columns
    there = (side.source == a) & (side.target == b)
    there &= (columns.source_port == int(one_port)) & (columns.target_port == int(other_port))
    back = (side.source == b) & (side.target == a)
    back &= (columns.source_port == int(other_port)) & (columns.target_port == int(one_port))
    return np.asarray(there | back)
