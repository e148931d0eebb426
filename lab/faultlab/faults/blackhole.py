"""Blackhole: packets above a size vanish and no ICMP says so: a path MTU black hole (RFC 2923, 2.1)."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from faultlab.faults.base import Decider, Draw, DropPacket, Effect, Fault, Stage
from faultlab.units import Bytes


class Blackhole(Fault):
    """Drop IP packets larger than `above_bytes`, IP header included, Ethernet's not."""

    kind: ClassVar[str] = "blackhole"
    stage: ClassVar[Stage] = Stage.CUT
    leaves: ClassVar[frozenset[Effect]] = frozenset({Effect.DROPPED})
    short: ClassVar[str | None] = "above_bytes"

    above_bytes: Annotated[Bytes, Field(ge=68)]

    def decider(self, draw: Draw) -> Decider:
        verdict = DropPacket(f"larger than {self.above_bytes} bytes")
        return lambda packet, now_ns: verdict if packet.ip_size > self.above_bytes else None
