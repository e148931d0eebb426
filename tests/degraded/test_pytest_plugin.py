"""The pytest plugin, as its users have it: in a pytest of its own, with tests that pass, fail and prove nothing."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from faultlab.network import standard_lab
from faultlab.scenario.model import find_scenario

from tests.degraded.test_wrong_servers import WRONG
from tests.support.capabilities import missing

HEAD = f"""
import os, signal, socket, subprocess, sys
import pytest
from faultlab.faults import Drop, Loss, Match

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
CUT_OFF = """
from faultlab.faults import Partition

CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], 9000), timeout=1)"

def test_cut_off(lab):
    argv = [sys.executable, "-c", CONNECT, lab.status()["nodes"]["server"]["ipv4"]]
    with lab.fault("client<->server", Partition()):
        assert lab.exec("client", argv, stderr=subprocess.DEVNULL).returncode != 0
    assert lab.exec("client", argv).returncode == 0
"""
FAILS = """
def test_fails(lab):
    with lab.fault("client->server", Loss(every=5)):
        ask(lab.address(9000))
        assert False, "on purpose"
"""
NEVER = 'Drop(match=Match(payload="never said"))'
UNPROVEN = {
    "fault": f"""
def test_unproven(lab):
    with lab.fault("client->server", {NEVER}):
        ask(lab.address(9000))
""",
    "set_faults": f"""
def test_unproven(lab):
    lab.set_faults("client->server", {NEVER})
    ask(lab.address(9000))
    lab.clear_faults()
""",
    "no traffic at all": """
def test_unproven(lab):
    lab.set_faults("client->server", Loss(every=5))
""",
    "another path": """
def test_unproven(lab):
    lab.set_faults("client->dns-server", Loss(every=2))
    ask(lab.address(9000))
""",
    "the command line": """
def test_unproven(lab):
    order = ["fault", "set", "--name", lab.name, "client->server", "--fault", "drop: {payload: never said}"]
    subprocess.run([sys.executable, "-m", "faultlab", *order], check=True)
    ask(lab.address(9000))
""",
}
DEAF = """
from faultlab.runtimes import control

def test_deaf(lab, monkeypatch):
    real = control.ask

    def deaf(name, order, *more):
        return ({answer}, []) if order["do"] == "set" else real(name, order, *more)

    monkeypatch.setattr(control, "ask", deaf)
    with lab.fault("client->server", Loss(every=5)):
        ask(lab.address(9000))
"""
TOXIC = """
import sys
from faultlab.faults.toxics import LatencyToxic

TALK = [sys.executable, "-m", "faultlab_services", "tcp-client", "--to", "toxiproxy:8082", "--framing", "length2"]

def test_toxic(lab):
    engine = lab.toxiproxy()
    placed = engine.place({port}, LatencyToxic(stream="upstream", latency_ms=20))
    lab.exec("client", TALK, check=True, capture_output=True)
    engine.remove(placed)
"""
DEAD = {
    "supervisor": "os.kill(lab.status()['supervisor_pid'], signal.SIGKILL)",
    "server": "lab.exec('server', ['pkill', '-9', '-f', 'tcp_server.py'])",
}
SCENARIO = """
@pytest.mark.lab_scenario("{0}")
def test_scenario(lab_result):
    assert lab_result.scenario == "{1}"
"""


def outcome(body: str, folder: Path, *options: str, head: str = HEAD) -> tuple[dict[str, int], str]:
    """({"passed": 1}, what pytest printed)"""
    (folder / "test_it.py").write_text(head + body)
    return pytest_in(folder, folder, *options)


def pytest_in(cwd: Path, folder: Path, *options: str) -> tuple[dict[str, int], str]:
    """The tests in `folder`, by a pytest that was started elsewhere."""
    out = folder / "evidence"
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        f"--lab-out={out}",
        *options,
        str(folder),
    ]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    words = done.stdout.strip().splitlines()[-1].split(" in ")[0].replace(",", "").split()
    return dict(zip(words[1::2], map(int, words[::2]), strict=True)), done.stdout


def kept(folder: Path) -> list[Path]:
    out = folder / "evidence"
    return list(out.iterdir()) if out.exists() else []


def test_what_passed_leaves_nothing(needs_netns: None, tmp_path: Path) -> None:
    counts, told = outcome(PASSES, tmp_path)
    assert (counts, kept(tmp_path)) == ({"passed": 1}, []), told


def test_a_partition_leaves_nothing_to_hit_on_the_way_back(needs_netns: None, tmp_path: Path) -> None:
    counts, told = outcome(CUT_OFF, tmp_path)
    assert counts == {"passed": 1}, told


def test_what_failed_says_where_its_evidence_is(needs_netns: None, tmp_path: Path) -> None:
    counts, told = outcome(FAILS, tmp_path)
    (folder,) = kept(tmp_path)
    assert counts == {"failed": 1}
    assert f"evidence: {folder}" in told
    assert {"ledger.bin", "sent.pcapng", "delivered.pcapng", "log"} <= {one.name for one in folder.iterdir()}


@pytest.mark.parametrize("body", UNPROVEN.values(), ids=UNPROVEN)
def test_a_fault_that_never_acted_is_an_error(body: str, needs_netns: None, tmp_path: Path) -> None:
    """However it was set."""
    counts, told = outcome(body, tmp_path)
    assert counts == {"passed": 1, "error": 1}, told
    assert "left no trace" in told
    (folder,) = kept(tmp_path)
    assert f"evidence: {folder}" in told


@pytest.mark.parametrize(
    ("answer", "expected", "told"),
    [
        (
            '{"faults": {}}',
            {"failed": 1},
            "was asked for, and the engine says that nothing stands there",
        ),
        (
            '{"faults": {order["path"]: order["faults"]}}',
            {"passed": 1, "error": 1},
            "1 faults were asked for, 0 were set",
        ),
    ],
)
def test_an_engine_that_is_deaf_is_no_proof(
    answer: str, expected: dict[str, int], told: str, needs_netns: None, tmp_path: Path
) -> None:
    """One that says so, and one that pretends."""
    counts, said = outcome(DEAF.replace("{answer}", answer), tmp_path)
    assert counts == expected, said
    assert told in said


@pytest.mark.parametrize(("port", "expected"), [(8082, {"passed": 1}), (8080, {"passed": 1, "error": 1})])
def test_a_toxic_counts_too(port: int, expected: dict[str, int], needs_netns: None, tmp_path: Path) -> None:
    """The client talks through port 8082's proxy: a toxic on another one has done nothing."""
    if standard_lab.find_toxiproxy() is None:
        missing("toxiproxy", standard_lab.TOXIPROXY_HINT)
    counts, told = outcome(TOXIC.replace("{port}", str(port)), tmp_path, head="")
    assert counts == expected, told
    assert ("left no trace" in told, len(kept(tmp_path))) == (("error" in expected), ("error" in expected)), told


@pytest.mark.parametrize("kill", DEAD.values(), ids=DEAD)
def test_a_lab_that_died_in_the_test_is_an_error(kill: str, needs_netns: None, tmp_path: Path) -> None:
    """Its evidence stays."""
    body = f"""
def test_goes_on(lab):
    ask(lab.address(9000))
    {kill}
    lab.ends_by_itself()
"""
    counts, told = outcome(body, tmp_path)
    assert counts == {"passed": 1, "error": 1}, told
    assert "the lab ended before the test did: " in told
    (folder,) = kept(tmp_path)
    assert (folder / "ledger.bin").exists()


@pytest.mark.parametrize(("name", "expected"), [("first-syn-ack-lost", {"passed": 1}), ("nothing", {"error": 1})])
def test_a_scenario_by_its_name(name: str, expected: dict[str, int], needs_netns: None, tmp_path: Path) -> None:
    counts, told = outcome(SCENARIO.format(name, name), tmp_path)
    assert counts == expected, told
    assert kept(tmp_path) == []


def test_a_scenario_file_is_found_from_the_test_s_own_folder(needs_netns: None, tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    shutil.copy(find_scenario("first-syn-ack-lost"), tmp_path / "mine.yaml")
    (tmp_path / "tests" / "test_it.py").write_text(HEAD + SCENARIO.format("../mine.yaml", "mine"))
    elsewhere = tmp_path / "some" / "where"
    elsewhere.mkdir(parents=True)
    counts, told = pytest_in(elsewhere, tmp_path / "tests")
    assert counts == {"passed": 1}, told


def test_several_workers_have_a_lab_each(needs_netns: None, tmp_path: Path) -> None:
    body = "".join(PASSES.replace("test_passes", f"test_passes_{number}") for number in range(4))
    counts, told = outcome(body, tmp_path, "-n", "2")
    assert (counts, kept(tmp_path)) == ({"passed": 4}, []), told


def test_a_marker_that_can_not_be_meant_is_one_line(needs_netns: None, tmp_path: Path) -> None:
    counts, told = outcome("@pytest.mark.lab_server(port=9000)\n" + PASSES.lstrip(), tmp_path)
    assert counts == {"error": 1}
    assert "no lab: lab_server: names no server; expected command, image, or compose with service" in told
