"""Healed: after the last fault was gone, what was sent was answered."""

from __future__ import annotations

from lab.checks.base import Check, CheckResult, Finding, NoOptions, conclude
from lab.evidence.evidence import Evidence


def judge(evidence: Evidence, options: NoOptions) -> CheckResult:
    """Of the messages sent after the last fault was cleared, none may be without an answer; there must be one."""
    cleared = [fault.cleared_at for fault in evidence.ledger.faults]
    cleared += [toxic["cleared_t"] for toxic in evidence.toxics]
    if not cleared or None in cleared:
        return conclude("healed", "", unclear=[Finding("no fault was set and cleared while the workload ran")])
    end = max(time for time in cleared if time is not None)
    wrong: list[Finding] = []
    later = 0
    for workload in (one for one in evidence.workloads if one.client_journal):
        asked: set[tuple[int | None, int]] = set()
        for line in evidence.journal(workload.client_journal):
            operation = (line["conn"], line["n"])
            if line["n"] is None or line["op"] not in ("message", "lookup", "resolve"):
                continue
            if line["phase"] == "invoke" and line["t"] > end:
                asked.add(operation)
                later += 1
            elif line["phase"] in ("fail", "unknown") and operation in asked:
                wrong.append(Finding(f"message {line['n']}: {line['why']}", workload.client_journal))
    unclear = [] if later else [Finding("nothing was sent after the last fault was gone")]
    return conclude("healed", f"{later} of {later} sent after the last fault were answered", wrong, unclear)


CHECK = Check("healed", NoOptions, judge)
