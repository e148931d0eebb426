"""Corrupt: bits of the payload flip on the way."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from faultlab.faults.base import ChangePacket, Decider, Draw, Effect, Stage
from faultlab.faults.chance import ChanceFault
from faultlab.network.packets import Packet, with_checksums


class Corrupt(ChanceFault):
    """Flip `bits` neighbouring bits of the transport's payload; one without payload is left alone, and not counted.

    `checksum: broken` leaves the checksum as it was, so that the receiving stack drops the packet (RFC 9293, 3.1;
    RFC 768). `fixed` mends it: only the application can notice. A fragment's checksum covers its fellows too, so it
    can't be mended: `fixed` leaves fragments alone.
    """

    kind: ClassVar[str] = "corrupt"
    stage: ClassVar[Stage] = Stage.CORRUPT
    leaves: ClassVar[frozenset[Effect]] = frozenset({Effect.CHANGED})
    short: ClassVar[str | None] = "percent"

    # At most 15 neighbouring bits: a run that short never leaves the ones' complement sum as it was.
    bits: Annotated[int, Field(ge=1, le=15, strict=True)] = 1
    checksum: Literal["broken", "fixed"] = "broken"

    def decider(self, draw: Draw) -> Decider:
        hit, why = self.hit(draw), f"{self.why()}, checksum {self.checksum}"

        def decide(packet: Packet, now_ns: int) -> ChangePacket | None:
            room = (packet.payload_end - packet.payload_at) * 8 - self.bits + 1
            if room <= 0 or (packet.fragment and self.checksum == "fixed") or not hit(packet):
                return None
            at = packet.payload_at * 8 + int(draw.four(packet)[1] * room)
            frame = flip(packet.frame, at, self.bits)
            return ChangePacket(with_checksums(frame) if self.checksum == "fixed" else frame, why, at)

        return decide


def flip(frame: bytes, at: int, bits: int) -> bytes:
    """The frame with `bits` bits inverted from bit `at` on (bit 0 is the first byte's most significant)."""
    mask = ((1 << bits) - 1) << (len(frame) * 8 - at - bits)
    return (int.from_bytes(frame, "big") ^ mask).to_bytes(len(frame), "big")
