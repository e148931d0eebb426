"""How many labs run at the same time where nobody says."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faultlab.cli import main
from faultlab.running.batch import bearable


@pytest.mark.parametrize(
    ("processors", "scenarios", "netns", "compose"),
    [(1, 1, 1, 1), (1, 20, 4, 1), (2, 214, 8, 2), (2, 3, 3, 2), (16, 214, 64, 16), (64, 214, 64, 64), (2, 0, 1, 1)],
)
def test_as_many_as_the_machine_bears(
    processors: int, scenarios: int, netns: int, compose: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(processors)))
    assert (bearable(scenarios, "netns"), bearable(scenarios, "compose")) == (netns, compose)


@pytest.mark.parametrize(
    ("command", "jobs"),
    [
        ("run matrix", 8),
        ("run --all", 8),
        ("run matrix --runtime compose", 2),
        ("run tcp-loss", 1),
        ("run tcp-loss udp-loss dns-loss", 3),
        ("run matrix --jobs 1", 1),
        ("compare", 8),
        ("compare tcp --loss 1%", 1),
        ("compare --jobs 3", 3),
    ],
)
def test_every_command_that_runs_several_scenarios_takes_it(
    command: str, jobs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And says so."""
    asked: list[int] = []

    def run_all(scenarios: Any, options: Any, jobs: int, running: Any) -> Iterator[Any]:
        asked.append(jobs)
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(main, "run_all", run_all)
    monkeypatch.setattr(sys, "argv", ["lab", *command.split(), "--out", str(tmp_path)])
    with pytest.raises(SystemExit):
        main.main()
    assert asked == [jobs]
    said = capsys.readouterr().err
    assert (f"{jobs} at the same time; --jobs 1: one after the other" in said) == (jobs > 1 and "--jobs" not in command)
