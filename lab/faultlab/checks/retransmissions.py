"""Retransmissions: TCP segments that take sequence numbers, some of which their sender had sent before."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import Annotated

from pydantic import Field

from faultlab.checks.base import Check, CheckOptions, CheckResult, Finding, conclude
from faultlab.evidence.run_evidence import Evidence
from faultlab.network.packets import Packet, SentStreams, ahead, takes_sequence_numbers


class RetransmissionBounds(CheckOptions):
    """Bounds for all connections together."""

    at_least: Annotated[int, Field(ge=0)] = 0
    at_most: Annotated[int, Field(ge=0)] | None = None


def judge(evidence: Evidence, options: RetransmissionBounds) -> CheckResult:
    """Counts segments that hold what was sent before, all of it or a part (RFC 4022, tcpRetransSegs).

    TCP sends again what waits too long, so a long gap in the wire's sight can be the cause of a retransmission. It is
    not the cause where the earlier segment did not arrive as it was sent.
    """
    again: list[Finding] = []
    segments = doubtful = 0
    streams = SentStreams()
    capture = evidence.sent
    missing = _Missing(evidence) if evidence.gaps.is_long else None
    for index in range(len(capture)):
        packet = Packet.parse(capture.frame(index))
        if not takes_sequence_numbers(packet):
            continue
        segments += 1
        opens, again_sent = streams.take(packet)
        if again_sent:
            where = f"{capture.name} frame {index + 1} (ledger {capture.packets[index]})"
            again.append(Finding(f"sequence number {packet.seq} sent again", where))
        if missing is not None:
            doubtful += again_sent and not missing.has_part_of(packet)
            missing.take(packet, index, opens)
    if not segments:
        return conclude("retransmissions", "", unclear=[Finding("no TCP segment was sent")])
    summary = f"{len(again)} of {segments} segments"
    most = len(again) if options.at_most is None else options.at_most
    if options.at_least <= len(again) - doubtful and len(again) <= most:
        return conclude("retransmissions", summary, notes=again[:5])
    asked = "" if options.at_most is None else f" and at most {options.at_most}"
    finding = Finding(f"{summary}, expected at least {options.at_least}{asked}")
    if len(again) < options.at_least or len(again) - doubtful > most:
        return conclude("retransmissions", "", [finding, *again])
    late = f"{doubtful} of them can be the work of the wire: {evidence.gaps.in_words()}, and TCP sends again what waits"
    return conclude("retransmissions", "", unclear=[replace(finding, text=f"{finding.text}; {late}"), *again])


class _Missing:
    """Which parts of each TCP stream did not arrive as they were sent, in the order of sending."""

    def __init__(self, evidence: Evidence) -> None:
        self._sent = evidence.sent
        arrived = evidence.delivered
        self._arrived = {packet: arrived.frame(index) for index, packet in enumerate(arrived.packets)}
        self._parts: defaultdict[tuple[bytes, int, bytes, int], list[tuple[int, int]]] = defaultdict(list)

    def take(self, packet: Packet, index: int, opens: bool) -> None:
        """A segment with sequence numbers, the frame `index` of what was sent. `opens`: it begins a stream."""
        parts = self._parts[_flow(packet)]
        if opens:
            parts.clear()
        if self._arrived.get(self._sent.packets[index]) != self._sent.frame(index):
            parts.append((packet.seq, packet.stream_size))
        else:
            parts[:] = [part for part in parts if not _covers(packet, *part)]

    def has_part_of(self, packet: Packet) -> bool:
        """Whether an earlier segment with one of these sequence numbers is missing."""
        return any(
            ahead(packet.seq, seq) < size and ahead(seq, packet.seq) < packet.stream_size
            for seq, size in self._parts[_flow(packet)]
        )


def _flow(packet: Packet) -> tuple[bytes, int, bytes, int]:
    return packet.source, packet.source_port, packet.target, packet.target_port


def _covers(packet: Packet, seq: int, size: int) -> bool:
    return ahead(packet.seq, seq) <= 0 and ahead(packet.seq + packet.stream_size, seq + size) >= 0


CHECK = Check("retransmissions", RetransmissionBounds, judge)
