"""Loss: a packet never arrives. By chance, in bursts, every nth, or exactly the ones named."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from lab.faults.base import Decider, Draw, Drop, Effect, Fault, Stage
from lab.faults.match import Ordinals
from lab.packets import Packet
from lab.units import Percent


class Loss(Fault):
    """Drop each packet with a probability, or every nth, or exactly the nth; exactly one of the three.

    `nth` and `every` count the packets of one flow that `match` selects, from 1.
    """

    kind: ClassVar[str] = "loss"
    stage: ClassVar[Stage] = Stage.LOSS
    leaves: ClassVar[frozenset[Effect]] = frozenset({Effect.DROPPED})
    short: ClassVar[str | None] = "percent"

    percent: Percent | None = None
    every: Annotated[int, Field(ge=1)] | None = None
    nth: Ordinals | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Loss:
        if sum(value is not None for value in (self.percent, self.every, self.nth)) != 1:
            raise ValueError("loss takes exactly one of percent, every, nth")
        return self

    def decider(self, draw: Draw) -> Decider:
        if self.percent is not None:
            return _by_chance(draw, self.percent)
        nth, every = frozenset(self.nth or ()), self.every
        seen = 0

        def decide(packet: Packet, now_ns: int) -> Drop | None:
            nonlocal seen
            seen += 1
            if every is not None:
                return None if seen % every else Drop(f"every {every}")
            return Drop("exactly this one") if seen in nth else None

        return decide


def _by_chance(draw: Draw, percent: float) -> Decider:
    verdict = Drop(f"random {percent:g}%")
    limit = percent / 100
    return lambda packet, now_ns: verdict if draw.one(packet) < limit else None
