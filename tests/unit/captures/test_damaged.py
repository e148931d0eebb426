"""Thousands of damaged captures: none makes an exception. `make fuzz` reads a million."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.damaged_captures import SAMPLES, damaged, take

CAPTURES, SEED = 3000, 7


def test_samples_are_read_whole() -> None:
    with TemporaryDirectory(dir="/dev/shm") as folder:
        assert all(take(Path(folder) / "sample", sample) > 0 for sample in SAMPLES)


def test_damaged_captures() -> None:
    with TemporaryDirectory(dir="/dev/shm") as folder:
        counts = [take(Path(folder) / "damaged", damaged(SEED, number)) for number in range(CAPTURES)]
    refused, empty = counts.count(-1), counts.count(0)
    assert 0 < refused < CAPTURES / 3 and empty < CAPTURES / 2  # most of them are damaged behind their header
