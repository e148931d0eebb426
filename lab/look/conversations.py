"""The flows of a subject's capture: which packets are whose, and what TCP's analysis says of each."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from lab.captures.columns import I32, Flags
from lab.captures.tcp import TcpAnalysis
from lab.errors import UsageError
from lab.look.build_ladder import Keep
from lab.look.flow_facts import FlowFacts, as_ends_saw, flow_facts
from lab.look.streams import Streams, heard
from lab.look.subject import Side, Subject
from lab.packets import UDP


class Conversations:
    """Of the capture that is gone through (`Subject.main`). `of` is each packet's place in `all`, or -1.

    `streams` are the directions of those of TCP.
    """

    def __init__(self, subject: Subject) -> None:
        main = subject.main
        analysis = TcpAnalysis()
        self._subject = subject
        at_senders = main is subject.sent
        self.marked = analysis.feed(main.file, main.columns, at_senders, partial(heard, subject))
        self.of: I32 = self.marked.flow
        self.streams = Streams(subject, self.of, self.marked.side)
        flows, first = np.unique(self.of, return_index=True)
        begin = dict(zip(flows.tolist(), first.tolist(), strict=True))
        self.all: Sequence[FlowFacts] = []
        for flow in analysis.flows:
            at = begin[flow.index]
            hosts = (subject.nodes[main.source[at]], subject.nodes[main.target[at]])
            names = {end: f"{host}:{end.port}" for end, host in zip(flow.ends, hosts, strict=True)}
            facts = flow_facts(flow, analysis.tcp.get(flow.index), subject.start_ns, names.__getitem__)
            self.all.append(as_ends_saw(facts, self.streams))

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

    def together(self, number: int) -> Keep:
        """What is read together with a flow: a TCP connection alone; of UDP all between its hosts, for a resolver, say,
        has another port for each query."""
        facts = self.all[number - 1]
        if facts.tcp is not None:
            return self.keep(number)
        one, other = (self._subject.nodes.index(host) for host in facts.hosts)

        def keep(side: Side) -> Flags:
            return np.asarray(side.between(one, other) & (side.columns.protocol == UDP))

        return keep


def _between(subject: Subject, side: Side, facts: FlowFacts) -> Flags:
    """Of another capture: what has the same names and ports."""
    one_port, other_port = (end.rpartition(":")[2] for end in facts.ends)
    a, b = (subject.nodes.index(host) for host in facts.hosts)
    columns = side.columns
    there = (columns.source_port == int(one_port)) & (columns.target_port == int(other_port))
    back = (columns.source_port == int(other_port)) & (columns.target_port == int(one_port))
    return np.asarray(side.way(a, b) & there | side.way(b, a) & back)
