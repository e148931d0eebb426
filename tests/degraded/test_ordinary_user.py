"""An ordinary user, with what pip installed and nothing else, stands a lab up, uses it and takes it down."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from faultlab.runtimes.isolation import most_memory
from faultlab.scenario.model import shipped

from tests.conftest import RanOn
from tests.degraded.test_isolation import ONLY_ROOT
from tests.support.capabilities import missing

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ("pyproject.toml", "LICENSE", "lab", "services", "dissect")
SCENARIOS = sorted(shipped())
PYTHON = "/usr/bin/python3"
"""The one in PATH may be of root's own, which no other user can run."""
LACKS_SOMETHING = 4
BREAK_OUT = Path(__file__).parent / "probes" / "break_out.py"


class OrdinaryUser:
    """A user made for this test, with a home that holds a virtual environment."""

    def __init__(self, name: str, home: Path) -> None:
        self.name = name
        self.home = home

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """Run a command as this user, in their home, with their environment alone."""
        env = {"HOME": str(self.home), "PATH": f"{self.home}/venv/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}
        toxiproxy = self.home / "toxiproxy-server"
        if toxiproxy.exists():
            env["LAB_TOXIPROXY"] = str(toxiproxy)
        return subprocess.run(
            argv,
            cwd=self.home,
            env=env,
            user=self.name,
            group=self.name,
            extra_groups=[],
            capture_output=True,
            text=True,
            timeout=120,
        )


@pytest.fixture(scope="module")
def user() -> Iterator[OrdinaryUser]:
    """Made by root and taken away with all they own."""
    if os.geteuid() != 0:
        missing("user", "only root can make a user; this run is an ordinary user's already")
    if subprocess.run([PYTHON, "-c", "import ensurepip, sys; sys.exit(sys.version_info < (3, 11))"]).returncode:
        missing("user", f"{PYTHON} is no Python 3.11 with its venv module; apt-get install python3-venv")
    name = f"fault-lab-{os.getpid()}"
    home = Path(tempfile.mkdtemp(prefix="fault-lab-user-"))
    subprocess.run(["useradd", "--system", "--user-group", "--home-dir", home, name], check=True)
    try:
        _furnish(home)
        subprocess.run(["chown", "-R", f"{name}:{name}", home], check=True)
        yield OrdinaryUser(name, home)
    finally:
        subprocess.run(["userdel", name], check=True)
        shutil.rmtree(home)


def _furnish(home: Path) -> None:
    """Install this checkout, not editable: so what a wheel forgets to carry is missed here."""
    source = home / "source"
    source.mkdir()
    for part in SHIPPED:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, source / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / part, source / part)
    subprocess.run([PYTHON, "-m", "venv", home / "venv"], check=True)
    subprocess.run([home / "venv" / "bin" / "pip", "install", "--quiet", source], check=True)
    shutil.rmtree(source)
    toxiproxy = ROOT / ".build" / "bin" / "toxiproxy-server"
    if toxiproxy.exists():
        shutil.copy(toxiproxy, home / toxiproxy.name)


def test_up_exec_down(user: OrdinaryUser, ran_on: RanOn) -> None:
    up = user.run("lab", "up")
    if up.returncode == LACKS_SOMETHING:
        missing("user", up.stderr.strip())
    assert up.returncode == 0, up.stderr
    try:
        client = ("python", "-m", "faultlab_services", "tcp-client", "--to", "tcp-server:8082", "--framing", "length2")
        said = user.run("lab", "exec", "client", "--", *client, "--messages", "5")
        assert said.returncode == 0, said.stderr
        whose = user.run("lab", "exec", "client", "--", "cat", "/proc/self/uid_map")
        assert whose.stdout != Path("/proc/self/uid_map").read_text(), "the lab is in no user namespace of its own"
    finally:
        down = user.run("lab", "down")
    assert down.returncode == 0, down.stderr
    assert _processes_of(user) == []
    ran_on("netns", "wire, as an ordinary user")


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario(user: OrdinaryUser, name: str, ran_on: RanOn) -> None:
    done = user.run("lab", "run", name)
    if done.returncode == LACKS_SOMETHING:
        missing("user", done.stderr.strip())
    assert done.returncode == 0, done.stdout + done.stderr
    assert _processes_of(user) == []
    ran_on("netns", "wire, as an ordinary user")


def test_a_run_is_looked_at(user: OrdinaryUser, ran_on: RanOn) -> None:
    """Templates and all are in what pip installed, and scapy, which is not ours to install, is not."""
    done = user.run("lab", "run", "first-syn-ack-lost", "--out", "looked-at")
    if done.returncode == LACKS_SOMETHING:
        missing("user", done.stderr.strip())
    (folder,) = (user.home / "looked-at").iterdir()
    for words in (["inspect"], ["inspect", "--ladder"], ["report"]):
        looked = user.run("lab", *words, str(folder))
        assert looked.returncode == 0, looked.stderr
    assert "first-syn-ack-lost" in (folder / "report.html").read_text()
    taken_apart = user.run("lab", "inspect", str(folder), "--packet", "2")
    assert (taken_apart.returncode, "pip install scapy" in taken_apart.stderr) == (LACKS_SOMETHING, True)
    ran_on("netns", "wire, as an ordinary user")


@pytest.mark.parametrize("trust", [False, True])
def test_a_node_is_kept_from_the_users_files(user: OrdinaryUser, trust: bool, ran_on: RanOn) -> None:
    """And with --trust it is not, which shows that each way of `probes/break_out.py` is one."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as outside, socket.socket(socket.AF_UNIX) as agent:
        shutil.chown(outside, user.name, user.name)
        (user.home / ".ssh").mkdir(exist_ok=True)
        for name in (".ssh/id_ed25519", ".netrc"):
            (user.home / name).write_text("secret")
        shutil.copy(BREAK_OUT, user.home)
        facts = {"outside": outside, "writable": str(user.home), "home": str(user.home), "shadow": "/etc/shadow"}
        facts |= {"memory": most_memory(), "closed": "/none", "run_socket": "/none", "tmp_socket": f"{outside}/agent"}
        (user.home / "facts.json").write_text(json.dumps(facts))
        agent.bind(facts["tmp_socket"])
        agent.listen()
        Path(facts["tmp_socket"]).chmod(0o777)
        up = user.run("lab", "up", "--name", "kept", "--runtime", "netns", *(["--trust"] if trust else []))
        if up.returncode == LACKS_SOMETHING:
            missing("user", up.stderr.strip())
        assert up.returncode == 0, up.stderr
        try:
            said = user.run("lab", "exec", "--name", "kept", "client", "--", "python", BREAK_OUT.name, "facts.json")
        finally:
            assert user.run("lab", "down", "--name", "kept").returncode == 0
    found = json.loads(said.stdout)
    assert {way for way, succeeded in found.items() if succeeded is (not trust)} <= (ONLY_ROOT if trust else set())
    ran_on("netns", "wire, as an ordinary user")


def _processes_of(user: OrdinaryUser) -> list[str]:
    """Command lines of all that this user still runs. A zombie's is empty: it is gone but for its parent's wait."""
    found = []
    wanted = pwd.getpwnam(user.name).pw_uid
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and folder.stat().st_uid == wanted:
                found.append((folder / "cmdline").read_text().replace("\0", " "))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return [words for words in found if words]
