"""Two hundred broken command lines and scenario files: each is one clear line, exit code 2, and no lab."""

from __future__ import annotations

import os
import random
import shlex
import sys
from pathlib import Path

import pytest
from faultlab.cli.main import main
from faultlab.errors import UsageError
from faultlab.lab.lab import Lab
from faultlab.runtimes import control
from faultlab.scenario.model import parse_scenario

from tests.support.broken_scenarios import GOOD, broken_files

GENERATED = 80
NAME = "broken-lab"
"""Of the lab that a command would bring up if it were not refused; another's lab is never looked at."""
PIECES = [
    "",
    "\n",
    "null",
    "[]",
    "{}",
    "-1",
    "1e999",
    "true",
    "'",
    ":",
    "\t",
    "%",
    "ms",
    "~",
    "&a",
    "*a",
    "- ",
    "\x00",
    "💥",
]

COMMANDS = [
    line.strip()
    for line in """
    upp
    up extra
    up --name
    up --name UPPER
    up --name ../etc
    up --name ''
    up --runtime docker
    up --engine tc
    up --seed -1
    up --seed x
    up --seed 1.5
    up --network nonsense
    up --network 10.77.0.0/30
    up --network 10.77.0.5/24
    up --network 300.0.0.0/24
    up --network fd00::/64
    up --network6 10.0.0.0/24
    up --network6 fd00::/126
    up --name broken-lab --network 127.0.0.0/8
    up --name broken-lab --out /proc/nowhere
    up --jsn
    status --name nobody
    status extra
    down extra
    exec
    exec client
    exec client --
    exec --name nobody client -- true
    exec --name nobody nowhere -- true
    shell --name nobody
    fault
    fault sett
    shrink
    shrink nowhere
    inspect
    inspect nowhere
    inspect /dev/null
    inspect /proc/self/status
    inspect /
    inspect nowhere --flow x
    inspect nowhere --only lost
    inspect nowhere --between 1..2
    inspect nowhere --protocol sctp
    inspect nowhere --packet 0
    inspect nowhere --port 65536
    compare tpc
    compare tcp --loss 5
    compare --loss 5ms
    compare --loss 51%
    run matrix/tcp-lien
    run matrix/tcp-line/lost
    run matrix --jobs 0
    run matrix --markdown nowhere/at/all.md
    schema result
    fault set
    fault set client->tcp-server
    fault set client->tcp-server --loss
    fault set client->tcp-server --loss 5
    fault set client->tcp-server --loss 5ms
    fault set client->tcp-server --loss 101%
    fault set client->tcp-server --loss -5%
    fault set client->tcp-server --latency 50
    fault set client->tcp-server --latency 0ms
    fault set client->tcp-server --latency fast
    fault set client->tcp-server --jitter 5ms
    fault set client->tcp-server --latency 50ms --jitter x
    fault set client->tcp-server --rate 0kbit
    fault set client->tcp-server --blackhole 5B
    fault set client->tcp-server --burst-loss 5%
    fault set client->tcp-server --fault loss
    fault set client->tcp-server --fault 'loss: ['
    fault set client->tcp-server --fault 'los: 5%'
    fault set client->tcp-server --fault 'loss: {evry: 5}'
    fault set client->tcp-server --fault '1: 2'
    fault set client->tcp-server --fault 'a: &a [*a]'
    fault set client->tcp-server --fault 'drop: {tcp: foo}'
    fault set client->tcp-server --loss 5% --for 5
    fault set client->tcp-server --loss 5% --for soon
    fault set client->tcp-server --loss 5% --name nobody
    fault set client --name nobody --loss 5%
    fault show --name nobody
    fault clear --name nobody
    run
    run nothing-like-it
    run tcp-los
    run ./none.yaml
    run /
    run /dev/null/x.yaml
    run tcp-loss --seed -1
    run tcp-loss --engine tc
    run tcp-loss --out /proc/nowhere
    run tcp-loss --junit /nowhere/at/all.xml
    run tcp-loss --junit /
    replay
    replay /nowhere
    replay /
    scenarios extra
    doctor extra
    schema extra
""".strip().splitlines()
]
COMMANDS.append(f"fault set client->tcp-server --fault {'[' * 5000}")
HUGE = "9" * 5000
COMMANDS += [
    command.replace("HUGE", HUGE)
    for command in """
    up --seed HUGE
    up --network HUGE
    up --out HUGE
    run HUGE
    run tcp-loss --jobs HUGE
    compare --loss HUGE%
    fault set client->tcp-server --cut HUGE --name nobody
    fault set client->tcp-server --reset ² --name nobody
    fault set client->tcp-server --loss HUGE% --name nobody
    fault set client->tcp-server --latency HUGEms --name nobody
    fault set client->tcp-server --rate HUGEmbit --name nobody
    fault set client->tcp-server --blackhole HUGEB --name nobody
    fault set client->tcp-server --loss 5% --for HUGEs --name nobody
    fault set client->tcp-server --fault 'loss: {every: 0xHUGE}' --name nobody
    inspect nowhere --packet HUGE
    inspect nowhere --between 0s..HUGEs
    """.strip().splitlines()
]


def refused(arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """The line that it is refused with."""
    monkeypatch.setattr(sys, "argv", ["lab", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    stood_up = [name for name in control.running() if name == NAME or name.startswith(f"run-{os.getpid()}-")]
    for name in stood_up:
        Lab(name).down()
    told = capsys.readouterr()
    assert left.value.code == 2, told
    assert told.out == ""
    line, end, rest = told.err.partition("\n")
    assert (end, rest) == ("\n", ""), told.err
    assert line.startswith("lab: ") and len(line) < 2000
    assert stood_up == []
    return line


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[:60])
def test_command_lines(command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    words = shlex.split(command)
    named = [*words, "--name", NAME] if words[0] == "up" and "--name" not in words else words
    refused(named, monkeypatch, capsys)


def generated() -> list[str]:
    """Good files with a piece replaced, as long as that breaks them; always the same ones."""
    dice = random.Random(3)
    found: list[str] = []
    while len(found) < GENERATED:
        start = dice.randrange(len(GOOD))
        text = GOOD[:start] + dice.choice(PIECES) + GOOD[start + dice.randrange(20) :]
        try:
            parse_scenario(text, "generated")
        except UsageError:
            found.append(text)
    return found


@pytest.mark.parametrize("text", [*broken_files(), *generated()], ids=lambda text: repr(text[-30:]))
def test_files(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = tmp_path / "broken.yaml", tmp_path / "runs"
    file.write_text(text)
    line = refused(["run", str(file), "--out", str(out)], monkeypatch, capsys)
    assert line.startswith(f"lab: {file}:")
    assert not out.exists()


def test_there_are_two_hundred() -> None:
    assert len(COMMANDS) + len(broken_files()) + GENERATED >= 200
