"""Delay: how long packets took on a path, from the captures."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from faultlab.checks.base import Bounds, Check, CheckResult, Finding, conclude, judge_time, took_in_words
from faultlab.evidence.gaps import Took
from faultlab.evidence.run_evidence import Evidence
from faultlab.units import Percent


class DelayOptions(Bounds):
    """The path, written `a->b`; bounds in ms for the given percentile of its packets' one-way delays."""

    path: Annotated[str, Field(pattern=r"^\S+->\S+$")]
    percentile: Percent = 50.0


def judge(evidence: Evidence, options: DelayOptions) -> CheckResult:
    """Delivered time minus sent time of each packet that arrived; what it can have waited unseen counts."""
    source, _, target = options.path.partition("->")
    sent, delivered, gaps = evidence.sent, evidence.delivered, evidence.gaps
    started = {sent.packets[index]: sent.times[index] for index in range(len(sent)) if sent.node(index) == source}
    delays = [
        gaps.took(source, started[packet], time, (time,))
        for index, (packet, time) in enumerate(zip(delivered.packets, delivered.times, strict=True))
        if packet in started and delivered.node(index) == target
    ]
    if not delays:
        return conclude("delay", "", unclear=[Finding(f"no packet was delivered on {options.path}")])
    place = min(len(delays) - 1, int(len(delays) * options.percentile / 100))
    value = Took(*(sorted(bound)[place] for bound in zip(*delays, strict=True)))
    text = f"p{options.percentile:g} {took_in_words(value, 2)} of {len(delays)} packets on {options.path}"
    return judge_time("delay", text, value, options, gaps, delivered.name)


CHECK = Check("delay", DelayOptions, judge)
