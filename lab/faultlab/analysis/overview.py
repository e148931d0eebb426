"""What there is to say of a subject as a whole: its captures, its paths, its flows.

Of one capture from elsewhere it is made batch by batch, so that memory grows with the flows and not with the packets.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from faultlab.analysis.conversations import Conversations
from faultlab.analysis.flow_facts import FlowFacts, end_name, flow_facts
from faultlab.analysis.paths import PathFacts, path_facts
from faultlab.analysis.subject import NO_LEDGER, ONE_END, FaultWindow, Subject
from faultlab.captures.files import CaptureFile
from faultlab.captures.flows import Endpoint
from faultlab.captures.noticed import Noticed
from faultlab.captures.tcp import TcpAnalysis


@dataclass(frozen=True)
class CaptureSize:
    """`bytes` of whole frames; `span_ns` from the first packet to the last."""

    name: str
    packets: int
    bytes: int
    span_ns: int


@dataclass(frozen=True)
class Overview:
    """`start_ns` is time 0 (the first packet), since the epoch; `unknown` and `remarks` are sentences for people."""

    captures: tuple[CaptureSize, ...]
    start_ns: int
    faults: tuple[FaultWindow, ...]
    paths: tuple[PathFacts, ...]
    flows: tuple[FlowFacts, ...]
    unknown: tuple[str, ...]
    remarks: tuple[str, ...]


def overview(subject: Subject) -> Overview:
    captures = []
    for side in subject.captures:
        span = int(side.time_ns.max() - side.time_ns.min()) if len(side) else 0
        captures.append(CaptureSize(side.name, len(side), int(side.columns.original.sum()), span))
    paths = path_facts(subject)
    return Overview(
        tuple(captures),
        subject.start_ns,
        subject.faults,
        paths,
        tuple(Conversations(subject).all) if subject.captures else (),
        subject.unknown,
        (*subject.remarks, *_resized(paths)),
    )


def _resized(paths: tuple[PathFacts, ...]) -> Iterator[str]:
    for path in paths:
        if path.pairing.resized:
            yield (
                f"{path.path}: {path.pairing.resized:,} segments arrived in smaller or larger ones, as devices cut and "
                "join them (offload); they are paired by their sequence numbers"
            )


def overview_of_file(path: Path) -> Overview:
    """Of one capture, without a ledger. UsageError where it is none."""
    file, analysis, noticed = CaptureFile(path), TcpAnalysis(), Noticed()
    packets = octets = 0
    first: int | None = None
    last = 0
    for columns in file.batches():
        packets += len(columns)
        octets += int(columns.original.sum())
        first = min(int(columns.time_ns.min()), first if first is not None else int(columns.time_ns[0]))
        last = max(last, int(columns.time_ns.max()))
        analysis.feed(file, columns)
        noticed.feed(columns)
    start, names = first or 0, file.names

    def name(end: Endpoint) -> str:
        return end_name(names.get(end.address, end.address), end)

    flows = tuple(flow_facts(flow, analysis.tcp.get(flow.index), start, name) for flow in analysis.flows)
    size = CaptureSize(path.name, packets, octets, last - start if packets else 0)
    problems = tuple(f"{path.name}: {problem}" for problem in file.problems + noticed.notes)
    return Overview((size,), start, (), (), flows, (NO_LEDGER, ONE_END), problems)
