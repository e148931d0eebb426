"""Rate: a narrow link, as a token bucket with a queue (tc-tbf(8))."""

from __future__ import annotations

from collections import deque
from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from lab.faults.base import Decider, Delay, Draw, Drop, Effect, Fault, Stage, Verdict
from lab.packets import Packet
from lab.units import Bytes, Kilobits


class Rate(Fault):
    """Let at most `rate_kbit` through, after bursts of at most `burst_bytes`; what waits is at most the queue's limit.

    In any time t no more than burst + rate * t leaves. A frame counts whole, Ethernet header included. What does not
    fit into the queue (`limit_packets`, or `limit_bytes` where given) is dropped, as a queue drop. All flows
    of the path share it.
    """

    kind: ClassVar[str] = "rate"
    stage: ClassVar[Stage] = Stage.RATE
    leaves: ClassVar[frozenset[Effect]] = frozenset({Effect.DELAYED, Effect.DROPPED})
    per_path: ClassVar[bool] = True
    short: ClassVar[str | None] = "rate"

    rate_kbit: Kilobits
    burst_bytes: Annotated[Bytes, Field(ge=1514)] = 1514
    limit_packets: Annotated[int, Field(ge=1, le=30_000)] | None = None
    limit_bytes: Bytes | None = None

    @model_validator(mode="after")
    def _one_limit(self) -> Rate:
        if self.limit_packets is not None and self.limit_bytes is not None:
            raise ValueError("rate takes one of limit_packets, limit_bytes")
        return self

    def decider(self, draw: Draw) -> Decider:
        return _Bucket(self)


DEFAULT_LIMIT_PACKETS = 1000


class _Bucket:
    """`empty_at` is when the bucket will be full again, minus the time that filling it takes: a virtual clock."""

    def __init__(self, rate: Rate) -> None:
        self._ns_per_byte = 8e6 / rate.rate_kbit
        self._burst_ns = rate.burst_bytes * self._ns_per_byte
        self._limit_bytes = rate.limit_bytes
        self._limit_packets = rate.limit_packets or DEFAULT_LIMIT_PACKETS
        self._spent_until = -self._burst_ns
        self._waiting: deque[tuple[int, int]] = deque()
        self._waiting_bytes = 0

    def __call__(self, packet: Packet, now_ns: int) -> Verdict | None:
        size = len(packet.frame)
        while self._waiting and self._waiting[0][0] <= now_ns:
            self._waiting_bytes -= self._waiting.popleft()[1]
        full = self._full(size)
        if full is not None:
            return Drop(full)
        # Tokens spent are time on a virtual clock that may run up to one burst behind the real one.
        self._spent_until = max(self._spent_until, now_ns - self._burst_ns) + size * self._ns_per_byte
        leaves = max(now_ns, -int(-self._spent_until // 1))
        if leaves <= now_ns:
            return None
        self._waiting.append((leaves, size))
        self._waiting_bytes += size
        return Delay(leaves - now_ns, "queue")

    def _full(self, size: int) -> str | None:
        if self._limit_bytes is not None:
            full = self._waiting_bytes + size > self._limit_bytes
            return f"queue full: {self._limit_bytes} bytes" if full else None
        return f"queue full: {self._limit_packets} packets" if len(self._waiting) >= self._limit_packets else None
