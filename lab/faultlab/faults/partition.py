"""Partition: nothing gets through. `a->b` cuts one way, `a<->b` both."""

from __future__ import annotations

from typing import ClassVar

from faultlab.faults.base import Decider, Draw, DropPacket, Effect, Fault, Stage


class Partition(Fault):
    """Drop every packet of the path (that `match` selects)."""

    kind: ClassVar[str] = "partition"
    stage: ClassVar[Stage] = Stage.CUT
    leaves: ClassVar[frozenset[Effect]] = frozenset({Effect.DROPPED})

    def decider(self, draw: Draw) -> Decider:
        verdict = DropPacket("partition")
        return lambda packet, now_ns: verdict
