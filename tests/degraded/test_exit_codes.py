"""Exit codes, each error path in turn: 1 is FAIL and nothing else, and whatever went wrong is told in a line.

docs/command-line.md has the table. The last fault is that of the place: a disk that is full, a reader who left.
"""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import docker
import pytest
from faultlab.network.topology import free_networks
from faultlab.runtimes import control
from faultlab.runtimes.compose import project
from faultlab.runtimes.compose import runtime as compose

from tests.conftest import RanOn

LAB = [sys.executable, "-m", "faultlab"]
TALK = 'about: x\nworkload: [{tcp: {to: "tcp-server:8082", framing: length2, messages: 5}}]\n'
OWN = "about: x\nserver: {image: fault-lab/node, port: 9000, ready: {within: 5s}, command: [%s]}\n" + TALK[9:].replace(
    "tcp-server:8082", "server:9000"
)
SCENARIOS = {
    "ends": OWN % "python3, -c, 'raise SystemExit(4)'" + "checks: [reliability]\n",
    "unreached": OWN % "python3, -m, http.server, '9000', --bind, 127.0.0.1" + "checks: [reliability]\n",
    "no-program": OWN % "no-such-server" + "checks: [reliability]\n",
    "pass": TALK + "checks: [reliability]\n",
    "fail": TALK + "checks: [{handshake: {at_least: 5s}}]\n",
    "unproven": TALK + "checks: [reliability]\nfaults: [{on: client->tcp-server, drop: {payload: never-said}}]\n",
}
ALONE = ["unshare", "--mount", *(["--map-root-user"] if os.getuid() else [])]
FULL = [*ALONE, "sh", "-c", 'mount -t tmpfs -o size=%s tmpfs full && cd . && %s exec "$@"', "sh"]
"""A disk of that size, which the command alone sees, on the folder `full`; and what fills it before."""


def full(size: str, fill: str = "") -> list[str]:
    return [word % (size, fill) if "%s" in word else word for word in FULL]


def closed(number: str) -> list[str]:
    """The command starts without that standard stream, as some service managers start theirs."""
    return ["sh", "-c", f'exec "$@" {number}>&-', "sh"]


@dataclass(frozen=True)
class Row:
    """One way in which a command ends. `says` stands in its last line on standard error, or its output where `out`."""

    name: str
    command: str
    status: int
    says: str = ""
    out: str = ""
    before: list[str] = field(default_factory=list)
    to: str = ""
    """Where its standard output goes: a file, `nobody` for a pipe that nobody reads."""
    env: Mapping[str, str] = field(default_factory=dict)


ROWS = [
    Row("PASS", "run pass.yaml", 0, out="PASS"),
    Row("FAIL", "run fail.yaml", 1, out="FAIL"),
    Row("INCONCLUSIVE", "run unproven.yaml", 3, out="INCONCLUSIVE"),
    Row("FAIL beside PASS", "run pass.yaml fail.yaml --jobs 2", 1, out="FAIL"),
    Row("PASS, and no room for the JUnit file", "run pass.yaml --junit /dev/full", 5,
        "PASS, but not all was written: /dev/full: No space left on device", out="PASS"),
    Row("FAIL, and no room for the JUnit file", "run fail.yaml --junit /dev/full", 1,
        "FAIL, but not all was written: /dev/full: No space left on device", out="FAIL"),
    Row("PASS, and a file that can't be written", "run pass.yaml --markdown folder", 2, "is a directory"),
    Row("PASS that can't be printed", "run pass.yaml --json", 5,
        "PASS, but not all was written: standard output: No space left on device", to="/dev/full"),
    Row("FAIL that can't be printed", "run fail.yaml", 1,
        "FAIL, but not all was written: standard output: No space left on device", to="/dev/full"),
    Row("PASS, and standard output is closed", "run pass.yaml", 5,
        "PASS, but not all was written: standard output: Bad file descriptor", before=closed("1")),
    Row("PASS, and standard error is closed", "run pass.yaml", 0, out="PASS", before=closed("2")),
    Row("PASS, and standard input is closed", "run pass.yaml", 0, out="PASS", before=closed("0")),
    Row("PASS that nobody reads", "run pass.yaml pass.yaml", 141,
        "PASS, but not all was written: standard output: Broken pipe", to="nobody"),
    Row("FAIL that nobody reads", "run fail.yaml --json", 1,
        "FAIL, but not all was written: standard output: Broken pipe", to="nobody"),
    Row("a disk that fills up", "run pass.yaml --out full/runs", 3, out="no space left", before=full("40k")),
    Row("a disk that is full", "run pass.yaml --out full/runs", 3, out="No space left on device; make room",
        before=full("4k", "(head -c 9999 /dev/zero >full/fill) 2>/dev/null;")),
    Row("no lab on a disk that is full", "up --name NAME --out full/evidence", 5, "No space left on device; make room",
        before=full("4k", "(head -c 9999 /dev/zero >full/fill) 2>/dev/null;")),
    Row("FAIL, of a server that ends at its start", "run ends.yaml", 1, out="server ended (exit status 4)"),
    Row("a server that nobody reaches", "run unreached.yaml", 3, out="INCONCLUSIVE"),
    Row("a server's program that is not there", "run no-program.yaml", 2, "no-such-server"),
    Row("no such scenario", "run no-such-scenario", 2, "lab: no scenario 'no-such-scenario'"),
]  # fmt: skip
EVERYWHERE = [
    Row("nothing up", "status --name NAME", 2, "lab: no lab"),
    Row("a list that can't be printed", "scenarios", 5, "standard output: No space left on device", to="/dev/full"),
    Row("a list, and standard output is closed", "scenarios", 5, "standard output: Bad file descriptor",
        before=closed("1")),
    Row("JSON, and standard output is closed", "schema", 5, "standard output: Bad file descriptor", before=closed("1")),
    Row("help, and standard output is closed", "--help", 5, "standard output: Bad file descriptor", before=closed("1")),
    Row("a list that nobody reads", "scenarios", 141, to="nobody"),
    Row("JSON that can't be printed", "schema", 5, "lab: standard output: No space left on device", to="/dev/full"),
    Row("help that nobody reads", "--help", 141, to="nobody"),
    Row("JSON that nobody reads", "scenarios --json", 141, to="nobody"),
    Row("help that can't be printed", "--help", 5, "lab: standard output: No space left on device", to="/dev/full"),
    Row("no engine", "up --name NAME --runtime compose", 4, "No such file or directory). Fix: ",
        env={"DOCKER_HOST": "unix:///nowhere"}),
    Row("no engine for a run", "run pass.yaml --runtime compose", 4, "No such file or directory). Fix: ",
        env={"DOCKER_HOST": "unix:///nowhere"}),
]  # fmt: skip
"""Those in which no runtime has a part."""


@pytest.fixture
def ends(tmp_path: Path) -> Callable[[Row, str], None]:
    """The row's command, and how it ends; nothing of it stays."""
    for name, text in SCENARIOS.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    (tmp_path / "full").mkdir()
    (tmp_path / "folder").mkdir()
    name = f"codes-{os.getpid()}"

    def check(row: Row, runtime: str = "") -> None:
        words = shlex.split(row.command.replace("NAME", name))
        words += ["--runtime", runtime] if runtime and words[0] in ("run", "up") else []
        reader, writer = os.pipe()
        os.close(reader)
        with os.fdopen(writer, "wb") as pipe, (tmp_path / "out").open("wb") as file, Path("/dev/full").open("wb") as no:
            stdout = {"nobody": pipe, "/dev/full": no}.get(row.to, file)
            argv = [*row.before, *LAB, *words]
            env = {**os.environ, **row.env}
            done = subprocess.run(argv, cwd=tmp_path, env=env, stdout=stdout, stderr=subprocess.PIPE, timeout=180)
        said, out = done.stderr.decode(), (tmp_path / "out").read_text()
        assert "Traceback" not in said + out
        assert done.returncode == row.status, said + out
        assert row.says in (said.splitlines() or [""])[-1]
        assert row.out.lower() in out.lower()
        assert [line for line in said.splitlines() if not line.startswith(("running ", "lab: ", "lab '"))] == []
        assert name not in control.running()

    return check


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_run_ends_with_its_verdict_and_nothing_else_with_1(
    row: Row, runtime: str, ran_on: RanOn, ends: Callable[..., None]
) -> None:
    ran_on(runtime, "wire")
    ends(row, runtime)


@pytest.mark.parametrize("row", EVERYWHERE, ids=lambda row: row.name)
def test_commands_end_with_a_code_of_their_own(row: Row, ends: Callable[..., None]) -> None:
    ends(row)


def test_a_port_of_the_users_that_is_taken(needs_docker: None, ends: Callable[..., None]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        told = f"lab: LAB_PORT_LINE: port {port} of 127.0.0.1 is taken; set another, or none for a free one"
        ends(Row("taken", "up --name NAME", 2, told, env={"LAB_PORT_LINE": port}), "compose")


def test_a_service_of_the_users_without_ipv6(needs_docker: None, ends: Callable[..., None], tmp_path: Path) -> None:
    off = "{net.ipv6.conf.all.disable_ipv6: 1}"
    (tmp_path / "off.yaml").write_text(f"services: {{web: {{image: fault-lab/node, sysctls: {off}}}}}\n")
    (tmp_path / "no6.yaml").write_text(
        f"about: x\nserver: {{compose: off.yaml, service: web, port: 9000}}\n{TALK[9:]}checks: [reliability]\n"
    )
    ends(Row("no IPv6", "run no6.yaml", 2, "disable_ipv6: each node of a lab has IPv6; leave it out"), "compose")


def test_a_hub_whose_node_has_no_ipv6(needs_docker: None, tmp_path: Path) -> None:
    """The stack by Docker Compose alone: the hub ends with what is missing."""
    name, file = f"no6-{os.getpid()}", tmp_path / "no6.yaml"
    off = '{sysctls: {net.ipv6.conf.default.disable_ipv6: "1"}}'
    file.write_text(f'services:\n  tcp-server: {off}\n  hub: {{environment: {{LAB_NODES: "tcp-server=$MINE"}}}}\n')
    client = docker.from_env(timeout=60)
    network = next(free_networks(compose.taken(client)))
    nodes = network.nodes(("client", "tcp-server", "udp-server", "dns-server", "toxiproxy"))
    mine = f"{nodes[1].ipv4},{nodes[1].ipv6}"
    env = {**os.environ, **project.settings(nodes, network, 7, "ack"), "MINE": mine}
    argv = ["docker", "compose", "-p", name, "-f", str(project.COMPOSE_FILE), "-f", str(file)]
    try:
        parts = ["tcp-server", "tcp-server-plug", "hub"]
        subprocess.run([*argv, "up", "--detach", "--no-build", *parts], env=env, check=True, timeout=120)
        hub = client.containers.get(f"{name}-hub-1")
        status, said = hub.wait(timeout=120)["StatusCode"], hub.logs().decode()
    finally:
        subprocess.run(
            [*argv, "--profile", "*", "down", "--volumes", "--timeout", "1"], env=env, check=True, timeout=120
        )
        client.close()
    assert status == 4, said
    (line,) = said.splitlines()
    assert line.startswith("hub: IPv6 is off in node tcp-server, and each node of a lab has IPv6. Fix: ")


def test_only_fail_is_1() -> None:
    assert all(row.name.startswith("FAIL") == (row.status == 1) for row in (*ROWS, *EVERYWHERE))


INTERRUPTED = """
import os, signal, sys
class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == {name!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupt())
sys.argv = ["lab", "scenarios"]
from faultlab.__main__ import main
main()
"""


@pytest.mark.parametrize(
    "module", ["faultlab.cli.main", "click", "rich.console", "faultlab.runtimes.netns.runtime", "docker.errors"]
)
def test_ctrl_c_while_the_command_starts(module: str) -> None:
    argv = [sys.executable, "-c", INTERRUPTED.format(name=module)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_ctrl_c_while_scenarios_run(jobs: str, runtime: str, ran_on: RanOn, tmp_path: Path) -> None:
    """From a terminal it goes to every process of the command."""
    ran_on(runtime, "wire")
    slow = TALK.replace("messages: 5", "messages: 1000, pace: 100ms") + "checks: [reliability]\ntimeout: 5min\n"
    (tmp_path / "slow.yaml").write_text(slow)
    argv = [*LAB, "run", "slow.yaml", "slow.yaml", "--runtime", runtime, "--jobs", jobs]
    before = set(control.running())
    process = subprocess.Popen(argv, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True)

    def mine() -> list[str]:
        return [name for name in control.running() if name not in before]

    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("runs/*/ledger.bin")) and len(mine()) < int(jobs) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    while mine() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert mine() == []
