"""Cut: a TCP segment loses its end, so that what arrives first stops in the middle of a message."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from lab.faults.base import Change, Decider, Draw, Effect, Fault, Stage
from lab.faults.match import StreamByte
from lab.packets import TCP, Packet, shortened


class Cut(Fault):
    """Of a segment that goes on beyond a place in the stream, only what is before it arrives; TCP sends the rest again.

    Places are byte offsets of the stream, `at` some of them or `every` so many bytes. The receiver's application reads
    up to the place, and waits for a retransmission to read on: TCP keeps no boundaries (RFC 9293, 3.9.1).
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
        def decide(packet: Packet, now_ns: int) -> Change | None:
            size = packet.payload_end - packet.payload_at
            if packet.protocol != TCP or packet.stream_at < 0 or size < 2:
                return None
            place = self._first_inside(packet.stream_at, packet.stream_at + size)
            if place is None:
                return None
            return Change(shortened(packet, place - packet.stream_at), f"cut at byte {place}", place)

        return decide

    def _first_inside(self, start: int, end: int) -> int | None:
        """A place with bytes of the segment on both sides of it."""
        if self.every is not None:
            place = (start // self.every + 1) * self.every
            return place if place < end else None
        return min((place for place in self.at or () if start < place < end), default=None)
