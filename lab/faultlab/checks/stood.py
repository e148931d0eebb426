"""How long each fault and toxic stood, held against how long it was asked to: an engine or a runner may stall."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import Field

from faultlab.checks.base import CheckOptions, Finding
from faultlab.evidence.run_evidence import Evidence

MS = 1_000_000
TOLERANCE_SHARE = 0.1
TOLERANCE_MS = 50.0


class Timed(CheckOptions):
    """A fault that was asked for a time: where, what, and from when on, in ms from the workloads' first packet."""

    path: str
    describe: str
    at_ms: Annotated[float, Field(ge=0)] = 0.0
    for_ms: Annotated[float, Field(gt=0)]


def tolerance_ms(asked_ms: float) -> float:
    """A tenth of what was asked, or 50 ms where that is more, but never more than half."""
    return max(asked_ms * TOLERANCE_SHARE, min(TOLERANCE_MS, asked_ms / 2))


def not_as_asked(evidence: Evidence, timed: tuple[Timed, ...]) -> Iterator[Finding]:
    """The faults and toxics that stood too long or too short. What the workloads' own end cut short was asked so."""
    begun = next((note["t"] for note in evidence.ledger.noted("began")), None)
    ended = next((note["t"] for note in evidence.ledger.noted("ended")), 1 << 63)
    left = list(evidence.ledger.faults)
    for one in sorted(timed, key=lambda one: one.at_ms):
        fault = next((fault for fault in left if (fault.path, fault.describe) == (one.path, one.describe)), None)
        if fault is None or begun is None:
            continue  # that it was not set, or that there was no packet, is said elsewhere
        left.remove(fault)
        asked = one.for_ms * MS
        from_then = begun + one.at_ms * MS
        stood = (fault.cleared_at or ended) - (max(fault.set_at, begun) if one.at_ms <= 0 else fault.set_at)
        yield from _judge(f"{one.describe} on {one.path}", stood, min(asked, ended - from_then))
    for toxic in evidence.toxics:
        yield from _judge_toxic(toxic, ended)


def _judge_toxic(toxic: dict[str, Any], ended: int) -> Iterator[Finding]:
    if toxic.get("for_ms") is not None and toxic["cleared_t"] is not None:
        asked = min(toxic["for_ms"] * MS, ended - toxic["set_t"])
        yield from _judge(f"toxic {toxic['type']} on {toxic['proxy']}", toxic["cleared_t"] - toxic["set_t"], asked)


def _judge(what: str, stood: float, asked: float) -> Iterator[Finding]:
    if asked > 0 and abs(stood - asked) > tolerance_ms(asked / MS) * MS:
        text = f"{what} stood {stood / MS:.0f} ms and was asked for {asked / MS:.0f} ms"
        yield Finding(f"{text} (tolerance {tolerance_ms(asked / MS):.0f} ms)", "ledger.bin")
