"""Healed: after the last fault was gone, what was sent was answered."""

from __future__ import annotations

from faultlab.checks.base import Check, CheckResult, Finding, NoOptions, conclude
from faultlab.checks.messages import client_errors
from faultlab.evidence.run_evidence import Evidence


def judge(evidence: Evidence, options: NoOptions) -> CheckResult:
    """Of the messages sent after the last fault was cleared, none may be without an answer; there must be one.

    A message without an outcome, because its client crashed, is not answered, and nobody knows why.
    """
    cleared = [fault.cleared_at for fault in evidence.ledger.faults]
    cleared += [toxic["cleared_t"] for toxic in evidence.toxics]
    if not cleared or None in cleared:
        return conclude("healed", "", unclear=[Finding("no fault was set and cleared while the workload ran")])
    end = max(time for time in cleared if time is not None)
    wrong: list[Finding] = []
    unclear: list[Finding] = []
    later = answered = 0
    for workload in (one for one in evidence.workloads if one.client_journal):
        waiting: set[tuple[int | None, int]] = set()
        for line in evidence.operations(workload):
            operation = (line["conn"], line["n"])
            if line["phase"] == "invoke" and line["t"] > end:
                waiting.add(operation)
                later += 1
            elif line["phase"] in ("ok", "fail", "unknown") and operation in waiting:
                waiting.remove(operation)
                if line["phase"] == "ok":
                    answered += 1
                else:
                    wrong.append(Finding(f"message {line['n']}: {line['why']}", workload.client_journal))
        for _, n in sorted(waiting, key=str):
            unclear.append(Finding(f"message {n} has no outcome", workload.client_journal))
    if not later:
        unclear.append(Finding(f"nothing was sent after the last fault was gone{client_errors(evidence)}"))
    return conclude("healed", f"{answered} of {later} sent after the last fault were answered", wrong, unclear)


CHECK = Check("healed", NoOptions, judge)
