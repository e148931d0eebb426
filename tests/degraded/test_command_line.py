"""What the command line owes its user: evidence that stays, labs told apart, exit codes that mean one thing."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from faultlab.cli.main import cli, main
from faultlab.errors import UsageError
from faultlab.lab.lab import Lab
from faultlab.network.plan import Guest
from faultlab.runtimes import control

from tests.conftest import RanOn

LAB = [sys.executable, "-m", "faultlab"]
NUMBERS = itertools.count()
ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Done:
    status: int
    out: str
    err: str


Command = Callable[..., Done]


@pytest.fixture
def lab_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """`lab` in this very process: a new one takes half a second to start. It works in the folder `tmp_path`."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["lab", *words])
        with pytest.raises(SystemExit) as left:
            main()
        assert isinstance(left.value.code, int)
        return Done(left.value.code, *capsys.readouterr())

    return run


def by_default(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give every command another default name than "lab": one of that name may be somebody's who works here."""

    def rename(command: Any) -> None:
        for one in command.params:
            if one.name == "name":
                monkeypatch.setattr(one, "default", name)
        for inner in getattr(command, "commands", {}).values():
            rename(inner)

    rename(cli)


@pytest.fixture
def name() -> Iterator[str]:
    """A lab's name that is free, and is so again afterwards."""
    name = f"line-{os.getpid()}-{next(NUMBERS)}"
    yield name
    if name in control.running():
        Lab(name).down()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_evidence_is_never_overwritten(runtime: str, ran_on: RanOn, lab_command: Command, tmp_path: Path) -> None:
    """Not by another lab while the first runs, nor afterwards, from the command line nor from Python."""
    ran_on(runtime, "wire")
    folder, other = tmp_path / "evidence", f"second-{os.getpid()}"

    def refused() -> None:
        up = lab_command("up", "--runtime", runtime, "--name", other, "--out", str(folder))
        assert (up.status, up.out) == (2, "")
        assert up.err == f"lab: evidence folder {folder}: it is not empty; expected a new or empty one with --out DIR\n"
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


def test_a_lab_of_another_checkout_is_named_and_left_alone(
    runtime: str, ran_on: RanOn, name: str, lab_command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its default name; who says the name means that very lab."""
    ran_on(runtime, "wire")
    other = tmp_path / "other"
    for part in ("lab", "services", "compose"):
        shutil.copytree(ROOT / part, other / part)
    argv = [*LAB, "up", "--name", name, "--runtime", runtime, "--json"]
    env = {**os.environ, "PYTHONPATH": f"{other / 'lab'}:{other / 'services'}"}
    up = subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120)
    assert up.returncode == 0, up.stderr
    facts = json.loads(up.stdout)
    assert (facts["installation"], facts["folder"]) == (str(other), str(tmp_path))

    by_default(name, monkeypatch)
    whose = f"lab: lab '{name}' is not of this checkout: {other} made it, in {tmp_path}; "
    for command in ("up", "down", "status", "exec client -- true", "shell", "fault show", "fault clear",
                    "fault set client->tcp-server --loss 5%", "capture client", "top --once"):  # fmt: skip
        done = lab_command(*command.split())
        assert (done.status, done.out) == (2, ""), command
        assert done.err == f"{whose}choose another name with --name, or say --name {name} where you mean that one\n"
    with monkeypatch.context() as patch:
        patch.setattr(control, "INSTALLATION", str(other))
        assert lab_command("exec", "client", "--", "true").status == 0
    assert lab_command("status", "--name", name).status == 0
    assert json.loads(lab_command("down", "--name", name, "--json").out)["was_up"]


def test_a_lab_that_stands_is_shown_only_where_it_is_what_was_asked_for(
    runtime: str, ran_on: RanOn, name: str, lab_command: Command, tmp_path: Path
) -> None:
    ran_on(runtime, "wire")
    as_asked = ["up", "--name", name, "--runtime", runtime, "--seed", "7", "--out", "evidence"]
    up = lab_command(*as_asked, "--json")
    assert up.status == 0, up.err
    pid = json.loads(up.out)["supervisor_pid"]
    for same in (as_asked, ["up", "--name", name], ["up", "--name", name, "--engine", "wire"]):
        again = lab_command(*same, "--json")
        assert (again.status, again.err) == (0, f"lab '{name}' was up already\n")
        assert json.loads(again.out)["supervisor_pid"] == pid
    unlike = {"netns": "compose", "compose": "netns"}[runtime]
    for option, value in (("--runtime", unlike), ("--engine", "netem"), ("--seed", "8"), ("--out", "other")):
        refused = lab_command("up", "--name", name, option, value)
        assert (refused.status, refused.out) == (2, "")
        told = f"lab: lab {name!r} is up already ({runtime}/wire, seed 7, evidence evidence), and not with {option} "
        assert refused.err.startswith(f"{told}{value}; "), refused.err
    other = lab_command("up", "--name", name, "--network", "10.99.0.0/24")
    assert (other.status, "not with the blocks 10.99.0.0/24 and fd77:1ab::/64;" in other.err) == (2, True)
    assert not (tmp_path / "other").exists()
    assert Lab(name).status()["supervisor_pid"] == pid


@pytest.mark.parametrize("out", ["/dev/full", "a pipe that nobody reads"])
def test_a_lab_that_was_announced_stays(runtime: str, ran_on: RanOn, name: str, out: str, tmp_path: Path) -> None:
    """Also where its description could not be written: `lab up | head -1`."""
    ran_on(runtime, "wire")
    reader, writer = os.pipe()
    os.close(reader)
    argv = [*LAB, "up", "--name", name, "--runtime", runtime]
    with os.fdopen(writer, "wb") as pipe, Path("/dev/full").open("wb") as full:
        stdout = full if out == "/dev/full" else pipe
        subprocess.run(argv, cwd=tmp_path, stdout=stdout, stderr=subprocess.PIPE, timeout=120)
    assert Lab(name).status()["name"] == name
