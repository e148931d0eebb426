"""A connection that is lost: what its application must have been told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from faultlab.checks import CheckResult, run_check
from faultlab.evidence.run_evidence import Evidence

from tests.unit.checks.histories import MESSAGES, TCP, line, record, write_journal


def judged(
    folder: Path,
    *,
    answered: int,
    told: bool = True,
    received: Any = MESSAGES[:3],
    sent: int = 4,
    end: str | None = "ok",
) -> CheckResult:
    """Of five messages `sent` left, and `answered` of those came back before the connection broke."""
    client = [line("connect", "ok", local="10.77.0.2:20000", peer="10.77.0.3:8082")]
    client += [line("message", "invoke", n=n, data=MESSAGES[n]) for n in range(sent)]
    client += [line("message", "ok", n=n, data=MESSAGES[n]) for n in range(answered)]
    if told:
        client += [line("message", "unknown", n=n, why="connection reset by peer") for n in range(answered, sent)]
    server = [line("connection", "invoke", peer="10.77.0.2:20000", framing="length2")]
    server += [line("frame", "invoke", n=n, data=data) for n, data in enumerate(received)]
    write_journal(folder, TCP.client_journal, client, end=end)
    write_journal(folder, TCP.server_journal, server)
    record(folder, [])
    return run_check("reported", {}, Evidence(folder, (replace(TCP, messages=5),)))


def test_what_is_told_passes(tmp_path: Path) -> None:
    result = judged(tmp_path, answered=2)
    assert (result.verdict, result.summary) == ("PASS", "1 connections lost; of 2 messages the end is unknown")


def test_silence_fails(tmp_path: Path) -> None:
    result = judged(tmp_path, answered=2, told=False)
    assert result.verdict == "FAIL"
    assert "message 2 nobody was told" in result.summary


@pytest.mark.parametrize("end", [None, "fail"])
def test_the_silence_of_a_client_that_crashed_says_nothing(end: str | None, tmp_path: Path) -> None:
    assert judged(tmp_path, answered=2, told=False, end=end).verdict == "INCONCLUSIVE"


@pytest.mark.parametrize("received", [MESSAGES[1:3], (MESSAGES[0], MESSAGES[0], MESSAGES[1]), (b"other",)])
def test_what_arrived_is_a_beginning_of_what_was_sent(received: Any, tmp_path: Path) -> None:
    result = judged(tmp_path, answered=0, received=received)
    assert (result.verdict, "beginning" in result.summary) == ("FAIL", True)


def test_an_answer_to_what_never_arrived_fails(tmp_path: Path) -> None:
    result = judged(tmp_path, answered=4, received=MESSAGES[:3])
    assert (result.verdict, result.summary) == ("FAIL", "message 3 was answered but did not arrive")


def test_a_connection_that_was_not_lost_proves_nothing(tmp_path: Path) -> None:
    assert judged(tmp_path, answered=5, sent=5, received=MESSAGES).verdict == "INCONCLUSIVE"
