"""Burst loss: the Gilbert-Elliott model, two states with a loss rate each (tc-netem(8), `loss gemodel`)."""

from __future__ import annotations

from typing import ClassVar

from faultlab.faults.base import Decider, Draw, DropPacket, Effect, Fault, Stage
from faultlab.network.packets import Packet
from faultlab.units import Percent


class BurstLoss(Fault):
    """Losses come in bursts. Each flow has its own state, and starts in the good one.

    Fields, each for one packet: `enter_percent` the chance to go from good to bad (p), `leave_percent` from bad to good
    (r), `bad_loss_percent` the loss while bad (1-h), `good_loss_percent` the loss while good (1-k).
    """

    kind: ClassVar[str] = "burst-loss"
    stage: ClassVar[Stage] = Stage.LOSS
    leaves: ClassVar[frozenset[Effect]] = frozenset({Effect.DROPPED})

    enter_percent: Percent
    leave_percent: Percent
    bad_loss_percent: Percent = 100.0
    good_loss_percent: Percent = 0.0

    @property
    def loss_percent(self) -> float:
        """The share of packets lost in the long run."""
        turns = self.enter_percent + self.leave_percent
        bad = self.enter_percent / turns if turns else 0.0
        return bad * self.bad_loss_percent + (1 - bad) * self.good_loss_percent

    @property
    def mean_burst(self) -> float:
        """Packets in a stay in the bad state, on average: geometric, 1/r."""
        return 100 / self.leave_percent if self.leave_percent else float("inf")

    def decider(self, draw: Draw) -> Decider:
        in_bad, in_good = DropPacket("burst, bad state"), DropPacket("burst, good state")
        enter, leave = self.enter_percent / 100, self.leave_percent / 100
        bad_loss, good_loss = self.bad_loss_percent / 100, self.good_loss_percent / 100
        bad, last = False, 0

        def decide(packet: Packet, now_ns: int) -> DropPacket | None:
            nonlocal bad, last
            turn, chance, _, _ = draw.four(packet)
            if packet.ordinal != last:  # the state turns once for a packet and its copies
                bad, last = turn >= leave if bad else turn < enter, packet.ordinal
            if bad:
                return in_bad if chance < bad_loss else None
            return in_good if chance < good_loss else None

        return decide
