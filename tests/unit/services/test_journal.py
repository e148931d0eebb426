import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from faultlab_services.journal import Journal, digest


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_line_has_the_documented_keys_in_order(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    before = time.monotonic_ns()
    with Journal(path, "tcp-client") as journal:
        journal.write("message", "invoke", conn=2, n=7, data=b"hello", peer="[::1]:8080")
    written = lines(path)
    assert [list(line)[:9] for line in written] == [
        ["t", "actor", "op", "phase", "conn", "n", "size", "digest", "why"]
    ] * 3
    start, message, end = written
    assert (start["op"], start["phase"], start["version"], start["pid"]) == ("journal", "invoke", 1, os.getpid())
    assert (end["op"], end["phase"]) == ("journal", "ok")
    assert before <= int(str(message.pop("t"))) <= time.monotonic_ns()
    assert message == {
        "actor": "tcp-client",
        "op": "message",
        "phase": "invoke",
        "conn": 2,
        "n": 7,
        "size": 5,
        "digest": "a7b6eda801e5347d",
        "why": None,
        "peer": "[::1]:8080",
    }


def test_no_message_has_no_digest_and_an_empty_one_has(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with Journal(path, "a") as journal:
        journal.write("close", "ok")
        journal.write("datagram", "ok", data=b"")
    _, without, empty, _ = lines(path)
    assert (without["size"], without["digest"]) == (0, None)
    assert (empty["size"], empty["digest"]) == (0, digest(b""))


def test_without_a_path_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Journal(None, "a") as journal:
        journal.write("message", "invoke", data=b"x")
    assert not list(tmp_path.iterdir())


def test_it_appends(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    for actor in ("first", "second"):
        with Journal(path, actor):
            pass
    assert [line["actor"] for line in lines(path)] == ["first", "first", "second", "second"]


def test_closing_twice_writes_one_end(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with Journal(path, "a") as journal:
        journal.close()
    assert len(lines(path)) == 2


def test_each_line_is_one_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[bytes] = []
    monkeypatch.setattr("faultlab_services.journal.os.write", lambda fd, data: written.append(data))
    with Journal(tmp_path / "journal", "a") as journal:
        journal.write("message", "invoke", data=b"x", why="two\nlines")
    assert [data.count(b"\n") for data in written] == [1, 1, 1]
    assert all(data.endswith(b"\n") for data in written)


def test_a_kill_leaves_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    code = """
import sys
from pathlib import Path
from faultlab_services.journal import Journal
journal = Journal(Path(sys.argv[1]), "victim")
while True:
    journal.write("message", "invoke", data=b"x" * 100, why="y" * 500)
"""
    with subprocess.Popen([sys.executable, "-c", code, str(path)]) as victim:
        deadline = time.monotonic() + 20
        while not path.exists() or path.stat().st_size < 200_000:
            assert time.monotonic() < deadline
            assert victim.poll() is None
        victim.send_signal(signal.SIGKILL)
    text = path.read_text()
    assert text.endswith("\n")
    assert all(line["actor"] == "victim" for line in lines(path))
    assert lines(path)[-1]["op"] == "message"
