"""Reliability: every message sent over TCP arrived exactly once, unchanged, and so did its answer."""

from __future__ import annotations

from collections import Counter

from lab.checks.base import Check, CheckResult, Finding, NoOptions, conclude
from lab.checks.messages import Connection, connections
from lab.evidence.evidence import Evidence


def judge(evidence: Evidence, options: NoOptions) -> CheckResult:
    """An operation without an answer is unknown: neither lost nor delivered, so the check can't conclude."""
    wrong: list[Finding] = []
    unclear: list[Finding] = []
    count = good = 0
    for workload in evidence.of_kind("tcp"):
        asked = workload.messages * workload.connections
        seen = connections(evidence, workload)
        count += asked
        sent = sum(len(one.sent) for one in seen)
        if sent < asked:
            unclear.append(Finding(f"{asked - sent} of {asked} messages were never sent", workload.client_journal))
        for one in seen:
            good += sum(reply["phase"] == "ok" for reply in one.replies)
            _judge_answers(one, wrong, unclear)
            if workload.framing == "raw":
                _judge_streams(one, wrong, unclear)
            else:
                _judge_arrivals(one, wrong)
    if not count:
        unclear.append(Finding("no TCP workload"))
    return conclude("reliability", f"{good}/{count}", wrong, unclear)


def _judge_answers(one: Connection, wrong: list[Finding], unclear: list[Finding]) -> None:
    outcomes = {reply["n"]: reply for reply in one.replies}
    for line in one.sent:
        reply = outcomes.get(line["n"])
        if reply is None or reply["phase"] == "unknown":
            why = reply["why"] if reply is not None else "no outcome"
            unclear.append(Finding(f"message {line['n']} has no answer ({why})", one.name))
        elif reply["phase"] == "fail" or reply["digest"] != line["digest"]:
            wrong.append(Finding(f"message {line['n']} came back different ({reply['why']})", one.name))
    wrong.extend(Finding(f"an answer to nothing, {line['size']} bytes", one.name) for line in one.strays)


def _judge_arrivals(one: Connection, wrong: list[Finding]) -> None:
    sent = Counter(line["digest"] for line in one.sent)
    numbers = {line["digest"]: line["n"] for line in one.sent}
    answered = {line["digest"] for line in one.replies if line["phase"] == "ok"}
    received = Counter(line["digest"] for line in one.received)
    where = f"{one.workload.server_journal}: connection {', '.join(map(str, one.server_conns)) or 'none'}"
    for digest, times in received.items():
        if digest not in sent:
            wrong.append(Finding("the server received a message that nobody sent", where))
        elif times > sent[digest]:
            wrong.append(Finding(f"message {numbers[digest]} arrived {times} times", where))
    for digest in answered:
        if received[digest] < sent[digest]:
            wrong.append(Finding(f"message {numbers[digest]} was answered but did not arrive", where))


def _judge_streams(one: Connection, wrong: list[Finding], unclear: list[Finding]) -> None:
    """Raw TCP has no messages: the bytes that the server read must be the bytes that were sent."""
    if one.close is None:
        return
    if one.server_end is None:
        unclear.append(Finding("the server's side of it was not found", one.name))
        return
    if "sent_digest" in one.close and one.close["phase"] == "ok":
        if one.close["sent_digest"] != one.server_end.get("received_digest"):
            wrong.append(Finding("the server read other bytes than were sent", one.name))
        if one.close.get("echoed_digest") != one.close["sent_digest"]:
            wrong.append(Finding("other bytes were echoed than were sent", one.name))


CHECK = Check("reliability", NoOptions, judge)
