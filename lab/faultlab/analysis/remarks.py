"""What is to be said of single packets beside what the faults did: TCP's analysis, and why TCP sent something again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from faultlab.analysis.build_ladder import Remarks
from faultlab.analysis.conversations import Conversations
from faultlab.analysis.paths import PathFacts
from faultlab.analysis.repairs import repairs
from faultlab.analysis.subject import Subject
from faultlab.captures.tcp_marks import Mark

_WORDS = {
    Mark.SPURIOUS_RETRANSMISSION: "spurious retransmission",
    Mark.FAST_RETRANSMISSION: "fast retransmission",
    Mark.RETRANSMISSION: "retransmission",
    Mark.OUT_OF_ORDER: "out of order",
    Mark.LOST_SEGMENT: "a segment before it was not captured",
    Mark.ACK_LOST_SEGMENT: "acknowledges what was not captured",
    Mark.DUPLICATE_ACK: "duplicate ACK",
    Mark.ZERO_WINDOW: "zero window",
    Mark.ZERO_WINDOW_PROBE: "zero window probe",
    Mark.KEEP_ALIVE: "keep-alive",
    Mark.WINDOW_FULL: "fills the receiver's window",
    Mark.REUSED_PORTS: "a new connection on ports used before",
}
_AGAIN = (Mark.SPURIOUS_RETRANSMISSION, Mark.FAST_RETRANSMISSION, Mark.RETRANSMISSION)


def remarks(subject: Subject, conversations: Conversations, paths: Sequence[PathFacts]) -> Remarks:
    """By frame of `Subject.main`: `repeats frame 2, which f1 dropped`, `duplicate ACK 3`. `paths` are all of them.

    Where it is known what a packet repeats, TCP's analysis, which has to guess, has nothing to add but the kind.
    """
    found: dict[int, list[str]] = {}
    repeated = _repeated(subject, paths)
    marks = conversations.marked.marks
    for index in np.flatnonzero(marks | np.isin(np.arange(len(marks)) + 1, list(repeated))).tolist():
        said = _said(Mark(int(marks[index])), int(conversations.marked.duplicate[index]), repeated.get(index + 1))
        if said:
            found[index + 1] = said
    return found


def _repeated(subject: Subject, paths: Sequence[PathFacts]) -> dict[int, str]:
    return {
        one.index + 1: str(one).removeprefix(f"frame {one.index + 1} ")
        for one in repairs(subject, paths)
        if one.side is subject.main
    }


def _said(marks: Mark, duplicate: int, repeats: str | None) -> list[str]:
    kind = next((mark for mark in _AGAIN if mark in marks), None)
    said = [repeats] if repeats else []
    if kind is not None and not repeats:
        said = [_WORDS[kind]]
    elif kind is Mark.FAST_RETRANSMISSION:
        said = [f"{_WORDS[kind]}: {repeats}"]
    number = f" {duplicate}" if duplicate else ""
    for mark, words in _WORDS.items():
        if mark in marks and mark not in _AGAIN and not (repeats and mark is Mark.OUT_OF_ORDER):
            said.append(f"{words}{number}" if mark is Mark.DUPLICATE_ACK else words)
    return said
