"""Servers that are wrong, each in one way: the check meant for it catches it, and a right one passes all three."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from faultlab.checks import Verdict, run_check

from tests.unit.checks.histories import MESSAGES, TcpHistory

GOOD = TcpHistory()
SWAPPED = (MESSAGES[0], MESSAGES[2], MESSAGES[1], *MESSAGES[3:])
MERGED = (MESSAGES[0] + MESSAGES[1], *MESSAGES[2:])
SPLIT = (MESSAGES[0][:4], MESSAGES[0][4:], *MESSAGES[1:])
CORRUPT = (MESSAGES[0], b"Message 1message 1", *MESSAGES[2:])
TRUNCATED = (*MESSAGES[:4], MESSAGES[4][:-1])


def verdicts(history: TcpHistory, folder: Path) -> dict[str, Verdict]:
    evidence = history.write(folder)
    return {name: run_check(name, {}, evidence).verdict for name in ("reliability", "ordering", "framing")}


def test_a_right_server_passes(tmp_path: Path) -> None:
    assert set(verdicts(GOOD, tmp_path).values()) == {Verdict.PASS}


@pytest.mark.parametrize(
    ("history", "caught_by"),
    [
        (replace(GOOD, received=MESSAGES[:2] + MESSAGES[3:]), {"reliability", "framing"}),
        (replace(GOOD, received=(*MESSAGES, MESSAGES[4])), {"reliability", "framing"}),
        (replace(GOOD, received=SWAPPED), {"ordering", "framing"}),
        (replace(GOOD, received=MERGED), {"reliability", "framing"}),
        (replace(GOOD, received=SPLIT), {"reliability", "framing"}),
        (replace(GOOD, received=CORRUPT), {"reliability", "framing"}),
        (replace(GOOD, received=TRUNCATED), {"reliability", "framing"}),
        (replace(GOOD, answers={**GOOD.answers, 2: b"something else"}), {"reliability"}),
        (replace(GOOD, order=[0, 2, 1, 3, 4]), {"ordering"}),
    ],
    ids=["loses", "repeats", "swaps", "merges", "splits", "corrupts", "truncates", "answers wrong", "answers swapped"],
)
def test_a_wrong_server_is_caught(history: TcpHistory, caught_by: set[str], tmp_path: Path) -> None:
    failed = {name for name, verdict in verdicts(history, tmp_path).items() if verdict == Verdict.FAIL}
    assert failed == caught_by


def test_frames_that_the_wire_did_not_carry_are_caught_though_both_journals_agree(tmp_path: Path) -> None:
    """Server and client may share a bug: the bytes on the wire are the second witness."""
    result = verdicts(replace(GOOD, on_wire=CORRUPT), tmp_path)
    assert (result["reliability"], result["framing"]) == (Verdict.PASS, Verdict.FAIL)


def test_a_message_without_an_answer_is_unknown(tmp_path: Path) -> None:
    answers = {number: data for number, data in GOOD.answers.items() if number != 3}
    assert verdicts(replace(GOOD, answers=answers), tmp_path)["reliability"] == Verdict.INCONCLUSIVE


def test_a_workload_that_sent_nothing_proves_nothing(tmp_path: Path) -> None:
    nothing = TcpHistory(sent=(), received=(), on_wire=(), answers={}, order=())
    assert set(verdicts(nothing, tmp_path).values()) == {Verdict.INCONCLUSIVE}


@pytest.mark.parametrize("name", ["delivered.pcapng", "journal-tcp-server.jsonl"])
def test_missing_evidence_proves_nothing(name: str, tmp_path: Path) -> None:
    evidence = GOOD.write(tmp_path)
    (tmp_path / name).unlink()
    assert run_check("framing", {}, evidence).verdict == Verdict.INCONCLUSIVE


ALIKE = (b"", b"one", b"", b"two", b"")


def test_messages_that_equal_each_other_are_in_order(tmp_path: Path) -> None:
    """Which of the empty ones came, nobody can say, so none is out of order; a swap of two others still is."""
    alike = TcpHistory(sent=ALIKE, received=ALIKE, on_wire=ALIKE, answers=dict(enumerate(ALIKE)))
    assert verdicts(alike, tmp_path)["ordering"] == Verdict.PASS
    lost_first = replace(alike, received=ALIKE[1:])
    assert verdicts(lost_first, tmp_path)["ordering"] == Verdict.PASS
    swapped = replace(alike, received=(b"", b"two", b"", b"one", b""))
    assert verdicts(swapped, tmp_path)["ordering"] == Verdict.FAIL
