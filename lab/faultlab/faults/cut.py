"""Cut: a TCP segment loses its end, so that what arrives first stops in the middle of a message."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from faultlab.faults.base import ChangePacket, Decider, Draw, Effect, Fault, Stage
from faultlab.faults.match import StreamByte
from faultlab.network.packets import MASK, TCP, Packet, ahead, shortened


class Cut(Fault):
    """Of a segment that goes on beyond a place in the stream, only what is before it arrives; TCP sends the rest again.

    Places are byte offsets of the stream, `at` some of them or `every` so many bytes. The receiver's application reads
    up to the place, and waits for a retransmission to read on: TCP keeps no boundaries (RFC 9293, 3.9.1). With `every`,
    bytes that were sent once are not cut again, so that a segment is cut once: TCP doubles its time-out each time that
    its retransmission is lost too (RFC 6298, 5.5), as it does for several places of `at` in one segment.
    """

    kind: ClassVar[str] = "cut"
    stage: ClassVar[Stage] = Stage.CORRUPT
    leaves: ClassVar[frozenset[Effect]] = frozenset({Effect.CHANGED})
    short: ClassVar[str | None] = "every"

    at: Annotated[tuple[Annotated[StreamByte, Field(ge=1)], ...], Field(min_length=1)] | None = None
    every: Annotated[int, Field(ge=1, strict=True)] | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Cut:
        if (self.at is None) == (self.every is None):
            raise ValueError("cut takes exactly one of at, every")
        return self

    def decider(self, draw: Draw) -> Decider:
        begin = end = -1
        ordinal = 0

        def decide(packet: Packet, now_ns: int) -> ChangePacket | None:
            nonlocal begin, end, ordinal
            size = packet.payload_end - packet.payload_at
            if packet.protocol != TCP or packet.stream_at < 0 or not size:
                return None
            start = packet.stream_at
            if packet.ordinal != ordinal:  # a copy is cut where its original was
                begin, ordinal = start if end < 0 else end, packet.ordinal
                end = max((begin, start + size & MASK), key=lambda at: ahead(at, begin))
            place = self._first_inside(start, start + size, max(0, ahead(begin, start)))
            if place is None:
                return None
            return ChangePacket(shortened(packet, place - packet.stream_at), f"cut at byte {place}", place)

        return decide

    def _first_inside(self, start: int, end: int, old: int) -> int | None:
        """A place with bytes of the segment on both sides of it, of which `old` were sent before."""
        if self.every is not None:
            place = ((start + old) // self.every + 1) * self.every
            return place if place < end else None
        return min((place for place in self.at or () if start < place < end), default=None)
