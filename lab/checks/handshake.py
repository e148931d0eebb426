"""Handshake: how long a TCP connection takes from the client's first SYN to the SYN-ACK that reaches it."""

from __future__ import annotations

from lab.checks.base import Check, CheckResult, Finding, Options, conclude
from lab.checks.messages import client_errors
from lab.evidence.evidence import Evidence, Workload
from lab.packets import ACK, SYN, TCP, Packet
from lab.units import Milliseconds


class Between(Options):
    """Bounds for every connection."""

    at_least_ms: Milliseconds = 0.0
    at_most_ms: Milliseconds = 3_600_000.0


def judge(evidence: Evidence, options: Between) -> CheckResult:
    """From the captures alone."""
    wrong: list[Finding] = []
    unclear: list[Finding] = []
    times = []
    for workload in evidence.of_kind("tcp"):
        sent, answered = _first_syns(evidence, workload), _first_answers(evidence, workload)
        for port, (start, where) in sorted(sent.items()):
            if port not in answered:
                unclear.append(Finding(f"the SYN from port {port} was never answered", where))
                continue
            taken = (answered[port] - start) / 1e6
            times.append(taken)
            if not options.at_least_ms <= taken <= options.at_most_ms:
                text = f"took {taken:.1f} ms, expected {options.at_least_ms:g} ms to {options.at_most_ms:g} ms"
                wrong.append(Finding(text, where))
    if not times and not unclear:
        unclear.append(Finding(f"no handshake was seen{client_errors(evidence)}"))
    span = f"{min(times) / 1e3:.3f} s" + (f" .. {max(times) / 1e3:.3f} s" if len(times) > 1 else "") if times else ""
    bounds = f"within {options.at_least_ms / 1e3:g} s .. {options.at_most_ms / 1e3:g} s"
    return conclude("handshake", f"{span}, {bounds}", wrong, unclear)


def _first_syns(evidence: Evidence, workload: Workload) -> dict[int, tuple[int, str]]:
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


def _first_answers(evidence: Evidence, workload: Workload) -> dict[int, int]:
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
