"""The lab's own programs run with the lab's Python, the user's with theirs, whatever lies in the user's folder."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from faultlab.lab.lab import Lab

ECHO = Path(__file__).parent / "wrong" / "tcp_server.py"
ORDINARY_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Of a user who has not activated the lab's environment."""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A user's project, with modules that are called as the lab's are."""
    (tmp_path / "services").mkdir()
    (tmp_path / "services" / "__init__.py").write_text("")
    for name in ("lab.py", "click.py"):
        (tmp_path / name).write_text("raise SystemExit('the user\\'s own file was run')\n")
    return tmp_path


def lab(words: Sequence[str], folder: Path, path: str = ORDINARY_PATH) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "lab"), *words]
    return subprocess.run(
        command, cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=120
    )


def test_a_folder_with_modules_of_our_names(project: Path, runtime: str) -> None:
    done = lab(["run", "first-syn-ack-lost", "--runtime", runtime], project)
    assert done.returncode == 0, done.stdout + done.stderr


def test_python_is_the_users(project: Path, needs_netns: None) -> None:
    """In a command, and in their own server; while our own client in the same node needs nothing on the PATH."""
    theirs = project / "bin"
    theirs.mkdir()
    (theirs / "python3").write_text("#!/bin/sh\necho the user\\'s\n")
    (theirs / "python3").chmod(0o755)
    name = f"python-{os.getpid()}"
    up = lab(["up", "--name", name, "--runtime", "netns", "--out", str(project / "evidence")], project)
    assert up.returncode == 0, up.stderr
    try:
        said = lab(["exec", "--name", name, "client", "--", "python3"], project, f"{theirs}:{ORDINARY_PATH}")
        assert said.stdout == "the user's\n", said.stderr
        asked = ["tcp", "--to", "tcp-server:8082", "--framing", "length2", "--messages", "3"]
        ours = lab(["client", "--name", name, *asked], project, f"{theirs}:{ORDINARY_PATH}")
        assert "3 ok" in ours.stdout, ours.stderr
    finally:
        Lab(name).down()


def test_a_server_of_theirs_has_their_python(project: Path, needs_netns: None) -> None:
    (project / "python3").write_text(f'#!/bin/sh\ntouch {project}/used\nexec {sys.executable} "$@"\n')
    (project / "python3").chmod(0o755)
    (project / "theirs.yaml").write_text(
        f"about: Their own.\nserver: {{port: 9000, command: [python3, '{ECHO}', '9000', right]}}\n"
        "workload: [tcp: {to: 'server:9000', framing: length2, messages: 20}]\n"
        "faults: [{on: client->server, latency: 5ms}]\nchecks: [reliability]\n"
    )
    done = lab(["run", "theirs.yaml"], project, f"{project}:{ORDINARY_PATH}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (project / "used").exists(), "their server ran with another python3"
