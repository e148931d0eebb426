"""Handshake: how long a TCP connection takes from the client's first SYN to the SYN-ACK that reaches it."""

from __future__ import annotations

from faultlab.checks.base import Bounds, Check, CheckResult, Finding, Verdict, conclude, judge_time, took_in_words
from faultlab.checks.messages import client_errors
from faultlab.evidence.run_evidence import Evidence, WorkloadRecord
from faultlab.network.packets import ACK, SYN, TCP, Packet


class Between(Bounds):
    """Bounds for every connection."""


def judge(evidence: Evidence, options: Between) -> CheckResult:
    """From the captures alone; what the first SYN can have waited unseen counts."""
    wrong: list[Finding] = []
    unclear: list[Finding] = []
    times = []
    for workload in evidence.of_kind("tcp"):
        sent, answered = _first_syns(evidence, workload), _first_answers(evidence, workload)
        stamps = _stamps(evidence, workload) if evidence.gaps.all else {}
        for port, (start, where) in sorted(sent.items()):
            if port not in answered:
                unclear.append(Finding(f"the SYN from port {port} was never answered", where))
                continue
            took = evidence.gaps.took(workload.source, start, answered[port], stamps.get(port, ()))
            times.append(took.most)
            result = judge_time("", f"took {took_in_words(took, 1)}", took, options, evidence.gaps, where)
            if result.verdict != Verdict.PASS:
                (wrong if result.verdict == Verdict.FAIL else unclear).extend(result.findings)
    if not times and not unclear:
        unclear.append(Finding(f"no handshake was seen{client_errors(evidence)}"))
    span = f"{min(times) / 1e9:.3f} s" + (f" .. {max(times) / 1e9:.3f} s" if len(times) > 1 else "") if times else ""
    bounds = f"within {options.at_least_ms / 1e3:g} s .. {options.at_most_ms / 1e3:g} s"
    return conclude("handshake", f"{span}, {bounds}", wrong, unclear)


def _stamps(evidence: Evidence, workload: WorkloadRecord) -> dict[int, list[int]]:
    """By the client's port: when any packet of the connection was sent or delivered."""
    found: dict[int, list[int]] = {}
    for capture in (evidence.sent, evidence.delivered):
        for index in range(len(capture)):
            packet = Packet.parse(capture.frame(index))
            if packet.protocol == TCP and workload.port in (packet.source_port, packet.target_port):
                port = packet.source_port if packet.target_port == workload.port else packet.target_port
                found.setdefault(port, []).append(capture.times[index])
    return found


def _first_syns(evidence: Evidence, workload: WorkloadRecord) -> dict[int, tuple[int, str]]:
    """By the client's port: when, and where in the capture."""
    found: dict[int, tuple[int, str]] = {}
    capture = evidence.sent
    for index in range(len(capture)):
        if capture.node(index) == workload.source:
            packet = Packet.parse(capture.frame(index))
            if packet.protocol == TCP and packet.flags & (SYN | ACK) == SYN and packet.target_port == workload.port:
                where = f"{capture.name} frame {index + 1} (ledger {capture.packets[index]})"
                found.setdefault(packet.source_port, (capture.times[index], where))
    return found


def _first_answers(evidence: Evidence, workload: WorkloadRecord) -> dict[int, int]:
    found: dict[int, int] = {}
    capture = evidence.delivered
    for index in range(len(capture)):
        if capture.node(index) == workload.source:
            packet = Packet.parse(capture.frame(index))
            both = SYN | ACK
            if packet.protocol == TCP and packet.flags & both == both and packet.source_port == workload.port:
                found.setdefault(packet.target_port, capture.times[index])
    return found


CHECK = Check("handshake", Between, judge)
