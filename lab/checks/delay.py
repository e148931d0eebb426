"""Delay: how long packets took on a path, from the captures."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from lab.checks.base import Check, CheckResult, Finding, Options, conclude
from lab.evidence.evidence import Evidence
from lab.units import Milliseconds, Percent


class DelayOptions(Options):
    """The path, written `a->b`; bounds in ms for the given percentile of its packets' one-way delays."""

    path: Annotated[str, Field(pattern=r"^\S+->\S+$")]
    at_least_ms: Milliseconds = 0.0
    at_most_ms: Milliseconds = 3_600_000.0
    percentile: Percent = 50.0


def judge(evidence: Evidence, options: DelayOptions) -> CheckResult:
    """Delivered time minus sent time of each packet that arrived."""
    source, _, target = options.path.partition("->")
    sent, delivered = evidence.sent, evidence.delivered
    started = {sent.packets[index]: sent.times[index] for index in range(len(sent)) if sent.node(index) == source}
    delays = sorted(
        (delivered.times[index] - started[delivered.packets[index]]) / 1e6
        for index in range(len(delivered))
        if delivered.node(index) == target and delivered.packets[index] in started
    )
    if not delays:
        return conclude("delay", "", unclear=[Finding(f"no packet was delivered on {options.path}")])
    value = delays[min(len(delays) - 1, int(len(delays) * options.percentile / 100))]
    text = f"p{options.percentile:g} {value:.2f} ms of {len(delays)} packets on {options.path}"
    if options.at_least_ms <= value <= options.at_most_ms:
        return conclude("delay", text)
    expected = f"expected {options.at_least_ms:g} ms to {options.at_most_ms:.7g} ms"
    return conclude("delay", "", [Finding(f"{text}, {expected}", delivered.name)])


CHECK = Check("delay", DelayOptions, judge)
