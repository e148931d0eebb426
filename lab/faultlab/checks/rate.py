"""Rate: how much a path let through, from the capture of what was delivered."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from faultlab.checks.base import Check, CheckOptions, CheckResult, Finding, conclude
from faultlab.evidence.run_evidence import Evidence
from faultlab.units import Bytes, Kilobits


class RateOptions(CheckOptions):
    """The path, written `a->b`; in any time t at most `burst_bytes` + `at_most_kbit` * t may arrive."""

    path: Annotated[str, Field(pattern=r"^\S+->\S+$")]
    at_most_kbit: Kilobits
    burst_bytes: Bytes = 1514


def judge(evidence: Evidence, options: RateOptions) -> CheckResult:
    """A token bucket that only fills and empties: it must never have to owe."""
    source, _, target = options.path.partition("->")
    sent, delivered = evidence.sent, evidence.delivered
    ours = {sent.packets[index] for index in range(len(sent)) if sent.node(index) == source}
    tokens, last, total, first = float(options.burst_bytes), 0, 0, 0
    wrong, unclear = [], []
    for index in range(len(delivered)):
        if delivered.node(index) != target or delivered.packets[index] not in ours:
            continue
        now, size = delivered.times[index], len(delivered.frame(index))
        tokens = min(options.burst_bytes, tokens + (now - last) * options.at_most_kbit / 8e6 if last else tokens) - size
        first, last, total = first or now, now, total + size
        if tokens < -1:
            where = f"{delivered.name} frame {index + 1} (ledger {delivered.packets[index]})"
            text = f"{-tokens:.0f} bytes more than {options.at_most_kbit:g} kbit/s allow"
            if evidence.gaps.has(now):  # what was due meanwhile leaves all at once
                unclear.append(Finding(f"{text}; {evidence.gaps.in_words()}", where))
            else:
                wrong.append(Finding(text, where))
            tokens = 0.0
    if total == 0:
        return conclude("rate", "", unclear=[Finding(f"no packet was delivered on {options.path}")])
    seconds = max(1, last - first) / 1e9
    return conclude("rate", f"{total * 8 / 1e3 / seconds:.0f} kbit/s on {options.path}", wrong, unclear)


CHECK = Check("rate", RateOptions, judge)
