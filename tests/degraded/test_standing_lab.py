"""A lab that stands: names, servers, published ports, faults on and off, and nothing left when it is down."""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from struct import pack

import pytest
from faultlab.errors import UsageError
from faultlab.faults import Drop, Latency, Loss, Match, Rebind, Reset
from faultlab.lab.lab import Lab
from faultlab.network.topology import Network
from faultlab.runtimes import control
from faultlab.runtimes.netns.runtime import check_network, host_routes

from tests.conftest import RanOn

CLIENT = ["python", "-m", "faultlab_services"]


@pytest.fixture
def clean(lab: Lab) -> Iterator[Lab]:
    """The standing lab, without faults afterwards."""
    yield lab
    lab.clear_faults()


def tcp(lab: Lab, *more: str) -> dict[str, int]:
    argv = [*CLIENT, "tcp-client", "--to", "tcp-server:8082", "--framing", "length2", "--json", *more]
    done = lab.exec("client", argv, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize(
    "command",
    [
        [*CLIENT, "tcp-client", "--to", "tcp-server:8080", "--framing", "raw", "--messages", "3"],
        [*CLIENT, "tcp-client", "--to", "tcp-server:8081", "--framing", "line", "--messages", "3"],
        [*CLIENT, "tcp-client", "--to", "tcp-server:8082", "--framing", "length2", "--messages", "3"],
        [*CLIENT, "udp-client", "--to", "udp-server:41234", "--messages", "3"],
        [*CLIENT, "dns-client", "--how", "lookup", "--names", "tcp-server,udp-server"],
        [*CLIENT, "dns-client", "--how", "resolve", "--names", "tcp-server,udp-server"],
    ],
    ids=lambda words: f"{words[3]} {words[5]}",
)
def test_the_client_talks_to_each_server_by_name(lab: Lab, command: list[str]) -> None:
    done = lab.exec("client", command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout


def test_a_name_that_the_lab_does_not_know_is_not_found(lab: Lab) -> None:
    done = lab.exec(
        "client", [*CLIENT, "dns-client", "--how", "lookup", "--names", "example.org"], stdout=subprocess.DEVNULL
    )
    assert done.returncode == 1


def test_a_command_runs_as_by_subprocess_run(lab: Lab) -> None:
    """Its output, its input, its failure and its time limit."""
    done = lab.exec("client", ["sh", "-c", "cat; echo no >&2"], input="yes", capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "yes", "no\n")
    with pytest.raises(subprocess.CalledProcessError) as failed:
        lab.exec("client", ["sh", "-c", "echo why; exit 3"], check=True, capture_output=True)
    assert (failed.value.returncode, failed.value.stdout) == (3, b"why\n")
    with pytest.raises(subprocess.TimeoutExpired):
        lab.exec("client", ["sleep", "60"], timeout=0.5)
    with pytest.raises(ValueError, match="capture_output"):
        lab.exec("client", ["true"], capture_output=True, stdout=subprocess.DEVNULL)


def published(lab: Lab, protocol: str, to: str) -> tuple[str, int]:
    address = next(
        one["address"] for one in lab.status()["published"] if one["protocol"] == protocol and one["to"].endswith(to)
    )
    host, _, port = address.rpartition(":")
    return host, int(port)


def test_a_published_port_speaks_as_nc_would(clean: Lab) -> None:
    with socket.create_connection(published(clean, "tcp", ":8080"), timeout=10) as end:
        greeting = b"Welcome to the raw TCP server!\r\n"
        assert end.recv(100) == greeting
        end.sendall(b"hello")
        end.shutdown(socket.SHUT_WR)
        answer = b""
        while data := end.recv(100):
            answer += data
        assert answer == b"You said: hello\r\n"


def test_a_published_datagram_is_answered(clean: Lab) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.settimeout(10)
        end.sendto(b"anyone?", published(clean, "udp", ":41234"))
        assert end.recv(100) == b"Message Received"


def test_a_published_port_goes_through_the_wire_and_its_faults(clean: Lab) -> None:
    asked = 0.2
    with clean.fault("client->tcp-server", Latency(delay_ms=asked * 1e3)):
        start = time.monotonic()
        with socket.create_connection(published(clean, "tcp", ":8080"), timeout=10) as end:
            assert end.recv(100)
        # The SYN and the final ACK each wait; the greeting comes after the SYN's wait.
        assert time.monotonic() - start >= asked


def echoed(end: socket.socket, word: bytes) -> bytes:
    """What the framed server says to one frame, up to the frame's length."""
    end.sendall(len(word).to_bytes(2, "big") + word)
    answer = b""
    while len(answer) < 2 + len(word) and (data := end.recv(100)):
        answer += data
    return answer


@pytest.mark.parametrize("how", ["aborted by its client", "reset on the way"])
def test_a_published_port_is_whole_after_connections_that_were_cut(clean: Lab, how: str) -> None:
    """The relay of the port once took the next connection for the one that had gone."""
    where = published(clean, "tcp", ":8082")
    abort = how == "aborted by its client"
    for _ in range(25):
        fault = nullcontext() if abort else clean.fault("client->tcp-server", Reset(nth=(1,)))
        with fault, socket.create_connection(where, timeout=20) as end:
            answer = b""
            with suppress(ConnectionError):
                answer = echoed(end, b"hello")
            assert (answer[2:] == b"hello") == abort
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, pack("ii", 1, 0))
        with socket.create_connection(where, timeout=20) as end:
            for number in range(3):
                word = b"hello %d" % number
                assert echoed(end, word)[2:] == word


def test_control_never_crosses_a_faulted_path(clean: Lab) -> None:
    """With every path cut, faults can still be shown and cleared, and toxiproxy's API answers."""
    nodes = list(clean.status()["nodes"])
    for one in nodes:
        for other in nodes:
            if one != other:
                clean.set_faults(f"{one}->{other}", Drop())
    assert len(clean.faults()) == len(nodes) * (len(nodes) - 1)
    if any(one["via"] == "toxiproxy" for one in clean.status()["published"]):
        assert "version" in clean.toxiproxy().version()
    clean.clear_faults()
    assert tcp(clean)["ok"] == 1


def test_a_fault_acts_within_50_ms_of_being_set_and_is_gone_when_cleared(clean: Lab) -> None:
    """From the order's answer on, no packet escapes: the answer comes after the fault is on."""
    with clean.fault("client->udp-server", Loss(percent=100)):
        done = clean.exec("client", [*CLIENT, "udp-client", "--to", "udp-server:41234", "--timeout", "50ms"])
        assert done.returncode == 1
    assert clean.faults() == {}
    done = clean.exec("client", [*CLIENT, "udp-client", "--to", "udp-server:41234", "--timeout", "2s"])
    assert done.returncode == 0


def test_a_fault_set_for_a_time_ends_by_itself(clean: Lab) -> None:
    clean.set_faults("client->tcp-server", Loss(percent=100), for_ms=100)
    assert clean.faults()
    deadline = time.monotonic() + 10
    while clean.faults() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not clean.faults()


def test_a_fault_for_longer_than_the_engine_can_wait_is_refused(clean: Lab) -> None:
    """Its loop could not even wait for so long, and the lab would end."""
    for for_ms in (1e300, 86_400_001.0, -1.0):
        with pytest.raises(UsageError, match=r"expected 0ms to .* \(a day\)"):
            clean.set_faults("client->tcp-server", Loss(percent=100), for_ms=for_ms)
    assert clean.faults() == {}


def test_faults_nest_and_leave_what_was_there(clean: Lab) -> None:
    outer, inner = Latency(delay_ms=1), Drop(match=Match(payload="never said"))
    with clean.fault("client<->tcp-server", outer):
        with clean.fault("client->tcp-server", inner):
            assert clean.faults()["client->tcp-server"] == (inner, outer)
        assert clean.faults()["client->tcp-server"] == (outer,)
    assert clean.faults() == {}


def test_faults_that_clash_are_refused_and_change_nothing(clean: Lab) -> None:
    with clean.fault("client->tcp-server", Loss(percent=1)):
        with pytest.raises(UsageError, match="clash"), clean.fault("client->tcp-server", Loss(percent=2)):
            pass
        assert clean.faults()["client->tcp-server"] == (Loss(percent=1),)


def test_two_labs_stand_side_by_side(clean: Lab, tmp_path: Path) -> None:
    runtime = clean.status()["runtime"]
    with Lab.up(f"other-{os.getpid()}", runtime=runtime, evidence=tmp_path) as other:
        assert {clean.name, other.name} <= set(control.running())
        with other.fault("client->tcp-server", Drop()):
            assert tcp(clean)["ok"] == 1
        assert published(other, "tcp", ":8080") != published(clean, "tcp", ":8080")
    assert other.name not in control.running()


def test_a_block_that_hides_a_route_of_the_host_is_refused() -> None:
    route = next((one for one in host_routes() if one.version == 4 and 8 <= one.prefixlen <= 28), None)
    if route is None:
        pytest.skip("needs a host route: this host has none but the default")
    with pytest.raises(UsageError, match="overlaps the host's route"):
        check_network(Network.parse(ipv4=str(route)))


def lab_command(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "faultlab", *words], cwd=cwd, capture_output=True, text=True, check=False
    )


def ended(pid: int) -> bool:
    """No such process, or one that only waits for its parent to notice its end."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_up_twice_finds_the_first_and_down_leaves_nothing(tmp_path: Path, runtime: str, ran_on: RanOn) -> None:
    ran_on(runtime, "wire")
    name = f"twice-{random.Random(os.getpid()).randrange(10**6)}"
    first = lab_command("up", "--runtime", runtime, "--name", name, "--json", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    try:
        facts = json.loads(first.stdout)
        assert {"name", "runtime", "engine", "supervisor_pid", "nodes"} <= set(facts)
        assert all({"ipv4", "ipv6"} <= set(node) for node in facts["nodes"].values())
        second = json.loads(lab_command("up", "--name", name, "--json", cwd=tmp_path).stdout)
        assert second["supervisor_pid"] == facts["supervisor_pid"]
    finally:
        down = lab_command("down", "--name", name, "--json", cwd=tmp_path)
    assert json.loads(down.stdout)["was_up"] is True
    assert name not in control.running()
    assert ended(facts["supervisor_pid"])
    again = lab_command("down", "--name", name, cwd=tmp_path)
    assert (again.returncode, "nothing to do" in again.stdout) == (0, True)


REFUSED = """
import socket, sys
end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
end.settimeout(10)
end.connect((sys.argv[1], 9))
end.send(b"to nobody")
try:
    end.recv(100)
except ConnectionRefusedError:
    print("refused")
"""


def test_a_refusal_comes_through_a_rebound_port(clean: Lab) -> None:
    """RFC 5508, REQ-4: without the translation the client hears nothing until its time is out."""
    with clean.fault("client->udp-server", Rebind()):
        done = clean.exec("client", ["python", "-c", REFUSED, "udp-server"], stdout=subprocess.PIPE, text=True)
    assert done.stdout == "refused\n"
