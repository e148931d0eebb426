"""The wire's reaction time: positive, bounded, and nothing of the measuring stays."""

from __future__ import annotations

import os
from pathlib import Path

from faultlab.engines.wire.reaction import MOST_NS, reaction_ns


def test_it_is_a_time_and_leaves_nothing() -> None:
    before = what_it_holds()
    assert 0 < reaction_ns() <= MOST_NS
    assert what_it_holds() == before


def what_it_holds() -> tuple[list[Path], list[str]]:
    """This process's descriptors and children."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return sorted(Path("/proc/self/fd").iterdir()), children
