"""Each command that reads a run's folder takes a damaged one as bad input (one line, code 2), or shows the rest."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import NoReturn

import pytest
from faultlab.__main__ import main
from faultlab.checks.base import CheckResult, Finding, Verdict
from faultlab.checks.result_file import RESULT, keep
from faultlab.checks.run_result import RunResult
from faultlab.faults import Latency, Loss
from faultlab.running import replay, shrink

from tests.support.virtual_wire import TO_TCP
from tests.unit.checks.histories import CLIENT_JOURNAL, TcpHistory, record

COMMANDS = ("inspect", "inspect --ladder", "inspect --all --json", "inspect --packet 1", "report", "replay", "shrink")
FILES = ("ledger.bin", "sent.pcapng", "delivered.pcapng", "run.json", CLIENT_JOURNAL, RESULT)
SCENARIO = "about: x\nworkload: {tcp: {messages: 5}}\nfaults:\n  - {on: client->tcp-server, loss: 5%}\nchecks: []\n"
DAMAGES = 6
"""Of each file, beside those by name."""


class Ran(BaseException):
    """The command got as far as to run a lab."""


@pytest.fixture(autouse=True)
def no_labs(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: object) -> NoReturn:
        raise Ran

    monkeypatch.setattr(replay, "run", run)
    monkeypatch.setattr(shrink, "run", run)


def a_run(folder: Path, judged: bool) -> None:
    folder.mkdir()
    history = TcpHistory()
    history.write(folder)
    record(folder, history._frames(), [(TO_TCP, Loss(nth=2)), (TO_TCP, Latency(delay_ms=5))])
    facts = {"name": "mine", "scenario": SCENARIO, "seed": 7, "engine": "wire", "runtime": "netns"}
    (folder / "run.json").write_text(json.dumps(facts))
    if judged:
        finding = Finding("message 2 has no answer", f"{CLIENT_JOURNAL}: connection 0")
        checks = (CheckResult("reliability", Verdict.FAIL, "wrong", (finding,)),)
        keep(RunResult("mine", "", "netns", "wire", 7, Verdict.FAIL, 1.5, checks, str(folder)))


def damaged(whole: bytes, name: str) -> list[bytes]:
    """The same ones in each run of the test."""
    out = [b"", b"\0", b"rubbish\n", b"\xff\xfe\n", b"[]\n", b"{}\n", b"[" * 100_000, whole[: len(whole) // 2]]
    for number in range(DAMAGES):
        dice, data = random.Random(f"{name} {number}"), bytearray(whole)
        for _ in range(dice.choice((1, 3, 30))):
            data[dice.randrange(len(data))] = dice.randrange(256)
        out.append(bytes(data))
    return out


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("judged", [False, True], ids=["no result", "judged"])
def test_a_damaged_file(
    judged: bool, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The commands take turns: each meets each file damaged in two ways, and in two others once it was judged."""
    a_run(tmp_path / "run", judged)
    file = tmp_path / "run" / name
    if not file.exists():
        return
    for number, content in enumerate(damaged(file.read_bytes(), name), start=3 * judged):
        file.write_bytes(content)
        command = COMMANDS[number % len(COMMANDS)]
        monkeypatch.setattr(sys, "argv", ["lab", *command.split(), str(tmp_path / "run")])
        try:
            with pytest.raises(SystemExit) as left:
                main()
        except Ran:
            continue
        told = capsys.readouterr()
        assert left.value.code in (0, 2), (command, content[:80], told.err)
        assert left.value.code == 0 or len(told.err.splitlines()) == 1, (command, content[:80], told.err)
