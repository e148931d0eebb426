"""Which packets a fault touches where it does not touch them all: by chance, every nth, or exactly the nth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from pydantic import Field, model_validator

from faultlab.faults.base import Draw, Fault
from faultlab.faults.match import Ordinals, numbering
from faultlab.network.packets import Packet
from faultlab.units import Percent

Hit = Callable[[Packet], bool]


class ChanceFault(Fault):
    """A fault with one of `percent`, `every`, `nth`; the last two count, from 1, what reaches the fault of a flow."""

    percent: Percent | None = None
    every: Annotated[int, Field(ge=1, strict=True)] | None = None
    nth: Ordinals | None = None

    @model_validator(mode="after")
    def _one_way(self) -> ChanceFault:
        if sum(value is not None for value in (self.percent, self.every, self.nth)) != 1:
            raise ValueError(f"{self.kind} takes exactly one of percent, every, nth")
        return self

    def hit(self, draw: Draw) -> Hit:
        """A fresh judge for one flow."""
        if self.percent is not None:
            limit = self.percent / 100
            return lambda packet: draw.one(packet) < limit
        return _counted(frozenset(self.nth or ()), self.every)

    def why(self) -> str:
        """The reason, as the ledger gives it."""
        if self.percent is not None:
            return f"random {self.percent:g}%"
        return f"every {self.every}" if self.every is not None else f"number {', '.join(map(str, self.nth or ()))}"


def _counted(nth: frozenset[int], every: int | None) -> Hit:
    number = numbering()
    if every is not None:
        return lambda packet: number(packet) % every == 0
    return lambda packet: number(packet) in nth
