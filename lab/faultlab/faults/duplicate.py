"""Duplicate: a packet arrives more than once."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from faultlab.faults.base import CopyPacket, Decider, Draw, Effect, Stage
from faultlab.faults.chance import ChanceFault


class Duplicate(ChanceFault):
    """Send `copies` more of a packet; each goes through the faults that follow with luck of its own."""

    kind: ClassVar[str] = "duplicate"
    stage: ClassVar[Stage] = Stage.DUPLICATE
    leaves: ClassVar[frozenset[Effect]] = frozenset({Effect.DUPLICATED})
    short: ClassVar[str | None] = "percent"

    copies: Annotated[int, Field(ge=1, le=100, strict=True)] = 1

    def decider(self, draw: Draw) -> Decider:
        verdict, hit = CopyPacket(self.copies, self.why()), self.hit(draw)
        return lambda packet, now_ns: verdict if hit(packet) else None
