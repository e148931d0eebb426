"""The flows of a subject's capture: which packets are whose, and what TCP's analysis says of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from faultlab.analysis.build_ladder import Keep
from faultlab.analysis.flow_facts import FlowFacts, as_ends_saw, end_name, flow_facts
from faultlab.analysis.streams import Streams, heard
from faultlab.analysis.subject import Side, Subject
from faultlab.captures.columns import I32, Flags
from faultlab.captures.tcp import TcpAnalysis
from faultlab.errors import UsageError
from faultlab.network.packets import RST, TCP, UDP


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
        self.all: list[FlowFacts] = []
        self._protocols = [flow.protocol for flow in analysis.flows]
        for flow in analysis.flows:
            at = begin[flow.index]
            hosts = (subject.nodes[main.source[at]], subject.nodes[main.target[at]])
            names = {end: end_name(host, end) for end, host in zip(flow.ends, hosts, strict=True)}
            facts = flow_facts(flow, analysis.tcp.get(flow.index), subject.start_ns, names.__getitem__)
            self.all.append(as_ends_saw(facts, self.streams))
        for at, resets in _forged_resets(subject, self.all).items():
            self.all[at] = replace(self.all[at], forged_resets=resets)

    def keep(self, number: int) -> Keep:
        """The packets of one flow. UsageError where there is no flow of that number."""
        if not 1 <= number <= len(self.all):
            count = len(self.all)
            expected = f"expected 1 to {count}" if count else "there is none"
            raise UsageError(f"--flow {number}: no such flow in {self._subject.path}; {expected}")
        facts, protocol = self.all[number - 1], self._protocols[number - 1]

        def keep(side: Side) -> Flags:
            if side is self._subject.main:
                return np.asarray(self.of == number - 1)
            return _between(self._subject, side, facts, protocol)

        return keep

    def together(self, number: int) -> Keep:
        """What is read together with a flow: of UDP, unlike others, all between its hosts, for a resolver, say,
        has another port for each query."""
        facts = self.all[number - 1]
        if facts.protocol != "udp":
            return self.keep(number)
        one, other = (self._subject.nodes.index(host) for host in facts.hosts)

        def keep(side: Side) -> Flags:
            return np.asarray(side.between(one, other) & (side.columns.protocol == UDP))

        return keep


def _between(subject: Subject, side: Side, facts: FlowFacts, protocol: int) -> Flags:
    """Of another capture: what has the same protocol, names and ports."""
    one_port, other_port = (end.rpartition(":")[2] if facts.has_ports else "0" for end in facts.ends)
    a, b = (subject.nodes.index(host) for host in facts.hosts)
    columns = side.columns
    there = (columns.source_port == int(one_port)) & (columns.target_port == int(other_port))
    back = (columns.source_port == int(other_port)) & (columns.target_port == int(one_port))
    return np.asarray((columns.protocol == protocol) & (side.way(a, b) & there | side.way(b, a) & back))


def _forged_resets(subject: Subject, flows: Sequence[FlowFacts]) -> dict[int, tuple[int, int]]:
    """By the flow's place: how many RSTs that nobody sent reached each of its ends, by the ledger's word.

    Of several connections on the same ports it is the last that had begun by then.
    """
    delivered, decided = subject.delivered, subject.decisions
    if delivered is None or decided is None or not len(decided.packet):
        return {}
    columns, rows = delivered.columns, decided.rows(delivered.ids)
    forged = (rows >= 0) & decided.injected[rows] & (columns.protocol == TCP) & (columns.flags & RST != 0)
    found: dict[int, tuple[int, int]] = {}
    places: dict[tuple[str, str], list[int]] = {}
    for at, flow in enumerate(flows):
        if forged.any() and flow.tcp is not None:
            places.setdefault(flow.ends, []).append(at)
            places.setdefault((flow.ends[1], flow.ends[0]), []).append(at)
    for index in np.flatnonzero(forged).tolist():
        source = f"{subject.nodes[delivered.source[index]]}:{columns.source_port[index]}"
        target = f"{subject.nodes[delivered.target[index]]}:{columns.target_port[index]}"
        begun = [at for at in places.get((source, target), ()) if flows[at].first_ns <= delivered.time_ns[index]]
        if begun:
            one, other = found.get(begun[-1], (0, 0))
            found[begun[-1]] = (one + 1, other) if flows[begun[-1]].ends[0] == target else (one, other + 1)
    return found
