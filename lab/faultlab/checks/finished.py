"""Finished: each workload did all that it was told, and ended by itself. A part of an experiment proves nothing."""

from __future__ import annotations

from faultlab.checks.base import Check, CheckOptions, CheckResult, Finding, conclude
from faultlab.evidence.run_evidence import Evidence, WorkloadRecord

OURS_END_WITH = (0, 1)
"""The exit status of our clients: 1 where an operation failed, which is for the other checks (docs/services.md)."""
THINGS = {"tcp": "messages", "udp": "datagrams", "dns": "names"}


class Ending(CheckOptions):
    """connections_may_end: whether a lost connection is the experiment, so that what it left unsent is expected."""

    connections_may_end: bool = False


def judge(evidence: Evidence, options: Ending) -> CheckResult:
    """A time-out, a client that failed, less sent than asked, an operation without an outcome: all are unclear."""
    unclear: list[Finding] = []
    told = []
    for workload in evidence.workloads:
        trouble, count = _judge(evidence, workload, options)
        told.append(f"{workload.name} {count or 'ended by itself'}")
        if trouble:
            words = evidence.last_words(workload)
            text = f"{workload.name} {trouble}{'; ' if count else ''}{count}{': ' if words else ''}{words}"
            unclear.append(Finding(text, f"log/{workload.name}.txt"))
    if not evidence.workloads:
        unclear.append(Finding("no workload ran"))
    return conclude("finished", "; ".join(told), unclear=unclear)


def _judge(evidence: Evidence, workload: WorkloadRecord, options: Ending) -> tuple[str, str]:
    """What is wrong with how it ended (empty: nothing), and how much it sent (empty: nobody can say)."""
    ended = _ending(evidence, workload)
    if not workload.client_journal:
        return ended, ""
    asked, (sent, no_outcome) = workload.messages * workload.connections, _counts(evidence, workload)
    count = f"sent {sent} of {asked} {THINGS[workload.kind]}"
    if no_outcome:
        ended = ended or "left no word about some"
        count += f", of which {no_outcome} have no outcome"
    if not ended and sent < asked and not (options.connections_may_end and workload.kind == "tcp" and sent):
        ended = "did less than it was asked"
    return ended, count


def _ending(evidence: Evidence, workload: WorkloadRecord) -> str:
    if workload.status is None:
        limits = [note["after_ms"] for note in evidence.ledger.noted("timeout")]
        return "was stopped at the scenario's time-out" + (f" of {limits[0] / 1e3:g} s" if limits else "")
    if not workload.client_journal:
        return f"ended with {workload.status}" if workload.status else ""
    crashed = workload.status not in OURS_END_WITH or not evidence.journal_is_whole(workload.client_journal)
    return f"failed with {workload.status}" if crashed else ""


def _counts(evidence: Evidence, workload: WorkloadRecord) -> tuple[int, int]:
    """How many operations were begun (but for datagrams that our own host refused), and how many never ended."""
    begun, ended, refused = set(), set(), 0
    for line in evidence.operations(workload):
        operation = (line["conn"], line["n"])
        if line["phase"] == "invoke":
            begun.add(operation)
        elif line["phase"] in ("ok", "fail", "unknown"):
            ended.add(operation)
            refused += workload.kind == "udp" and line["phase"] == "fail" and line["digest"] is None
    return len(begun) - refused, len(begun - ended)


CHECK = Check("finished", Ending, judge)
