"""Latency: packets arrive later; by a fixed time, with jitter, or as a trace says."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path
from statistics import NormalDist
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from faultlab.errors import reason
from faultlab.faults.base import Decider, DelayPacket, Draw, Effect, Fault, Stage
from faultlab.faults.match import Match
from faultlab.network.packets import Packet
from faultlab.units import Milliseconds, Percent

TRACE_LIMIT = 4000
"""Delays in a trace: what an order to the engine has room for."""
_NORMAL = NormalDist()
_PARETO_SHAPE = 3.0
_PARETO_MEAN = _PARETO_SHAPE / (_PARETO_SHAPE - 1)
_PARETO_DEVIATION = (_PARETO_SHAPE / ((_PARETO_SHAPE - 1) ** 2 * (_PARETO_SHAPE - 2))) ** 0.5
_TINY = 2.0**-53


def _read_trace(value: Any) -> Any:
    """A file's name stands for the delays in it: milliseconds, one a line. ValueError names the line that is wrong."""
    if not isinstance(value, str):
        return value
    try:
        lines = Path(value).read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"trace {value!r}: can't be read ({reason(error)}); expected a text file of delays in ms"
        ) from error
    delays = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                delays.append(float(line))
            except ValueError:
                raise ValueError(f"trace {value}:{number}: {line[:40]!r} is no number of milliseconds") from None
    return tuple(delays)


Trace = Annotated[
    tuple[Annotated[float, Field(ge=0, le=3_600_000)], ...],
    BeforeValidator(_read_trace, json_schema_input_type=str | list[float]),
    Field(min_length=1, max_length=TRACE_LIMIT),
]


class Latency(Fault):
    """Delay each packet by `delay_ms`, give or take `jitter_ms`; or by the delays of a trace, in turn, over and over.

    Jitter is uniform in delay +- jitter, or has `jitter_ms` as its standard deviation (normal; pareto with shape 3,
    as iproute2's table). A packet never leaves before what was asked: the delay without jitter; delay - jitter where
    that is uniform, delay - 0.58 jitter for pareto; never less than 0, which is all that is sure of normal.
    `correlation_percent` mixes in the flow's last draw, as tc-netem(8) does; it narrows the spread.
    With jitter or a trace a packet may overtake another, as under netem, but not where a rate for all packets stands on
    the path: its queue keeps the order. Each flow runs through a trace by itself.
    Packets that `match` leaves out don't wait for those that it delays.
    """

    kind: ClassVar[str] = "latency"
    stage: ClassVar[Stage] = Stage.LATENCY
    leaves: ClassVar[frozenset[Effect]] = frozenset({Effect.DELAYED})
    short: ClassVar[str | None] = "delay"

    delay_ms: Milliseconds = 0.0
    jitter_ms: Milliseconds = 0.0
    distribution: Literal["uniform", "normal", "pareto"] = "uniform"
    correlation_percent: Percent = 0.0
    trace: Trace | None = None

    @model_validator(mode="after")
    def _delays_something(self) -> Latency:
        if self.trace is not None and (self.delay_ms or self.jitter_ms):
            raise ValueError("latency takes a trace, or a delay with jitter, not both")
        if self.trace is None and not self.delay_ms:
            raise ValueError("latency needs a delay above zero, such as 50ms, or a trace")
        if self.correlation_percent and not self.jitter_ms:
            raise ValueError("latency: a correlation needs jitter")
        return self

    @property
    def reorders(self) -> bool:
        return bool(self.jitter_ms) or self.trace is not None or self.match != Match()

    def decider(self, draw: Draw) -> Decider:
        if self.trace is not None:
            return _by_trace(self.trace)
        if not self.jitter_ms:
            verdict = DelayPacket(round(self.delay_ms * 1e6), "fixed")
            return lambda packet, now_ns: verdict
        return self._with_jitter(draw)

    def _with_jitter(self, draw: Draw) -> Decider:
        shape, delay, jitter = _SHAPES[self.distribution], self.delay_ms * 1e6, self.jitter_ms * 1e6
        kept = self.correlation_percent / 100
        last: float | None = None

        def decide(packet: Packet, now_ns: int) -> DelayPacket:
            nonlocal last
            value = draw.one(packet)
            if kept and last is not None:
                value = kept * last + (1 - kept) * value
            last = value
            return DelayPacket(max(0, round(delay + jitter * shape(value))), self.distribution)

        return decide


def _by_trace(trace: tuple[float, ...]) -> Decider:
    numbers = count()
    return lambda packet, now_ns: DelayPacket(round(trace[next(numbers) % len(trace)] * 1e6), "trace")


def _uniform(value: float) -> float:
    return 2 * value - 1


def _normal(value: float) -> float:
    return _NORMAL.inv_cdf(max(value, _TINY))


def _pareto(value: float) -> float:
    return float(((1 - value) ** (-1 / _PARETO_SHAPE) - _PARETO_MEAN) / _PARETO_DEVIATION)


_SHAPES: dict[str, Callable[[float], float]] = {"uniform": _uniform, "normal": _normal, "pareto": _pareto}
