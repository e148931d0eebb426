"""Rate: a narrow link, as a token bucket with a queue (tc-tbf(8))."""

from __future__ import annotations

from collections import deque
from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from faultlab.faults.base import Decider, Decision, DelayPacket, Draw, DropPacket, Effect, Fault, Stage
from faultlab.faults.match import Match
from faultlab.network.packets import Packet
from faultlab.units import Bytes, Kilobits

DEFAULT_LIMIT_PACKETS = 1000
MOST_PACKETS = 30_000
"""Packets that may wait, whatever the limit in bytes: a little less than the wire itself has room for."""


class Rate(Fault):
    """Let at most `rate_kbit` through, after bursts of at most `burst_bytes`; what waits is at most the queue's limit.

    In any time t no more than burst + rate * t leaves. What counts is the frame: IP packet and Ethernet header, without
    a check sequence. What does not fit into the queue (`limit_packets`, or `limit_bytes` where given) is dropped, as a
    queue drop; so is a frame larger than the burst (tc-tbf(8)). All flows of the path share it; packets that `match`
    leaves out pass by its queue, and so does one that `reorder` sends ahead (tc-netem(8)).
    """

    kind: ClassVar[str] = "rate"
    stage: ClassVar[Stage] = Stage.RATE
    leaves: ClassVar[frozenset[Effect]] = frozenset({Effect.DELAYED, Effect.DROPPED})
    per_path: ClassVar[bool] = True
    short: ClassVar[str | None] = "rate"

    rate_kbit: Kilobits
    burst_bytes: Annotated[Bytes, Field(ge=1514)] = 1514
    limit_packets: Annotated[int, Field(ge=1, le=MOST_PACKETS, strict=True)] | None = None
    limit_bytes: Bytes | None = None

    @model_validator(mode="after")
    def _one_limit(self) -> Rate:
        if self.limit_packets is not None and self.limit_bytes is not None:
            raise ValueError("rate takes one of limit_packets, limit_bytes")
        return self

    @property
    def reorders(self) -> bool:
        return self.match != Match()

    def decider(self, draw: Draw) -> Decider:
        return _Bucket(self)


class _Bucket:
    """Tokens are told as time: `spent_until` is when the tokens spent so far will have come in, at the rate.

    It may lie up to one burst behind the clock (a full bucket); a packet leaves when it is not ahead of it.
    """

    def __init__(self, rate: Rate) -> None:
        self._ns_per_byte = 8e6 / rate.rate_kbit
        self._burst_ns = rate.burst_bytes * self._ns_per_byte
        self._burst_bytes = rate.burst_bytes
        self._limit_bytes = rate.limit_bytes
        fallback = DEFAULT_LIMIT_PACKETS if rate.limit_bytes is None else MOST_PACKETS
        self._limit_packets = rate.limit_packets or fallback
        self._spent_until = -self._burst_ns
        self._waiting: deque[tuple[int, int]] = deque()
        self._waiting_bytes = 0

    def __call__(self, packet: Packet, now_ns: int) -> Decision | None:
        size = len(packet.frame)
        while self._waiting and self._waiting[0][0] <= now_ns:
            self._waiting_bytes -= self._waiting.popleft()[1]
        refusal = self._refusal(size)
        if refusal is not None:
            return DropPacket(refusal)
        self._spent_until = max(self._spent_until, now_ns - self._burst_ns) + size * self._ns_per_byte
        leaves = max(now_ns, -int(-self._spent_until // 1))
        if leaves <= now_ns:
            return None
        self._waiting.append((leaves, size))
        self._waiting_bytes += size
        return DelayPacket(leaves - now_ns, "queue")

    def _refusal(self, size: int) -> str | None:
        if size > self._burst_bytes:
            return f"larger than the burst of {self._burst_bytes} bytes"
        if self._limit_bytes is not None and self._waiting_bytes + size > self._limit_bytes:
            return f"queue full: {self._limit_bytes} bytes"
        return f"queue full: {self._limit_packets} packets" if len(self._waiting) >= self._limit_packets else None
