"""Rebind: the source port changes in mid flow, as when a NAT forgets a binding and makes another (RFC 4787, 4.3)."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from lab.faults.base import Change, Decider, Draw, Drop, Effect, Fault, Stage, Verdict
from lab.faults.match import Port
from lab.packets import TCP, UDP, Packet, with_source_port, with_target_port

_NEW_PORTS = range(10_000, 20_000)
Endpoint = tuple[int, bytes, int, bytes, int]
"""(protocol, inside address, inside port, outside address, outside port)"""


class Rebind(Fault):
    """From the packet after the first `after` ones of a flow on, its source port is another.

    Answers to the new port are translated back; answers to the old one are dropped: that binding is gone. `port` is the
    new port, for a single flow; otherwise each flow gets one of its own, from the seed.
    """

    kind: ClassVar[str] = "rebind"
    stage: ClassVar[Stage] = Stage.REBIND
    leaves: ClassVar[frozenset[Effect]] = frozenset({Effect.CHANGED})
    per_path: ClassVar[bool] = True
    short: ClassVar[str | None] = "after"

    after: Annotated[int, Field(ge=0)] = 0
    port: Port | None = None

    def decider(self, draw: Draw) -> Decider:
        return _Nat(self, draw)

    def backward(self, decider: Decider) -> Decider | None:
        assert isinstance(decider, _Nat)
        return decider.back


class _Nat:
    """The bindings of one path, by inside and by outside port."""

    def __init__(self, fault: Rebind, draw: Draw) -> None:
        self._fault = fault
        self._draw = draw
        self._seen: dict[Endpoint, int] = {}
        self._new_port: dict[Endpoint, int] = {}
        self._inside_port: dict[Endpoint, int] = {}

    def __call__(self, packet: Packet, now_ns: int) -> Verdict | None:
        if packet.protocol not in (TCP, UDP) or not packet.source_port:
            return None
        flow = (packet.protocol, packet.source, packet.source_port, packet.target, packet.target_port)
        seen = self._seen[flow] = self._seen.get(flow, 0) + (packet.copy == 0)
        if seen <= self._fault.after:
            return None
        port = self._new_port.get(flow) or self._bind(flow, packet)
        return Change(with_source_port(packet, port), "source port rebound", port)

    def back(self, packet: Packet, now_ns: int) -> Verdict | None:
        """For the way back: the outside's packets to the new port, or to the old one."""
        outside = (packet.protocol, packet.target, packet.target_port, packet.source, packet.source_port)
        port = self._inside_port.get(outside)
        if port is not None:
            return Change(with_target_port(packet, port), "target port translated back", port)
        return Drop("old binding gone") if outside in self._new_port else None

    def _bind(self, flow: Endpoint, packet: Packet) -> int:
        port = self._fault.port or self._free_port(flow, packet)
        self._new_port[flow] = port
        self._inside_port[(flow[0], flow[1], port, flow[3], flow[4])] = flow[2]
        return port

    def _free_port(self, flow: Endpoint, packet: Packet) -> int:
        start = int(self._draw.one(packet) * len(_NEW_PORTS))
        for step in range(len(_NEW_PORTS)):
            port = _NEW_PORTS[(start + step) % len(_NEW_PORTS)]
            if port != flow[2] and (flow[0], flow[1], port, flow[3], flow[4]) not in self._inside_port:
                return port
        raise ValueError("rebind: every new port is taken")
