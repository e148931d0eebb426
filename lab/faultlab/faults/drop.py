"""Drop: every packet that `match` selects is lost. `drop: {tcp: syn+ack, which: first}`."""

from __future__ import annotations

from typing import ClassVar

from faultlab.faults.base import Decider, Draw, DropPacket, Effect, Fault, Stage


class Drop(Fault):
    """Lose exactly the packets that the selectors name."""

    kind: ClassVar[str] = "drop"
    stage: ClassVar[Stage] = Stage.LOSS
    leaves: ClassVar[frozenset[Effect]] = frozenset({Effect.DROPPED})
    short: ClassVar[str | None] = "match"

    def decider(self, draw: Draw) -> Decider:
        verdict = DropPacket("named packet")
        return lambda packet, now_ns: verdict
