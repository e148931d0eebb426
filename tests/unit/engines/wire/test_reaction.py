"""The wire's reaction time: positive, bounded, and nothing of the measuring stays."""

from __future__ import annotations

import os
from pathlib import Path

from lab.engines.wire.reaction import MOST_NS, reaction_ns


def test_it_is_a_time_and_leaves_nothing() -> None:
    before = sorted(Path("/proc/self/fd").iterdir())
    assert 0 < reaction_ns() <= MOST_NS
    assert sorted(Path("/proc/self/fd").iterdir()) == before
    assert not Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
