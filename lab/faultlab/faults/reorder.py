"""Reorder: a packet overtakes those before it, or is held until later ones have passed."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from faultlab.faults.base import Decider, Draw, Effect, Fault, HoldPacket, OvertakePackets, Stage
from faultlab.faults.match import Ordinals, numbering
from faultlab.network.packets import Packet
from faultlab.units import Percent


class Reorder(Fault):
    """Two ways. `percent`, with `gap`, as tc-netem(8): a packet skips latency and rate of its path (the first must be
    there); of every `gap` packets only the last may. Or `hold`: packets of these numbers in their flow wait until
    `passes` later packets of the flow have been delivered.
    """

    kind: ClassVar[str] = "reorder"
    stage: ClassVar[Stage] = Stage.REORDER
    leaves: ClassVar[frozenset[Effect]] = frozenset({Effect.OVERTOOK, Effect.HELD})
    short: ClassVar[str | None] = "percent"

    percent: Percent | None = None
    gap: Annotated[int, Field(ge=1, strict=True)] = 1
    hold: Ordinals | None = None
    passes: Annotated[int, Field(ge=1, le=1000, strict=True)] = 1

    @model_validator(mode="after")
    def _one_way(self) -> Reorder:
        if (self.percent is None) == (self.hold is None):
            raise ValueError("reorder takes exactly one of percent, hold")
        if self.hold is not None and self.gap != 1:
            raise ValueError("reorder: gap goes with percent, not with hold")
        if self.percent is not None and self.passes != 1:
            raise ValueError("reorder: passes goes with hold, not with percent")
        return self

    @property
    def needs(self) -> frozenset[str]:
        return frozenset() if self.percent is None else frozenset({"latency"})

    @property
    def reorders(self) -> bool:
        return True

    def decider(self, draw: Draw) -> Decider:
        if self.hold is not None:
            return _held(frozenset(self.hold), HoldPacket(self.passes, f"until {self.passes} later passed"))
        return self._overtaking(draw, (self.percent or 0) / 100)

    def _overtaking(self, draw: Draw, chance: float) -> Decider:
        verdict = OvertakePackets(f"random {self.percent:g}%")
        waited = 0

        def decide(packet: Packet, now_ns: int) -> OvertakePackets | None:
            nonlocal waited
            if waited < self.gap - 1 or draw.one(packet) >= chance:
                waited += 1
                return None
            waited = 0
            return verdict

        return decide


def _held(numbers: frozenset[int], verdict: HoldPacket) -> Decider:
    number = numbering()
    return lambda packet, now_ns: verdict if number(packet) in numbers else None
