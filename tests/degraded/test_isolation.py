"""A program in a node does not get at its host by any way that `probes/break_out.py` tries; with --trust it does."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faultlab.lab.lab import Lab
from faultlab.running.runner import RunOptions, run
from faultlab.runtimes import isolation
from faultlab.scenario.model import parse_scenario

from tests.conftest import RanOn

PROBE = Path(__file__).parent / "probes" / "break_out.py"
ONLY_ROOT = {
    "hashes", "closed_file_of_etc", "raw_disk", "new_device", "core_pattern", "magic_key", "firmware_and_kernel",
    "control_socket",
}  # fmt: skip
"""Ways to what an ordinary user has not on the host either."""


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """What a host has to lose: a home with secrets, a file of root's, sockets on which something listens."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as outside, tempfile.TemporaryDirectory(dir="/tmp") as writable:
        home = Path(outside, "home")
        (home / ".ssh").mkdir(parents=True)
        for name in (".ssh/id_ed25519", ".netrc"):
            (home / name).write_text("secret")
        monkeypatch.setenv("HOME", str(home))
        facts = {"outside": outside, "writable": writable, "home": str(home), "memory": isolation.most_memory()}
        facts |= {"shadow": "/etc/shadow", "closed": "", "tmp_socket": f"{writable}/agent"}
        facts["run_socket"] = f"/run/fault-lab-{os.getpid()}.sock" if os.geteuid() == 0 else "/run/none"
        with socket.socket(socket.AF_UNIX) as in_run, socket.socket(socket.AF_UNIX) as in_tmp:
            in_tmp.bind(facts["tmp_socket"])
            in_tmp.listen()
            if os.geteuid() != 0:
                yield facts
                return
            in_run.bind(facts["run_socket"])
            in_run.listen()
            someone = ["--system", "--no-create-home", "--password", "$6$salt$hash", f"isolated-{os.getpid()}"]
            subprocess.run(["useradd", *someone], check=True)
            closed = Path(tempfile.mkdtemp(dir="/etc", prefix="fault-lab-"), "key")
            closed.touch(0o600)
            closed.write_text("secret")
            try:
                yield facts | {"closed": str(closed)}
            finally:
                shutil.rmtree(closed.parent)
                subprocess.run(["userdel", someone[-1]], check=True)
                Path(facts["run_socket"]).unlink()


def tried(host: dict[str, Any], folder: Path, *, trust: bool) -> dict[str, bool | None]:
    """What each way gave, in a command in a node."""
    facts = folder / "facts.json"
    facts.write_text(json.dumps(host))
    name = f"isolation-{os.getpid()}"
    with Lab.up(name, nodes=["client"], evidence=folder / "evidence", publish=(), trust=trust) as lab:
        done = lab.exec("client", [sys.executable, str(PROBE), str(facts)], stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout))


def test_a_node_is_kept_from_its_host(host: dict[str, Any], needs_netns: None, tmp_path: Path) -> None:
    assert [way for way, succeeded in tried(host, tmp_path, trust=False).items() if succeeded] == []


def test_with_trust_each_way_is_open(host: dict[str, Any], needs_netns: None, tmp_path: Path) -> None:
    """As it was before nodes were isolated: it also shows that each way is one."""
    found = tried(host, tmp_path, trust=True)
    closed = {way for way, succeeded in found.items() if succeeded is False}
    assert closed <= (set() if os.geteuid() == 0 else ONLY_ROOT)


LOOK = """
import os
from pathlib import Path
mine = os.readlink("/proc/self/ns/mnt")
for folder in Path("/proc").glob("[0-9]*"):
    if "faultlab_services" in (folder / "cmdline").read_text().split("\\0"):
        status = (folder / "status").read_text()
        bounding = status.count("CapBnd:\\t00000000200434fb")
        first_to_go = (folder / "oom_score_adj").read_text().strip()
        print(os.readlink(folder / "ns/mnt") == mine, "NoNewPrivs:\\t1" in status, bounding, first_to_go)
"""


def test_servers_are_in_it_too(needs_netns: None, tmp_path: Path) -> None:
    with Lab.up(f"isolation-{os.getpid()}", evidence=tmp_path, nodes=["client", "tcp-server", "udp-server"]) as lab:
        done = lab.exec("client", [sys.executable, "-c", LOOK], stdout=subprocess.PIPE, text=True)
    assert done.stdout.splitlines() == ["True True 1 1000"] * 2


def test_a_lab_in_the_root_folder_opens_nothing_more(
    needs_netns: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    with Lab.up(f"isolation-{os.getpid()}", evidence=tmp_path, nodes=["client"], publish=()) as lab:
        assert lab.exec("client", ["touch", "/fault-lab"], stderr=subprocess.DEVNULL).returncode != 0
        assert lab.exec("client", ["touch", str(tmp_path / "here")]).returncode == 0


def test_what_a_node_needs_is_there(needs_netns: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its working folder, shared memory, terminals, raw sockets, low ports, other users for servers."""
    monkeypatch.chdir(tmp_path)
    needs = """
import os, pty, socket
from multiprocessing import shared_memory
open("written", "w").close()
shared_memory.SharedMemory(create=True, size=4096).unlink()
os.close(pty.openpty()[0])
socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
socket.create_server(("", 80))
open("/proc/self/comm", "w").write("other")
if os.geteuid() == 0 and len(open("/proc/self/uid_map").read().split("4294967295")) > 1:
    os.setgid(12345)
    os.setuid(12345)
"""
    with Lab.up(f"isolation-{os.getpid()}", evidence=tmp_path / "e", nodes=["client"], publish=()) as lab:
        done = lab.exec("client", [sys.executable, "-c", needs], stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "written").exists()


def test_evidence_is_its_owners_alone(runtime: str, ran_on: RanOn, tmp_path: Path) -> None:
    """Captures, ledger, journals and what programs said: each may hold what the traffic held."""
    scenario = parse_scenario(
        "about: A few messages.\nworkload: [tcp: {to: 'tcp-server:8082', framing: length2, messages: 3}]\n"
        "faults: [{on: client->tcp-server, latency: 1ms}]\nchecks: [reliability]\n",
        "owned",
    )
    result = run(scenario, RunOptions(runtime=runtime, out=tmp_path))
    ran_on(runtime, result.engine)
    files = [file for file in Path(result.evidence).rglob("*") if file.is_file()]
    held = [one for one in files if one.suffix in (".jsonl", ".txt", ".pcapng", ".bin")]
    assert len(held) > 6
    assert [one.name for one in held if one.stat().st_mode & 0o077] == []


OWN = """
about: A server that writes outside of what a node may write in.
server: {{port: 9000, command: [sh, -c, 'touch {outside}/server; exec "$0" "$1" 9000 right', '{python}', '{echo}']}}
workload: [tcp: {{to: 'server:9000', framing: length2, messages: 3}}]
faults: [{{on: client->server, latency: 1ms}}]
checks: [reliability]
"""
IN_PYTEST = """
def test_it(lab):
    lab.exec("client", ["touch", "{outside}/command"])
"""


@pytest.mark.parametrize("trust", [False, True])
def test_a_run_and_a_pytest_are_trusted_when_told(
    trust: bool, host: dict[str, Any], needs_netns: None, tmp_path: Path
) -> None:
    outside = Path(host["outside"])
    echo = PROBE.parent.parent / "wrong" / "tcp_server.py"
    (tmp_path / "own.yaml").write_text(OWN.format(outside=outside, python=sys.executable, echo=echo))
    (tmp_path / "test_it.py").write_text(IN_PYTEST.format(outside=outside))
    for command, option in (
        (["faultlab.cli.main", "run", "own.yaml"], "--trust"),
        (["pytest", "test_it.py"], "--lab-trust"),
    ):
        words = [sys.executable, "-P", "-m", *command, *([option] if trust else [])]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(one.name for one in outside.iterdir() if one.is_file()) == (["command", "server"] if trust else [])
