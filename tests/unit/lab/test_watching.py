"""Moments of a lab that runs: until it ends, with all there is at the end; and which command lines are refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest
from click.testing import CliRunner
from faultlab.cli.main import cli
from faultlab.errors import LabFailure, UsageError
from faultlab.lab.lab import Lab
from faultlab.lab.watching import snapshots


class Scripted:
    """A lab that answers so, and then no more; `ends` says whether it has ended then."""

    name = "scripted"

    def __init__(self, *written: int, ends: bool = True) -> None:
        self._answers: Iterator[dict[str, Any]] = iter(
            [{"t": number, "written": {"sent.pcapng": size}} for number, size in enumerate(written)]
        )
        self._ends = ends

    def flush(self) -> dict[str, Any]:
        for answer in self._answers:
            return answer
        raise LabFailure("the lab ended before it answered")

    def ends_by_itself(self) -> bool:
        return self._ends


def sizes(lab: Scripted, pauses: int = 100) -> Iterator[int | None]:
    left = iter(range(pauses))
    for moment in snapshots(cast(Lab, lab), lambda: next(left, None) is not None):
        yield moment["written"]["sent.pcapng"]


def test_the_last_moment_of_a_lab_that_ends_is_all_there_is() -> None:
    assert list(sizes(Scripted(10, 20))) == [10, 20, None]


def test_a_lab_that_is_up_and_silent_is_a_failure_after_all_there_is() -> None:
    seen = sizes(Scripted(10, ends=False))
    assert [next(seen), next(seen)] == [10, None]
    with pytest.raises(LabFailure, match="before it answered"):
        next(seen)


def test_the_pause_ends_it_too() -> None:
    assert list(sizes(Scripted(10, 20, 30), pauses=1)) == [10, 20]


def test_a_lab_that_does_not_answer_at_all_is_said_at_once() -> None:
    with pytest.raises(LabFailure):
        next(sizes(Scripted()))


def test_a_lab_that_records_nothing_can_t_be_looked_at() -> None:
    lab = Scripted()
    lab.flush = lambda: {"t": 0, "written": {}}  # type: ignore[method-assign]
    with pytest.raises(UsageError, match="records nothing"):
        next(sizes(lab))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["top", "--json"], "add --once"),
        (["top", "--name", "no-such-lab"], "no lab 'no-such-lab' is up"),
        (["capture", "client", "--name", "no-such-lab"], "no lab 'no-such-lab' is up"),
        (["inspect", "no-such-lab", "--follow"], "no lab of this name or with this evidence is up"),
        (["inspect", "no-such-lab", "--follow", "--ladder"], "and no other option"),
        (["inspect", "no-such-lab", "--follow", "--packet", "3"], "and no other option"),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, list) else "",
)
def test_what_can_t_be_meant_is_said(words: list[str], said: str) -> None:
    done = CliRunner().invoke(cli, words)
    assert isinstance(done.exception, UsageError)
    assert said in str(done.exception)
