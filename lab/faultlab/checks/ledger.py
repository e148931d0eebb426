"""Ledger: the engine's record and both captures tell the same story, packet by packet."""

from __future__ import annotations

from faultlab.checks.base import Check, CheckResult, Finding, NoOptions, conclude, kernel_drops
from faultlab.evidence.reconcile import reconcile
from faultlab.evidence.run_evidence import Evidence


def judge(evidence: Evidence, options: NoOptions) -> CheckResult:
    """A ledger or capture that was cut short, or left packets out, proves nothing; nor does one of packets unseen."""
    unclear = []
    ledger = evidence.ledger
    if "failed" in evidence.end:
        unclear.append(Finding(f"the engine did not end as it should: {evidence.end['failed']}", "end.json"))
    if not ledger.complete:
        unclear.append(Finding("the ledger was cut short", "ledger.bin"))
    for capture in (evidence.sent, evidence.delivered):
        if not capture.complete:
            unclear.append(Finding("the capture was cut short", capture.name))
    if not ledger.entries:
        unclear.append(Finding("no packet crossed the network", "ledger.bin"))
    for note in ledger.noted("end"):
        unclear += [
            Finding(f"{size} bytes of evidence did not fit into the file", name)
            for name, size in note["left_out"].items()
            if size
        ]
    unclear += [Finding(f"a device refused a frame: {note['error']}") for note in ledger.noted("refused")]
    unclear += [
        Finding(f"{count} frames of {node} were lost before the engine saw them", "end.json")
        for node, count in evidence.end.get("lost_before_wire", {}).items()
    ]
    unclear += [
        Finding(f"netem's captures are incomplete: {note['lost']} frames were missed", "ledger.bin")
        for note in ledger.noted("warning")
        if note["text"] == "captures incomplete"
    ]
    if unclear:
        return conclude("ledger", "", unclear=unclear)
    account = reconcile(evidence)
    wrong = [Finding(text, where) for text, where in account.mismatches]
    summary = (
        f"{account.packets} packets: {account.delivered} delivered, {account.dropped} dropped"
        + (f", {account.duplicated} duplicated" if account.duplicated else "")
        + (f", {account.injected} forged" if account.injected else "")
        + (f", {account.waiting} waiting at the end" if account.waiting else "")
        + "; captures agree"
        + kernel_drops(evidence)
    )
    notes = [Finding(evidence.gaps.in_words(), "ledger.bin")] if evidence.gaps.is_long else []
    return conclude("ledger", summary, wrong, notes=notes)


CHECK = Check("ledger", NoOptions, judge)
