"""TCP against UDP, measured: the same messages over both, on paths that lose more and more.

What is measured comes from the evidence of real runs: when one application sent and the other received (their
journals), and what was on the wire (captures and ledger).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from faultlab.errors import LabFailure
from faultlab.evidence.journal import JournalLine
from faultlab.evidence.run_evidence import Evidence
from faultlab.scenario.model import Scenario, parse_scenario

MESSAGES, SIZE_BYTES, PACE_MS, LATENCY_MS = 400, 200, 5, 10
LOSSES_PERCENT = (0.0, 1.0, 5.0, 10.0, 30.0)
MOST_PERCENT = 50
_TALK = f"messages: {MESSAGES}, size: {SIZE_BYTES}B, pace: {PACE_MS}ms"
_WORKLOADS = {
    "tcp": f'tcp: {{to: "tcp-server:8082", framing: length2, window: {MESSAGES}, timeout: 9min, {_TALK}}}',
    "udp": f'udp: {{to: "udp-server:41234", mode: echo, timeout: 1s, {_TALK}}}',
}
_CHECKS = {"tcp": "reliability, ordering", "udp": "udp_accounting"}
_ARRIVAL = {"tcp": "frame", "udp": "datagram"}
PROTOCOLS = tuple(_WORKLOADS)
_NUMBER = re.compile(rb"msg-0-([0-9]+)-")


@dataclass(frozen=True)
class Measured:
    """One protocol at one loss. Shares are from 0 to 1, times in ms; None where there was nothing to measure.

    `round_trips` passed before the first message left. `cost` is the bytes on the wire, both ways, for each byte that
    an application was handed. Latencies are from one application to the other; `behind_a_loss_ms` is the median of
    messages whose forerunner was lost on its first way, and which were not lost themselves. `seconds` is from the
    first message's leaving to the last arrival.
    """

    protocol: str
    loss_percent: float
    round_trips: float
    cost: float
    delivered: float
    in_order: float
    p50_ms: float
    p99_ms: float
    behind_a_loss_ms: float | None
    seconds: float


def scenario(protocol: str, loss_percent: float) -> Scenario:
    """`MESSAGES` messages, `PACE_MS` apart, on paths of `LATENCY_MS` with this loss each way."""
    loss = f", loss: {loss_percent:g}%" if loss_percent else ""
    text = (
        f"about: {protocol.upper()} with {loss_percent:g}% loss each way.\ntimeout: 10min\n"
        f"workload: [{_WORKLOADS[protocol]}]\n"
        f"faults: [{{on: client<->{protocol}-server, latency: {LATENCY_MS}ms{loss}}}]\n"
        f"checks: [{_CHECKS[protocol]}]\n"
    )
    return parse_scenario(text, f"compare-{protocol}-{loss_percent:g}".replace(".", "-"))


def measure_run(evidence: Evidence, protocol: str, loss_percent: float) -> Measured:
    """From the evidence of a run of `scenario`. LabFailure where nothing arrived."""
    client = evidence.journal(f"journal-{protocol}-client-1.jsonl")
    sent = {line["digest"]: line for line in client if line["op"] == "message" and line["phase"] == "invoke"}
    server = evidence.journal(f"journal-{protocol}-server.jsonl")
    arrivals = [line for line in server if line["op"] == _ARRIVAL[protocol] and line["phase"] == "invoke"]
    taken = _taken(sent, arrivals)
    if not taken:
        raise LabFailure(f"{protocol} at {loss_percent:g}% loss: no message arrived; see {evidence.folder}")
    times = sorted(taken.values())
    lost = _lost_at_first(evidence)
    behind = [taken[number] for number in taken if number - 1 in lost and number not in lost]
    answered = sum(line["op"] == "message" and line["phase"] == "ok" for line in client)
    on_wire = sum(len(captured.frame) for captured in evidence.sent)
    return Measured(
        protocol=protocol,
        loss_percent=loss_percent,
        round_trips=_round_trips(evidence),
        cost=on_wire / (SIZE_BYTES * (len(arrivals) + answered)),
        delivered=len(taken) / MESSAGES,
        in_order=_in_order([sent[line["digest"]]["n"] for line in arrivals]) / MESSAGES,
        p50_ms=times[len(times) // 2],
        p99_ms=times[len(times) * 99 // 100],
        behind_a_loss_ms=median(behind) if behind else None,
        seconds=(arrivals[-1]["t"] - min(line["t"] for line in sent.values())) / 1e9,
    )


def _taken(sent: dict[str, JournalLine], arrivals: list[JournalLine]) -> dict[int, float]:
    """Message -> ms until it first arrived."""
    taken: dict[int, float] = {}
    for line in arrivals:
        message = sent[line["digest"]]
        taken.setdefault(message["n"], (line["t"] - message["t"]) / 1e6)
    return taken


def _in_order(numbers: list[int]) -> int:
    """How many came after none that was sent later."""
    highest, count = -1, 0
    for number in numbers:
        count += number > highest
        highest = max(highest, number)
    return count


def _lost_at_first(evidence: Evidence) -> set[int]:
    """The messages whose first transmission was dropped on its way to the server."""
    dropped = {entry.packet for entry in evidence.ledger.entries if entry.dropped and entry.path.startswith("client->")}
    seen: set[int] = set()
    lost: set[int] = set()
    for captured in evidence.sent:
        numbers = {int(number) for number in _NUMBER.findall(captured.frame)} - seen
        if captured.node == "client":
            lost |= numbers if captured.packet in dropped else set()
            seen |= numbers
    return lost


def _round_trips(evidence: Evidence) -> float:
    """From the first packet that the client sent to its first message, in round trips of the paths."""
    ours = [captured for captured in evidence.sent if captured.node == "client"]
    message = next((captured for captured in ours if _NUMBER.search(captured.frame)), ours[0])
    return round((message.time - ours[0].time) / (2e6 * LATENCY_MS), 1)


def comparison_table(rows: Sequence[Measured]) -> str:
    """In Markdown, a row for each protocol and loss."""
    head = ("", "loss", "round trips before data", "bytes on the wire per byte", "delivered", "in order",
            "p50", "p99", "behind a loss", "all there after")  # fmt: skip
    lines = [head, ["---"] * len(head), *(_cells(row) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cells(row: Measured) -> list[str]:
    behind = "-" if row.behind_a_loss_ms is None else f"{row.behind_a_loss_ms:.0f} ms"
    return [
        row.protocol.upper(),
        f"{row.loss_percent:g} %",
        f"{row.round_trips:.1f}",
        f"{row.cost:.2f}",
        f"{row.delivered:.1%}",
        f"{row.in_order:.1%}",
        f"{row.p50_ms:.0f} ms",
        f"{row.p99_ms:.0f} ms",
        behind,
        f"{row.seconds:.1f} s",
    ]
