"""Reliability: every message sent over TCP arrived exactly once, unchanged, and so did its answer."""

from __future__ import annotations

from collections import Counter

from faultlab.checks.base import Check, CheckResult, Finding, NoOptions, conclude
from faultlab.checks.messages import Connection, client_errors, connections
from faultlab.evidence.journal import JournalLine
from faultlab.evidence.run_evidence import Evidence


def judge(evidence: Evidence, options: NoOptions) -> CheckResult:
    """An operation without an answer is unknown: neither lost nor delivered, so the check can't conclude."""
    wrong: list[Finding] = []
    unclear: list[Finding] = []
    count = good = 0
    for workload in evidence.of_kind("tcp"):
        asked = workload.messages * workload.connections
        seen = connections(evidence, workload)
        owners = {line["digest"]: one.conn for one in seen for line in one.sent}
        count += asked
        sent = sum(len(one.sent) for one in seen)
        if sent < asked:
            text = f"{asked - sent} of {asked} messages were never sent{client_errors(evidence)}"
            unclear.append(Finding(text, workload.client_journal))
        for one in seen:
            if workload.framing == "raw":
                good += sum(reply["phase"] == "ok" for reply in one.replies)
                _judge_outcomes(one, wrong, unclear)
                _judge_streams(one, wrong, unclear)
            else:
                good += _judge_answers(one, owners, wrong, unclear)
                if workload.server_journal:
                    _judge_arrivals(one, wrong)
    if not count:
        unclear.append(Finding("no TCP workload"))
    return conclude("reliability", f"{good}/{count}", wrong, unclear)


def _judge_outcomes(one: Connection, wrong: list[Finding], unclear: list[Finding]) -> None:
    """Raw TCP has no messages: a message's answer is the bytes in its place."""
    outcomes = {reply["n"]: reply for reply in one.replies}
    for line in one.sent:
        reply = outcomes.get(line["n"])
        if reply is None or reply["phase"] == "unknown":
            unclear.append(_unanswered(one, line, reply))
        elif reply["phase"] == "fail" or reply["digest"] != line["digest"]:
            wrong.append(Finding(f"message {line['n']} came back different ({reply['why']})", one.name))
    wrong.extend(Finding(f"an answer to nothing, {line['size']} bytes", one.name) for line in one.strays)


def _judge_answers(one: Connection, owners: dict[str, int], wrong: list[Finding], unclear: list[Finding]) -> int:
    """Each message came back once, and nothing else did; in which order is for the check of that name.

    Returns how many came back.
    """
    answers = [line for line in one.replies if line["phase"] in ("ok", "fail")]
    came = Counter(line["digest"] for line in (*answers, *one.strays))
    sent = Counter(line["digest"] for line in one.sent)
    numbers = {line["digest"]: line["n"] for line in one.sent}
    for line in (*answers, *one.strays):
        if line["digest"] not in sent:
            wrong.append(_foreign(one, line, owners))
    for digest, times in (came - sent).items():
        if digest in sent:
            wrong.append(Finding(f"message {numbers[digest]} came back {sent[digest] + times} times", one.name))
    outcomes = {reply["n"]: reply for reply in one.replies}
    for line in one.sent:
        reply = outcomes.get(line["n"])
        if came[line["digest"]] >= sent[line["digest"]]:
            continue
        if reply is None or reply["phase"] == "unknown":
            unclear.append(_unanswered(one, line, reply))
        elif reply["digest"] in sent:
            text = f"message {line['n']} never came back; message {numbers[reply['digest']]} did in its place"
            wrong.append(Finding(text, one.name))
    return (came & sent).total()


def _foreign(one: Connection, line: JournalLine, owners: dict[str, int]) -> Finding:
    owner = owners.get(line["digest"])
    if owner is not None:
        return Finding(f"a message of connection {owner} came back on connection {one.conn}", one.name)
    of = "an answer to nothing" if line["n"] is None else f"message {line['n']} came back different"
    return Finding(f"{of}: {line['size']} bytes that equal no message sent", one.name)


def _unanswered(one: Connection, line: JournalLine, reply: JournalLine | None) -> Finding:
    why = reply["why"] if reply is not None else "no outcome"
    return Finding(f"message {line['n']} has no answer ({why})", one.name)


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
    """Raw TCP has no messages: the bytes that the server read, and those that came back, must be the bytes sent."""
    if one.close is None or one.close["phase"] != "ok":
        return
    sent = one.close["sent_digest"]
    if one.close["echoed_digest"] != sent:
        wrong.append(Finding("other bytes were echoed than were sent", one.name))
    if one.workload.server_journal and one.server_end is None:
        unclear.append(Finding("the server's side of it was not found", one.name))
    elif one.server_end is not None and one.server_end.get("received_digest") != sent:
        wrong.append(Finding("the server read other bytes than were sent", one.name))


CHECK = Check("reliability", NoOptions, judge)
