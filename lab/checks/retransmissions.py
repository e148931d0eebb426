"""Retransmissions: TCP segments that take sequence numbers, all of which their sender had sent before."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from lab.checks.base import Check, CheckResult, Finding, Options, conclude
from lab.evidence.evidence import Evidence
from lab.packets import MASK, TCP, Packet, takes_nothing_new


class Count(Options):
    """Bounds for all connections together."""

    at_least: Annotated[int, Field(ge=0)] = 0
    at_most: Annotated[int, Field(ge=0)] | None = None


def judge(evidence: Evidence, options: Count) -> CheckResult:
    """Counts segments that take sequence numbers, none of which is new."""
    again: list[Finding] = []
    segments = 0
    highest: dict[tuple[bytes, int, bytes, int], int] = {}
    capture = evidence.sent
    for index in range(len(capture)):
        packet = Packet.parse(capture.frame(index))
        if packet.protocol != TCP or not packet.stream_size:
            continue
        segments += 1
        flow = (packet.source, packet.source_port, packet.target, packet.target_port)
        end = (packet.seq + packet.stream_size) & MASK
        before = highest.get(flow)
        if before is not None and takes_nothing_new(end, before):
            where = f"{capture.name} frame {index + 1} (ledger {capture.packets[index]})"
            again.append(Finding(f"sequence number {packet.seq} sent again", where))
        else:
            highest[flow] = end
    summary = f"{len(again)} of {segments} segments"
    if not segments:
        return conclude("retransmissions", "", unclear=[Finding("no TCP segment was sent")])
    if len(again) < options.at_least or (options.at_most is not None and len(again) > options.at_most):
        most = "" if options.at_most is None else f" and at most {options.at_most}"
        return conclude(
            "retransmissions", "", [Finding(f"{summary}, expected at least {options.at_least}{most}"), *again]
        )
    return conclude("retransmissions", summary, notes=again[:5])


CHECK = Check("retransmissions", Count, judge)
