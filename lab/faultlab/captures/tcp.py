"""TCP in a capture: the marks of each packet, and the facts of each flow.

    analysis = analyse(Path("runs/tcp-loss-20261123-111609/sent.pcapng"))   # a whole file
    retransmitted = analysis.columns.number[analysis.marked.marks & Mark.RETRANSMISSION.value != 0]
    print(analysis.flows[0], analysis.tcp[0].sides[0].fast)

or batch by batch, with memory that grows with the flows (16 bytes for each round trip measured, else not with packets):

    analysis = TcpAnalysis()
    for columns in file.batches():
        marked = analysis.feed(file, columns)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from faultlab.captures.columns import I32, I64, U16, U32, Columns, joined
from faultlab.captures.files import CaptureFile
from faultlab.captures.flows import Flow, FlowColumns, Flows
from faultlab.captures.tcp_facts import Handshake, TcpDirection
from faultlab.captures.tcp_marks import Heard, Mark, TcpMarks
from faultlab.captures.tcp_options import reports_duplicate, sack_blocks, window_scale
from faultlab.network.packets import ACK, HALF, MASK, RST, SYN, TCP

_HEADER = 20


@dataclass(slots=True)
class TcpFacts:
    """A flow's two directions: `sides[0]` is what `flow.ends[0]` sent. `handshake` is None where not all was seen."""

    sides: tuple[TcpDirection, TcpDirection] = field(default_factory=lambda: (TcpDirection(), TcpDirection()))
    handshake: Handshake | None = None

    @property
    def resets(self) -> list[int]:
        """Which sides sent RSTs, the first to do so first (RFC 9293, 3.5.2)."""
        return sorted((at for at in (0, 1) if self.sides[at].resets), key=lambda at: self.sides[at].reset_ns)

    @property
    def closed(self) -> bool:
        """Whether both sides sent a FIN (RFC 9293, 3.6)."""
        return all(side.fin_ns >= 0 for side in self.sides)


@dataclass(frozen=True, slots=True)
class Marked:
    """Beside a batch of `Columns`: flow and side as in `FlowColumns`, and each packet's marks: bits of `Mark`.

    `duplicate` says of each duplicate ACK which one it is (from 1), and is 0 for other packets.
    """

    flow: I32
    side: NDArray[np.int8]
    marks: U16
    duplicate: U32


class TcpAnalysis:
    """`flows` are all flows, UDP's too; `tcp[flow.index]` are the facts of those that are TCP's."""

    def __init__(self) -> None:
        self._flows = Flows()
        self._marks = TcpMarks()
        self.tcp: dict[int, TcpFacts] = {}

    @property
    def flows(self) -> list[Flow]:
        return self._flows.all

    def feed(
        self,
        file: CaptureFile,
        columns: Columns,
        at_senders: bool = False,
        heard: Callable[[FlowColumns], Heard | None] = lambda _: None,
    ) -> Marked:
        """The next batch of the file; `at_senders` and what was `heard` as `TcpMarks.feed` has them."""
        of = self._flows.feed(columns)
        who = np.flatnonzero((of.flow >= 0) & (columns.protocol == TCP))
        marks, duplicate = self._marks.feed(columns, of, who, _scales(file, columns, who), at_senders, heard(of))
        self._collect(columns, of, who, marks)
        self._look_for_dsacks(file, columns, of, marks)
        return Marked(of.flow, of.side, marks, duplicate)

    def _collect(self, columns: Columns, of: FlowColumns, who: I64, marks: U16) -> None:
        all_facts = self.tcp
        for flow, end, seq, ack, flags, size, now, mark in zip(
            of.flow[who].tolist(),
            of.side[who].tolist(),
            columns.seq[who].tolist(),
            columns.ack[who].tolist(),
            columns.flags[who].tolist(),
            columns.payload[who].tolist(),
            columns.time_ns[who].tolist(),
            marks[who].tolist(),
            strict=True,
        ):
            facts = all_facts.get(flow)
            if facts is None:
                facts = all_facts[flow] = TcpFacts()
            sides = facts.sides
            sides[end].sent(seq, flags, size, now, mark)
            if flags & ACK and not flags & RST:
                peer = sides[1 - end]
                peer.acknowledged(ack, now)
                opened = sides[end].syn_ns
                if facts.handshake is None and peer.syn_ns >= opened >= 0 and not flags & SYN:
                    facts.handshake = Handshake(opened, peer.syn_ns, now)

    def _look_for_dsacks(self, file: CaptureFile, columns: Columns, of: FlowColumns, marks: U16) -> None:
        having = (marks & Mark.DUPLICATE_ACK.value != 0) & (columns.tcp_header > _HEADER)
        for index in np.flatnonzero(having).tolist():
            if reports_duplicate(sack_blocks(_options(file, columns, index)), int(columns.ack[index])):
                self.tcp[int(of.flow[index])].sides[int(of.side[index])].duplicates_reported += 1


@dataclass(frozen=True, slots=True)
class Analysis:
    """A whole capture: its packets in one piece, with their flows and marks, and the facts of each flow.

    About 200 bytes of memory a packet.
    """

    file: CaptureFile
    columns: Columns
    marked: Marked
    flows: list[Flow]
    tcp: dict[int, TcpFacts]

    def of(self, flow: Flow) -> I64:
        """The packets of a flow, as indices."""
        return np.flatnonzero(self.marked.flow == flow.index)

    def segments(self, flow: Flow, side: int) -> tuple[I64, I64]:
        """The packets with payload that one end of a TCP flow sent, as indices, and their places in its byte stream.

        Offsets count from the first byte after the SYN, or from the first that was seen; what came before that is < 0.
        """
        who = self.of(flow)
        who = who[(self.marked.side[who] == side) & (self.columns.payload[who] > 0)]
        seq = self.columns.seq[who].astype(np.int64) + (self.columns.flags[who] & SYN != 0)
        return who, unwrapped(seq, self.tcp[flow.index].sides[side].stream.first)


def unwrapped(seq: I64, first: int) -> I64:
    """Sequence numbers, one after another, as places in their stream, which begins at `first` (RFC 9293, 3.4)."""
    return np.cumsum((np.diff(seq, prepend=first) + HALF & MASK) - HALF)


def analyse(capture: Path | CaptureFile) -> Analysis:
    """All of a file. UsageError where it is no capture; what can't be read of it is in `file.problems`."""
    file = capture if isinstance(capture, CaptureFile) else CaptureFile(capture)
    analysis = TcpAnalysis()
    batches, marked = [], []
    for columns in file.batches():
        batches.append(columns)
        marked.append(analysis.feed(file, columns))
    return Analysis(file, joined(Columns, batches), joined(Marked, marked), analysis.flows, analysis.tcp)


def _scales(file: CaptureFile, columns: Columns, who: I64) -> dict[int, int]:
    """The window scale option of each SYN that has one, by its index."""
    scales = {}
    for index in who[(columns.flags[who] & SYN != 0) & (columns.tcp_header[who] > _HEADER)].tolist():
        scale = window_scale(_options(file, columns, index))
        if scale is not None:
            scales[index] = scale
    return scales


def _options(file: CaptureFile, columns: Columns, index: int) -> bytes:
    end = int(columns.payload_at[index])
    return file.frame(columns, index)[max(end - int(columns.tcp_header[index]) + _HEADER, 0) : end]
