"""The command line: bad input, start-up, and how processes end."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import PATIENCE_S, Start, until

Run = Callable[..., subprocess.CompletedProcess[str]]

SERVERS = {
    "tcp-server": ("--raw-port=0", "--line-port=0", "--length2-port=0"),
    "udp-server": ("--port=0",),
    "dns-server": ("--port=0",),
}


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("nonsense", "No such command 'nonsense'."),
        ("tcp-server --idle-timeout 50", "Invalid value for '--idle-timeout': '50' has no unit: write 50ms or 50s"),
        ("tcp-server --max-frame 1GB", "is not a size: write it like 100B or 64KiB"),
        ("tcp-server --max-frame 0", "--max-frame is 0 bytes: expected at least 1B"),
        ("tcp-server --raw-port 65536", "65536 is not in the range"),
        ("tcp-server --bind localhost", "--bind 'localhost' is not an address: write it like 0.0.0.0 or ::1"),
        ("tcp-client --framing line", "Missing option '--to'."),
        ("tcp-client --to host --framing line", "'host' is not HOST:PORT: write it like tcp-server:8080"),
        ("tcp-client --to host:0 --framing line", "'host:0' is not HOST:PORT"),
        ("tcp-client --to host:80 --framing chunked", "'chunked' is not one of"),
        ("tcp-client --to host:80 --framing line --messages 0", "0 is not in the range"),
        ("tcp-client --to host:80 --framing length2 --size 64KiB", "over length2's limit of 65535"),
        ("tcp-client --to host:80 --framing line --size 20B..10B", "20B is larger than 10B"),
        ("udp-client --to host:80 --size 70000", "UDP carries at most 65507"),
        ("udp-client --to host:80 --mode both", "'both' is not one of"),
        ("dns-server --fault slow", "fault 'slow': no fault called 'slow'; expected one of delay, drop"),
        ("dns-server --record tcp-server", "record 'tcp-server' is not NAME=ADDRESS"),
        ("dns-server --record a=b", "record 'a': 'b' is not an IPv4 or IPv6 address"),
        ("dns-server --zone a..b", "'a..b' is not a DNS name"),
        ("dns-client --how resolve --names a --pool-size 3", "--pool-size means nothing with --how resolve"),
        ("dns-client --how lookup --names a --retries 3", "--retries means nothing with --how lookup"),
        ("dns-client --how lookup --names ,", "--names is empty"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(run: Run, line: str, says: str) -> None:
    done = run(*line.split())
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.startswith("services: ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not JSON"),
        ("[]", "expected an object"),
        ('{"a": "10.0.0.1"}', "'a': expected a list of addresses"),
    ],
)
def test_a_bad_records_file_is_named(run: Run, tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "records.json"
    file.write_text(text)
    done = run("dns-server", "--records", str(file))
    assert done.returncode == 2
    assert done.stderr.startswith(f"services: {file}: ")
    assert says in done.stderr


def test_files_that_cannot_be_had(run: Run, tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    for args in (("dns-server", f"--records={missing}"), ("udp-server", "--port=0", f"--journal={missing}/j")):
        done = run(*args)
        assert done.returncode == 2
        assert str(missing) in done.stderr
        assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_servers_end_in_order(start: Start, server: str, number: signal.Signals) -> None:
    service = start(server, *SERVERS[server])
    service.process.send_signal(number)
    assert service.process.wait(PATIENCE_S) == 0
    assert service.process.communicate()[1] == ""
    assert (service.journal()[-1]["op"], service.journal()[-1]["phase"]) == ("journal", "ok")


@pytest.mark.parametrize("server", SERVERS)
def test_a_killed_server_leaves_whole_lines(start: Start, server: str) -> None:
    service = start(server, *SERVERS[server])
    service.process.kill()
    service.process.wait(PATIENCE_S)
    assert service.journal("journal", "invoke")
    assert not service.journal("journal", "ok")


def test_sigterm_while_a_lookup_hangs(tmp_path: Path) -> None:
    """getaddrinfo(3) cannot be interrupted; the process ends all the same."""
    program = """
import socket, sys, time
from faultlab_services import __main__
socket.getaddrinfo = lambda *args, **more: (print("asked", flush=True), time.sleep(60))
sys.exit(__main__.main())
"""
    command = [sys.executable, "-c", program, "dns-client", "--how=lookup", "--names=slow", "--timeout=1min"]
    with subprocess.Popen([*command, f"--journal={tmp_path / 'j'}"], stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == "asked\n"
        client.terminate()
        assert client.wait(PATIENCE_S) == 0
    assert '"op":"journal","phase":"ok"' in (tmp_path / "j").read_text().splitlines()[-1]


@pytest.mark.parametrize(
    ("server", "unwanted"),
    [
        ("tcp-server", {"dns", "rich", "pydantic", "lab"}),
        ("udp-server", {"dns", "rich", "pydantic", "lab"}),
        ("dns-server", {"rich", "pydantic", "lab"}),
    ],
)
def test_a_server_imports_only_what_it_needs(tmp_path: Path, server: str, unwanted: set[str]) -> None:
    with subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", "faultlab_services", server, *SERVERS[server]],
        stdout=subprocess.PIPE,
        stderr=(tmp_path / "imports").open("w"),
        text=True,
    ) as process:
        assert process.stdout is not None
        until(lambda: process.stdout is not None and process.stdout.readline().endswith("ready\n"))
        process.terminate()
    imported = {
        line.rpartition("|")[2].strip().split(".")[0] for line in (tmp_path / "imports").read_text().splitlines()
    }
    assert "asyncio" in imported
    assert not imported & unwanted


def test_help_names_every_command(run: Run) -> None:
    done = run("--help")
    assert done.returncode == 0
    for command in (*SERVERS, "tcp-client", "udp-client", "dns-client"):
        assert command in done.stdout
