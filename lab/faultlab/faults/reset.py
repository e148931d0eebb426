"""Reset: a forged RST ends a TCP connection, as a middlebox does."""

from __future__ import annotations

from typing import ClassVar, Literal

from faultlab.faults.base import Decider, Draw, Effect, Fault, InjectPackets, Stage
from faultlab.faults.match import Ordinals
from faultlab.network.packets import ACK, RST, SYN, TCP, Packet, reset_for


class Reset(Fault):
    """In the place of the `nth` data segment of a connection (of those `match` selects) comes a RST that is accepted.

    `to` says which ends get one. Each has the number that its end expects next when it gets there, by all that the wire
    delivered to it: after a loss that is not the segment's own (RFC 9293, 3.5.3; RFC 5961, 3.2).
    """

    kind: ClassVar[str] = "reset"
    stage: ClassVar[Stage] = Stage.RESET
    leaves: ClassVar[frozenset[Effect]] = frozenset({Effect.INJECTED})
    short: ClassVar[str | None] = "nth"

    nth: Ordinals = (1,)
    to: Literal["both", "receiver", "sender"] = "both"

    def decider(self, draw: Draw) -> Decider:
        seen = 0

        def decide(packet: Packet, now_ns: int) -> InjectPackets | None:
            nonlocal seen
            if not _carries_data(packet):
                return None
            seen += 1
            return self._forge(packet) if seen in self.nth else None

        return decide

    def _forge(self, packet: Packet) -> InjectPackets:
        onward = (reset_for(packet, towards_sender=False),) if self.to != "sender" else ()
        back = (reset_for(packet, towards_sender=True),) if self.to != "receiver" else ()
        return InjectPackets(onward, back, f"RST to {self.to}")


def _carries_data(packet: Packet) -> bool:
    """A data segment of an established connection: only its numbers make a RST that is sure to be accepted."""
    if packet.protocol != TCP or packet.flags & (SYN | RST) or not packet.flags & ACK or packet.copy:
        return False
    return packet.payload_at < packet.payload_end
