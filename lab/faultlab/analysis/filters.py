"""Which packets are looked at: by node or path, protocol, port, time, and by what a fault did to them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from faultlab.analysis.build_ladder import Keep
from faultlab.analysis.protocols import DNS_PORT, PROTOCOLS
from faultlab.analysis.subject import Side, Subject
from faultlab.captures.columns import Flags
from faultlab.errors import UsageError
from faultlab.faults.base import Effect


@dataclass(frozen=True)
class Filter:
    """All of what is given must be so. `on` is a node, `A->B` or `A<->B`; `between_ns` counts from the first packet."""

    on: str | None = None
    protocol: str | None = None
    port: int | None = None
    between_ns: tuple[int, int] | None = None
    effects: frozenset[Effect] = field(default_factory=frozenset)

    def of(self, subject: Subject) -> Keep:
        """UsageError where nothing could be meant by it: a node that is not there, an effect without a ledger."""
        ends = _ends(self.on, subject.nodes) if self.on else None
        ids = _ids(subject, self.effects) if self.effects else None

        def keep(side: Side) -> Flags:
            kept = np.ones(len(side), np.bool_)
            columns = side.columns
            if ends is not None:
                kept &= _between(side, *ends)
            if self.protocol is not None:
                kept &= np.isin(columns.protocol, PROTOCOLS[self.protocol])
            for port in (self.port, DNS_PORT if self.protocol == "dns" else None):
                if port is not None:
                    kept &= (columns.source_port == port) | (columns.target_port == port)
            if self.between_ns is not None:
                kept &= (side.time_ns >= self.between_ns[0]) & (side.time_ns <= self.between_ns[1])
            if ids is not None:
                kept &= np.isin(side.ids, ids)
            return kept

        return keep


def first(keep: Keep, main: Side, most: int | None) -> Keep:
    """The first `most` of the packets that `keep` keeps of `main`; all where it is None."""
    if most is None or int(keep(main).sum()) <= most:
        return keep
    last = int(main.time_ns[np.flatnonzero(keep(main))[most - 1]])
    return lambda side: keep(side) & (side.time_ns <= last)


def _ends(on: str, nodes: tuple[str, ...]) -> tuple[int, int | None, bool]:
    """(node, other node or None, whether only from the first to the other)."""
    one_way = "<->" not in on
    source, arrow, target = on.partition("->" if one_way else "<->")
    for name in (source, target) if arrow else (source,):
        if name not in nodes:
            raise UsageError(f"--on {on}: no node {name!r} in this; expected one of {', '.join(nodes)}, or A->B, A<->B")
    return nodes.index(source), nodes.index(target) if arrow else None, one_way


def _between(side: Side, one: int, other: int | None, one_way: bool) -> Flags:
    if other is None:
        return np.asarray((side.source == one) | (side.target == one))
    return side.way(one, other) if one_way else side.between(one, other)


def _ids(subject: Subject, effects: frozenset[Effect]) -> list[int]:
    if subject.ledger is None:
        raise UsageError(f"{subject.path}: what was done to a packet can't be known without a ledger; leave out --only")
    return [entry.packet for entry in subject.ledger.entries if any(effect in effects for _, effect, _ in entry.acts)]
