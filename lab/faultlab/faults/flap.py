"""Flap: the link goes up and down on a schedule."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from faultlab.faults.base import Decider, Draw, DropPacket, Effect, Fault, Stage
from faultlab.units import Milliseconds


class Flap(Fault):
    """Up for `up_ms`, down for `down_ms`, over and over from when the fault was set; down drops every packet."""

    kind: ClassVar[str] = "flap"
    stage: ClassVar[Stage] = Stage.CUT
    leaves: ClassVar[frozenset[Effect]] = frozenset({Effect.DROPPED})

    up_ms: Annotated[Milliseconds, Field(gt=0)]
    down_ms: Annotated[Milliseconds, Field(gt=0)]
    starts: Literal["up", "down"] = "up"

    def decider(self, draw: Draw) -> Decider:
        up, down = round(self.up_ms * 1e6), round(self.down_ms * 1e6)
        shift = up if self.starts == "down" else 0
        verdict = DropPacket("link down")
        return lambda packet, now_ns: verdict if (now_ns + shift) % (up + down) >= up else None
