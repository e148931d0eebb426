"""Reported: a lost connection loses nothing in silence; its application knows of each message what became of it."""

from __future__ import annotations

from faultlab.checks.base import Check, CheckResult, Finding, NoOptions, conclude
from faultlab.checks.messages import Connection, connections
from faultlab.evidence.run_evidence import Evidence


def judge(evidence: Evidence, options: NoOptions) -> CheckResult:
    """Of a broken connection each message is answered, of unknown fate with a reason, or unsent; the others complete.

    What the server received of any is a beginning of what was sent, each message once (RFC 9293, 3.5.3: a reset is
    told to the user, and what was not acknowledged may or may not have arrived). A client that crashed reports nothing.
    """
    wrong: list[Finding] = []
    unclear: list[Finding] = []
    told = broken = 0
    for workload in evidence.of_kind("tcp"):
        for one in connections(evidence, workload):
            ended = _answered(one)
            unsent = workload.messages - len(one.sent)
            if unsent or len(ended) < len(one.sent):
                broken += 1
                whole = evidence.journal_is_whole(workload.client_journal)
                told += _judge_broken(one, ended, wrong, wrong if whole else unclear)
            if workload.framing != "raw" and workload.server_journal:
                _judge_arrivals(one, ended, wrong)
    if not broken:
        unclear.append(Finding("no connection was lost"))
    return conclude("reported", f"{broken} connections lost; of {told} messages the end is unknown", wrong, unclear)


def _answered(one: Connection) -> set[int]:
    return {reply["n"] for reply in one.replies if reply["phase"] == "ok"}


def _judge_broken(one: Connection, answered: set[int], wrong: list[Finding], silent: list[Finding]) -> int:
    """How many are unknown; `silent` takes the messages without an outcome."""
    reasons = {reply["n"]: reply["why"] for reply in one.replies if reply["phase"] == "unknown"}
    different = {reply["n"] for reply in one.replies if reply["phase"] == "fail"}
    for line in one.sent:
        if line["n"] in different:
            wrong.append(Finding(f"message {line['n']} came back different", one.name))
        elif line["n"] not in answered and not reasons.get(line["n"]):
            silent.append(Finding(f"of message {line['n']} nobody was told what became of it", one.name))
    return len(reasons)


def _judge_arrivals(one: Connection, answered: set[int], wrong: list[Finding]) -> None:
    sent = [line["digest"] for line in one.sent]
    received = [line["digest"] for line in one.received]
    if received != sent[: len(received)]:
        wrong.append(Finding("the server received something else than a beginning of what was sent", one.name))
    elif any(n >= len(received) for n in answered):
        wrong.append(Finding(f"message {max(answered)} was answered but did not arrive", one.name))


CHECK = Check("reported", NoOptions, judge)
