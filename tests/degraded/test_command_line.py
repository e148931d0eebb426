"""What the command line owes its user: evidence that stays, labs told apart, exit codes that mean one thing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab.errors import UsageError
from lab.lab import Lab
from lab.runtimes.base import Guest
from tests.conftest import RanOn

LAB = [sys.executable, "-m", "lab.cli"]


def lab_command(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*LAB, *words], cwd=cwd, capture_output=True, text=True, timeout=120)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_evidence_is_never_overwritten(runtime: str, ran_on: RanOn, tmp_path: Path) -> None:
    """Not by another lab while the first runs, nor afterwards, from the command line nor from Python."""
    ran_on(runtime, "wire")
    folder, other = tmp_path / "evidence", f"second-{os.getpid()}"

    def refused() -> None:
        up = lab_command("up", "--runtime", runtime, "--name", other, "--out", str(folder), cwd=tmp_path)
        assert (up.returncode, up.stdout) == (2, "")
        assert (
            up.stderr == f"lab: evidence folder {folder}: it is not empty; expected a new or empty one with --out DIR\n"
        )
        with pytest.raises(UsageError, match="it is not empty"):
            Lab.up(other, runtime=runtime, evidence=folder)

    with Lab.up(f"first-{os.getpid()}", runtime=runtime, nodes=("client", "tcp-server"), publish=(), evidence=folder):
        refused()
    left = contents(folder)
    assert left["ledger.bin"]
    refused()
    assert contents(folder) == left


def test_a_lab_that_was_refused_can_be_asked_for_again_with_the_same_folder(tmp_path: Path) -> None:
    nobody = Guest("server", ("tcp/9000",), ("/nowhere/server",))
    for _ in range(2):
        with pytest.raises(UsageError, match="no command '/nowhere/server'"):
            Lab.up(f"refused-{os.getpid()}", guest=nobody, evidence=tmp_path)
    assert list(tmp_path.iterdir()) == []
