"""Each TCP packet's stream and marks as tshark gives them, beside ours."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from faultlab.captures.tcp import analyse
from faultlab.captures.tcp_marks import Mark
from faultlab.network.packets import TCP

COUNTED = [
    Mark.RETRANSMISSION,
    Mark.FAST_RETRANSMISSION,
    Mark.SPURIOUS_RETRANSMISSION,
    Mark.OUT_OF_ORDER,
    Mark.DUPLICATE_ACK,
    Mark.ZERO_WINDOW,
]
"""What the project promises to have in common with tshark for at least 99% of packets."""
Theirs = dict[int, tuple[int, Mark, int]]
_PROMISED = sum(mark.value for mark in COUNTED)


@dataclass
class Agreement:
    """Over some captures: how many packets were compared, how many have other marks, and how often each mark is given.

    `promised` counts packets with another mark of `COUNTED`, `any` those with any other. `numbered` counts duplicate
    ACKs to which both give the same number. `examples` are lines for a person.
    """

    packets: int = 0
    promised: int = 0
    any: int = 0
    wrong_numbers: int = 0
    wrong_streams: int = 0
    ours: Counter[str] = field(default_factory=Counter)
    theirs: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def compare(self, path: Path, theirs: Theirs | None = None) -> None:
        """`theirs` is what `tshark(path)` gave, where that is known already."""
        theirs = dict(tshark(path)) if theirs is None else theirs
        analysis = analyse(path)
        columns, marked = analysis.columns, analysis.marked
        for index in ((columns.protocol == TCP) & (marked.flow >= 0)).nonzero()[0].tolist():
            number = int(columns.number[index])
            if number not in theirs:
                continue  # a first fragment: tshark shows the TCP header where the last one is
            stream, mark, repeats = theirs[number]
            mine = Mark(int(marked.marks[index]))
            self.packets += 1
            self.promised += (mine ^ mark) & _PROMISED != 0
            self.any += mine != mark
            self.wrong_streams += analysis.flows[marked.flow[index]].number != stream
            self.wrong_numbers += bool(mine & mark & Mark.DUPLICATE_ACK) and int(marked.duplicate[index]) != repeats
            for count, of in ((self.ours, mine), (self.theirs, mark)):
                count.update(name for name in (part.name for part in of) if name)
            if mine != mark:
                self.examples.append(f"{path.name} frame {number}: {mine!r}, tshark has {mark!r}")


def tshark(path: Path) -> Iterator[tuple[int, tuple[int, Mark, int]]]:
    """Of each packet its number, and its stream, its marks, and which duplicate ACK it is. No tunnels' inner TCP."""
    fields = ["frame.number", "tcp.stream", "tcp.analysis.duplicate_ack_num"]
    fields += [f"tcp.analysis.{mark.name.lower()}" for mark in Mark if mark.name]
    command = ["tshark", "-n", "-r", str(path), "-Y", "tcp", "-T", "fields"]
    command += [part for name in fields for part in ("-e", name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    for line in done.stdout.splitlines():
        number, stream, repeats, *marks = line.split("\t")
        if stream.isdigit():  # not two, as with tunnels, and not none, as where the header contradicts itself
            bits = sum(mark.value for mark, given in zip(Mark, marks, strict=True) if given)
            yield int(number), (int(stream), Mark(bits), int(repeats or 0))
