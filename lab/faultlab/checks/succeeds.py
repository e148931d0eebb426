"""Succeeds: the user's own client ended by itself, and was content: its exit status is 0."""

from __future__ import annotations

from faultlab.checks.base import Check, CheckResult, Finding, NoOptions, conclude
from faultlab.evidence.run_evidence import Evidence


def judge(evidence: Evidence, options: NoOptions) -> CheckResult:
    """Any other status fails; a client that had to be ended by the scenario's time-out proves nothing."""
    wrong: list[Finding] = []
    unclear: list[Finding] = []
    clients = evidence.of_kind("command")
    for one in clients:
        log = f"log/{one.name}.txt"
        if one.status is None:
            unclear.append(Finding(f"{one.name} did not end in time", log))
        elif one.status != 0:
            words = evidence.last_words(one) or "no word"
            wrong.append(Finding(f"{one.name} ended with {one.status}: {words}", log))
    if not clients:
        unclear.append(Finding("no command was a workload"))
    return conclude("succeeds", f"{len(clients)} of {len(clients)} clients were content", wrong, unclear)


CHECK = Check("succeeds", NoOptions, judge)
