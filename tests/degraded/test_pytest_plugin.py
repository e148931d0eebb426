"""The pytest plugin, as its users have it: in a pytest of its own, with tests that pass, fail and prove nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.degraded.test_wrong_servers import WRONG

HEAD = f"""
import socket, sys
import pytest
from lab.faults import Drop, Loss, Match

pytestmark = pytest.mark.lab_server([sys.executable, {str(WRONG / "tcp_server.py")!r}, "9000", "right"], port=9000)

def ask(address, frames=20):
    with socket.create_connection(address, timeout=20) as sock:
        for _ in range(frames):
            sock.sendall(b"\\0\\4ping")
            assert sock.recv(6) == b"\\0\\4ping"
"""
PASSES = """
def test_passes(lab):
    with lab.fault("client<->server", Loss(every=5)):
        ask(lab.address(9000))
"""
FAILS = """
def test_fails(lab):
    with lab.fault("client->server", Loss(every=5)):
        ask(lab.address(9000))
        assert False, "on purpose"
"""
UNPROVEN = """
def test_unproven(lab):
    with lab.fault("client->server", Drop(match=Match(payload="never said"))):
        ask(lab.address(9000))
"""
SCENARIO = """
@pytest.mark.lab_scenario("{0}")
def test_scenario(lab_result):
    assert lab_result.scenario == "{0}"
"""


def outcome(body: str, folder: Path, *options: str) -> tuple[dict[str, int], str]:
    """({"passed": 1}, what pytest printed)"""
    (folder / "test_it.py").write_text(HEAD + body)
    out = folder / "evidence"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--lab-out={out}", *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    words = done.stdout.strip().splitlines()[-1].split(" in ")[0].replace(",", "").split()
    return dict(zip(words[1::2], map(int, words[::2]), strict=True)), done.stdout


def kept(folder: Path) -> list[Path]:
    out = folder / "evidence"
    return list(out.iterdir()) if out.exists() else []


def test_what_passed_leaves_nothing(needs_netns: None, tmp_path: Path) -> None:
    counts, told = outcome(PASSES, tmp_path)
    assert (counts, kept(tmp_path)) == ({"passed": 1}, []), told


def test_what_failed_says_where_its_evidence_is(needs_netns: None, tmp_path: Path) -> None:
    counts, told = outcome(FAILS, tmp_path)
    (folder,) = kept(tmp_path)
    assert counts == {"failed": 1}
    assert f"evidence: {folder}" in told
    assert {"ledger.bin", "sent.pcapng", "delivered.pcapng", "log"} <= {one.name for one in folder.iterdir()}


def test_a_fault_that_never_acted_is_an_error(needs_netns: None, tmp_path: Path) -> None:
    counts, told = outcome(UNPROVEN, tmp_path)
    assert counts == {"passed": 1, "error": 1}
    assert "left no trace" in told
    assert len(kept(tmp_path)) == 1


@pytest.mark.parametrize(("name", "expected"), [("first-syn-ack-lost", {"passed": 1}), ("nothing", {"error": 1})])
def test_a_scenario_file(name: str, expected: dict[str, int], needs_netns: None, tmp_path: Path) -> None:
    counts, told = outcome(SCENARIO.format(name), tmp_path)
    assert counts == expected, told
    assert kept(tmp_path) == []


def test_several_workers_have_a_lab_each(needs_netns: None, tmp_path: Path) -> None:
    body = "".join(PASSES.replace("test_passes", f"test_passes_{number}") for number in range(4))
    counts, told = outcome(body, tmp_path, "-n", "2")
    assert (counts, kept(tmp_path)) == ({"passed": 4}, []), told


def test_a_marker_that_can_not_be_meant_is_one_line(needs_netns: None, tmp_path: Path) -> None:
    counts, told = outcome("@pytest.mark.lab_server(port=9000)\n" + PASSES.lstrip(), tmp_path)
    assert counts == {"error": 1}
    assert "no lab: lab_server: names no server; expected command, image, or compose with service" in told
