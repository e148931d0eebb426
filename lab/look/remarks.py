"""What is to be said of single packets beside what the faults did: why TCP sent something again."""

from __future__ import annotations

from collections.abc import Sequence

from lab.look.build_ladder import Remarks
from lab.look.paths import PathFacts
from lab.look.repairs import repairs
from lab.look.subject import Subject


def remarks(subject: Subject, paths: Sequence[PathFacts]) -> Remarks:
    """By frame of `Subject.main`: `repeats frame 2, which f1 dropped`. `paths` are all of the subject's."""
    found: dict[int, list[str]] = {}
    for one in repairs(subject, paths):
        if one.side is subject.main:
            frame = one.index + 1
            found.setdefault(frame, []).append(str(one).removeprefix(f"frame {frame} "))
    return found
