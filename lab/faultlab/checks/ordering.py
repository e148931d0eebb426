"""Ordering: the messages of one connection arrive, and are answered, in the order in which they were sent."""

from __future__ import annotations

from collections import defaultdict

from faultlab.checks.base import Check, CheckResult, Finding, NoOptions, conclude
from faultlab.checks.messages import Connection, client_errors, connections
from faultlab.evidence.journal import JournalLine
from faultlab.evidence.run_evidence import Evidence


def judge(evidence: Evidence, options: NoOptions) -> CheckResult:
    """Looks at order alone: what is lost or doubled is for reliability to say."""
    wrong: list[Finding] = []
    count = 0
    for workload in evidence.of_kind("tcp"):
        for one in connections(evidence, workload):
            if workload.framing != "raw":  # without a server's journal nothing is there to look at
                wrong += _out_of_order(one, one.received, workload.server_journal)
                count += len(one.received)
            answers = sorted(
                (line for line in one.replies if line["phase"] in ("ok", "fail")), key=lambda line: line["t"]
            )
            wrong += _out_of_order(one, answers, workload.client_journal)
            count += len(answers)
    unclear = [] if count else [Finding(f"no message arrived{client_errors(evidence)}")]
    return conclude("ordering", f"{count} arrivals in order", wrong, unclear)


def _out_of_order(one: Connection, lines: list[JournalLine], journal: str) -> list[Finding]:
    """Messages may equal each other; of those that an arrival may be, it is taken for the first that is in order."""
    numbers: defaultdict[str, list[int]] = defaultdict(list)
    for line in one.sent:
        numbers[line["digest"]].append(line["n"])
    last, found = -1, []
    for line in lines:
        left = numbers[line["digest"]]
        if not left:
            continue
        number = next((number for number in left if number > last), left[0])
        left.remove(number)
        if number < last:
            found.append(Finding(f"message {number} came after message {last}", f"{journal}: connection {one.conn}"))
        last = max(last, number)
    return found


CHECK = Check("ordering", NoOptions, judge)
