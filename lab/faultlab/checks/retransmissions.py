"""Retransmissions: TCP segments that take sequence numbers, some of which their sender had sent before."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from pydantic import Field

from faultlab.checks.base import Check, CheckResult, Finding, Options, conclude
from faultlab.evidence.run_evidence import Evidence
from faultlab.network.packets import Packet, SentStreams, takes_sequence_numbers


class Count(Options):
    """Bounds for all connections together."""

    at_least: Annotated[int, Field(ge=0)] = 0
    at_most: Annotated[int, Field(ge=0)] | None = None


def judge(evidence: Evidence, options: Count) -> CheckResult:
    """Counts segments that hold what was sent before, all of it or a part (RFC 4022, tcpRetransSegs)."""
    again: list[Finding] = []
    segments = 0
    streams = SentStreams()
    capture = evidence.sent
    for index in range(len(capture)):
        packet = Packet.parse(capture.frame(index))
        if not takes_sequence_numbers(packet):
            continue
        segments += 1
        _, again_sent = streams.take(packet)
        if again_sent:
            where = f"{capture.name} frame {index + 1} (ledger {capture.packets[index]})"
            again.append(Finding(f"sequence number {packet.seq} sent again", where))
    summary = f"{len(again)} of {segments} segments"
    late = f"{evidence.gaps.in_words()}, and TCP sends again what waits" if evidence.gaps.is_long else ""
    if not segments:
        return conclude("retransmissions", "", unclear=[Finding("no TCP segment was sent")])
    if len(again) < options.at_least or (options.at_most is not None and len(again) > options.at_most):
        most = "" if options.at_most is None else f" and at most {options.at_most}"
        finding = Finding(f"{summary}, expected at least {options.at_least}{most}")
        if len(again) >= options.at_least and late:
            return conclude("retransmissions", "", unclear=[replace(finding, text=f"{finding.text}; {late}"), *again])
        return conclude("retransmissions", "", [finding, *again])
    if options.at_least and late:
        return conclude("retransmissions", "", unclear=[Finding(f"{summary}; {late}", "ledger.bin"), *again])
    return conclude("retransmissions", summary, notes=again[:5])


CHECK = Check("retransmissions", Count, judge)
