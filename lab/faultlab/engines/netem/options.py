"""What netem is told: its options as numbers, and as the bytes of `TCA_OPTIONS`. No kernel, no I/O.

Every encoding says everything: netem keeps what a change leaves out, so an option that is off is told to be off, and
plain jitter has a table of its own instead of none. Sources: tc-netem(8), linux/pkt_sched.h, net/sched/sch_netem.c.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist
from struct import Struct

from faultlab.engines.netem.messages import attribute

QUEUE_PACKETS = 32_768
"""Packets that may wait in one netem: the wire's own limit."""
TABLE_SIZE = 4096
TABLE_UNIT = 8192
"""A table's entry of so much stands for one whole jitter."""

_FIXED = Struct("=6I")
_CORRELATIONS = Struct("=III")
_CHANCE = Struct("=II")
_RATE = Struct("=IiIi")
_GILBERT_ELLIOTT = Struct("=4I")
_I64, _U64 = Struct("=q"), Struct("=Q")
_CORR, _DELAY_DIST, _REORDER, _CORRUPT, _LOSS, _RATE_ATTRIBUTE = 1, 2, 3, 4, 5, 6
_RATE64, _LATENCY64, _JITTER64, _PRNG_SEED = 8, 10, 11, 14
_LOSS_GE = 2
_TICK_NS = 64
_U32_MAX = 0xFFFFFFFF


@dataclass(frozen=True)
class Burst:
    """Gilbert-Elliott: chances, 0 to 1, of going bad, of going good again, and of loss in each state."""

    to_bad: float
    to_good: float
    loss_in_bad: float
    loss_in_good: float


@dataclass(frozen=True)
class Netem:
    """What one netem does. Times in ns, chances 0 to 1, `rate` in bytes/s (0: none), `limit` in packets.

    `reorder` is the chance that a packet skips the delay, at most every `gap`-th.
    """

    delay: int = 0
    jitter: int = 0
    distribution: str = "uniform"
    delay_correlation: float = 0.0
    loss: float = 0.0
    burst: Burst | None = None
    duplicate: float = 0.0
    reorder: float = 0.0
    gap: int = 0
    corrupt: float = 0.0
    rate: int = 0
    limit: int = QUEUE_PACKETS

    @property
    def least_delay(self) -> int:
        """The least that a packet is delayed which doesn't skip the delay; a lower bound where it varies."""
        return max(0, self.delay - self.jitter) if self.distribution == "uniform" else 0

    def encode(self, seed: int) -> bytes:
        """`TCA_OPTIONS`. Kernels before 6.6 ignore the seed."""
        fixed = _FIXED.pack(
            min(self.delay // _TICK_NS, _U32_MAX),
            self.limit,
            _chance(self.loss),
            self.gap,
            _chance(self.duplicate),
            min(self.jitter // _TICK_NS, _U32_MAX),
        )
        return fixed + b"".join(
            (
                attribute(_LATENCY64, _I64.pack(self.delay)),
                attribute(_JITTER64, _I64.pack(self.jitter)),
                attribute(_DELAY_DIST, delay_table(self.distribution)),
                attribute(_CORR, _CORRELATIONS.pack(_chance(self.delay_correlation), 0, 0)),
                attribute(_REORDER, _CHANCE.pack(_chance(self.reorder), 0)),
                attribute(_CORRUPT, _CHANCE.pack(_chance(self.corrupt), 0)),
                attribute(_RATE_ATTRIBUTE, _RATE.pack(min(self.rate, _U32_MAX), 0, 0, 0)),
                attribute(_RATE64, _U64.pack(self.rate)) if self.rate > _U32_MAX else b"",
                attribute(_LOSS, _burst(self.burst)) if self.burst is not None else b"",
                attribute(_PRNG_SEED, _U64.pack(seed)),
            )
        )


def _chance(value: float) -> int:
    return round(value * _U32_MAX)


def _burst(burst: Burst) -> bytes:
    kept_in_bad = 1 - burst.loss_in_bad
    chances = map(_chance, (burst.to_bad, burst.to_good, kept_in_bad, burst.loss_in_good))
    return attribute(_LOSS_GE, _GILBERT_ELLIOTT.pack(*chances))


# -- delay tables ------------------------------------------------------------------------------------------------------


def _uniform(chance: float) -> float:
    return 2 * chance - 1


def _normal(chance: float) -> float:
    return NormalDist().inv_cdf(chance)


def _pareto(chance: float) -> float:
    """Shape 3, scaled to mean 0 and deviation 1."""
    shape = 3.0
    mean, deviation = shape / (shape - 1), math.sqrt(shape / (shape - 2)) / (shape - 1)
    return (math.pow(1 - chance, -1 / shape) - mean) / deviation


DISTRIBUTIONS: dict[str, Callable[[float], float]] = {"uniform": _uniform, "normal": _normal, "pareto": _pareto}
"""Inverse distribution functions: chance in (0, 1) -> jitters away from the delay."""


@cache
def delay_table(distribution: str) -> bytes:
    """The 16-bit numbers that netem draws a delay's deviation from."""
    inverse = DISTRIBUTIONS[distribution]
    middles = ((number + 0.5) / TABLE_SIZE for number in range(TABLE_SIZE))
    values = (max(-32768, min(32767, round(TABLE_UNIT * inverse(middle)))) for middle in middles)
    return Struct(f"={TABLE_SIZE}h").pack(*values)
