"""Rebind: the source port changes in mid flow, as when a NAT forgets a binding and makes another (RFC 4787, 4.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from faultlab.faults.base import ChangePacket, Decider, Decision, Draw, DropPacket, Effect, Fault, Stage
from faultlab.faults.match import Port
from faultlab.network.packets import TCP, UDP, Packet, quoted, with_quoted_port, with_source_port, with_target_port

NEW_PORTS = range(10_000, 20_000)
FLOW_LIMIT = 8192
"""Flows remembered; the one silent for longest is forgotten first, so of `NEW_PORTS` one is always free."""
Endpoints = tuple[int, bytes, int, bytes, int]
"""(protocol, inside address, inside port, outside address, outside port)"""


class Rebind(Fault):
    """From the packet after the first `after` ones of a flow on, its source port is another.

    Answers to the new port are translated back; answers to the old one are dropped: that binding is gone. So are ICMP
    errors, by the packet that they quote, both ways (RFC 5508, REQ-4 and REQ-5). Each flow gets a new port of its own,
    from the seed; the first one gets `port`, where given. TCP and UDP only.
    """

    kind: ClassVar[str] = "rebind"
    stage: ClassVar[Stage] = Stage.REBIND
    leaves: ClassVar[frozenset[Effect]] = frozenset({Effect.CHANGED})
    per_path: ClassVar[bool] = True
    short: ClassVar[str | None] = "after"

    after: Annotated[int, Field(ge=0, strict=True)] = 0
    port: Port | None = None

    def decider(self, draw: Draw) -> Decider:
        return _Nat(self, draw)

    def backward(self, decider: Decider) -> Decider | None:
        assert isinstance(decider, _Nat)
        return decider.back


@dataclass(slots=True)
class _Binding:
    """How many packets of the flow were seen, and the port that it has now; 0 while that is its own."""

    seen: int = 0
    port: int = 0


class _Nat:
    """The flows of one path, as their inside knows them, and who has which new port."""

    def __init__(self, fault: Rebind, draw: Draw) -> None:
        self._fault = fault
        self._draw = draw
        self._flows: dict[Endpoints, _Binding] = {}
        self._inside_port: dict[Endpoints, int] = {}

    def __call__(self, packet: Packet, now_ns: int) -> Decision | None:
        if packet.protocol not in (TCP, UDP) or not packet.source_port:
            return self._error_from_inside(packet)
        flow = (packet.protocol, packet.source, packet.source_port, packet.target, packet.target_port)
        binding = self._flows[flow] = self._flows.pop(flow) if flow in self._flows else _Binding()
        if len(self._flows) > FLOW_LIMIT:
            self._forget_oldest()
        binding.seen += 1
        if binding.seen <= self._fault.after:
            return None
        if not binding.port:
            binding.port = self._new_port(flow, packet)
            self._inside_port[_seen_outside(flow, binding.port)] = flow[2]
        return ChangePacket(with_source_port(packet, binding.port), "source port rebound", binding.port)

    def back(self, packet: Packet, now_ns: int) -> Decision | None:
        """For the way back: the outside's packets to the new port, or to the old one, and errors about what came from
        them."""
        cause = quoted(packet)
        if cause is None:
            outside = (packet.protocol, packet.target, packet.target_port, packet.source, packet.source_port)
        else:
            outside = (cause.protocol, cause.source, cause.source_port, cause.target, cause.target_port)
        port = self._inside_port.get(outside)
        if port is None:
            binding = self._flows.get(outside)
            return DropPacket("old binding gone") if binding is not None and binding.port else None
        if cause is None:
            return ChangePacket(with_target_port(packet, port), "target port translated back", port)
        return ChangePacket(
            with_quoted_port(packet, cause, port, source=True), "port in ICMP error translated back", port
        )

    def _error_from_inside(self, packet: Packet) -> Decision | None:
        cause = quoted(packet)
        if cause is None:
            return None
        binding = self._flows.get((cause.protocol, cause.target, cause.target_port, cause.source, cause.source_port))
        if binding is None or not binding.port:
            return None
        frame = with_quoted_port(packet, cause, binding.port, source=False)
        return ChangePacket(frame, "port in ICMP error rebound", binding.port)

    def _new_port(self, flow: Endpoints, packet: Packet) -> int:
        asked = self._fault.port
        if asked is not None and self._is_free(flow, asked):
            return asked
        start = int(self._draw.one(packet) * len(NEW_PORTS))
        ports = (NEW_PORTS[(start + step) % len(NEW_PORTS)] for step in range(len(NEW_PORTS)))
        return next(port for port in ports if self._is_free(flow, port))

    def _is_free(self, flow: Endpoints, port: int) -> bool:
        outside = _seen_outside(flow, port)
        return outside not in self._inside_port and outside not in self._flows

    def _forget_oldest(self) -> None:
        flow = next(iter(self._flows))
        port = self._flows.pop(flow).port
        self._inside_port.pop(_seen_outside(flow, port), None)


def _seen_outside(flow: Endpoints, port: int) -> Endpoints:
    """The flow, as its outside knows it once it has this port."""
    return (flow[0], flow[1], port, flow[3], flow[4])
