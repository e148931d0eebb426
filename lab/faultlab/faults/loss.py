"""Loss: a packet never arrives, by chance, every nth, or exactly the nth."""

from __future__ import annotations

from typing import ClassVar

from faultlab.faults.base import Decider, Draw, DropPacket, Effect, Stage
from faultlab.faults.chance import ChanceFault


class Loss(ChanceFault):
    """Drop packets: `percent` of them at random, or every nth, or exactly the nth."""

    kind: ClassVar[str] = "loss"
    stage: ClassVar[Stage] = Stage.LOSS
    leaves: ClassVar[frozenset[Effect]] = frozenset({Effect.DROPPED})
    short: ClassVar[str | None] = "percent"

    def decider(self, draw: Draw) -> Decider:
        verdict, hit = DropPacket(self.why()), self.hit(draw)
        return lambda packet, now_ns: verdict if hit(packet) else None
