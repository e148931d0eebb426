"""A lab looked at while it runs: `lab top` counts as its ledger does in the end, `lab capture` loses no packet."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faultlab.analysis.capture_tail import CaptureTail
from faultlab.evidence.reconcile import reconcile
from faultlab.evidence.run_evidence import Evidence
from faultlab.faults import Duplicate, Effect, Latency, Loss
from faultlab.lab.lab import Lab

from tests.conftest import RanOn
from tests.support.capabilities import missing

MESSAGES = 40
THERE = "client->udp-server"
LAB = [sys.executable, "-m", "faultlab"]
UDP = [
    "python",
    "-m",
    "faultlab_services",
    "udp-client",
    "--to",
    "udp-server:41234",
    "--timeout",
    "200ms",
    "--messages",
]
TCP = [
    "python",
    "-m",
    "faultlab_services",
    "tcp-client",
    "--to",
    "tcp-server:8082",
    "--framing",
    "length2",
    "--messages",
    "5",
]
SECONDS = 20


@pytest.fixture
def watched(runtime: str, ran_on: RanOn, tmp_path: Path) -> Iterator[Lab]:
    """A lab of the test's own, whose evidence has nothing else in it."""
    ran_on(runtime, "wire")
    with Lab.up(f"watched-{os.getpid()}", runtime=runtime, evidence=tmp_path, seed=1, engine="wire") as lab:
        yield lab


def top(lab: Lab) -> dict[str, Any]:
    done = subprocess.run([*LAB, "top", "--once", "--json", "--name", lab.name], capture_output=True, check=True)
    return dict(json.loads(done.stdout))


def send(lab: Lab, count: int = MESSAGES) -> None:
    lab.exec("client", [*UDP, str(count)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def test_top_counts_what_the_ledger_has_at_the_end(watched: Lab, tmp_path: Path) -> None:
    watched.set_faults(THERE, Loss(every=5), Duplicate(every=7), Latency(delay_ms=5))
    send(watched)
    watched.exec("client", TCP, stdout=subprocess.DEVNULL)
    watched.await_quiet()
    paths = top(watched)["paths"]
    watched.down()
    evidence = Evidence(tmp_path)
    account = reconcile(evidence)
    assert account.mismatches == []
    total = {name: sum(path["total"][name] for path in paths.values()) for name in paths[THERE]["total"]}
    assert total["packets"] == account.packets
    assert (total["delivered"], total["dropped"]) == (account.delivered, account.dropped)
    assert (total["duplicated"], total["waiting"]) == (account.duplicated, 0)
    assert total["connections"] == 1
    entries = [one for one in evidence.ledger.entries if one.path == THERE and not one.copy]
    path = paths[THERE]["total"]
    assert path["packets"] == len(entries) >= MESSAGES
    assert path["dropped"] >= MESSAGES // 5
    assert path["delayed"] == sum(one.did(Effect.DELAYED) for one in entries)
    assert set(paths[THERE]["faults"]) == {"loss every 5", "duplicate every 7", "latency 5ms"}


def test_top_says_what_is_on_a_path_and_forgets_it_when_it_is_cleared(lab: Lab) -> None:
    with lab.fault(THERE, Loss(percent=5)):
        assert top(lab)["paths"][THERE]["faults"] == ["loss 5%"]
    assert not any(path["faults"] for path in top(lab)["paths"].values())


@pytest.mark.parametrize("runtime", ["netns"], indirect=True)
def test_top_on_a_terminal_ends_with_q_and_leaves_the_last_view(lab: Lab) -> None:
    send(lab, 3)
    ours, theirs = pty.openpty()
    words = [*LAB, "top", "--name", lab.name]
    process = subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm"})
    os.close(theirs)
    shown = read_until(ours, b"udp-server")
    os.write(ours, b"q")
    shown += read_to_end(ours)
    assert process.wait(SECONDS) == 0
    assert b"client->udp-server" in shown.rpartition(b"\x1b[?1049l")[2], "what is left on the screen"


@pytest.mark.parametrize("runtime", ["netns"], indirect=True)
def test_top_ends_when_its_lab_does_and_prints_lines_where_there_is_no_terminal(watched: Lab) -> None:
    process = subprocess.Popen([*LAB, "top", "--name", watched.name], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with watched.fault(THERE, Loss(every=2)):
        while not select.select([process.stdout], [], [], 0)[0]:
            send(watched, 4)
    watched.down()
    said, _ = process.communicate(timeout=SECONDS)
    assert re.search(r"client->udp-server  \d+ packets/s .*\d dropped", said.decode())
    assert process.wait(SECONDS) == 0


def read_until(fd: int, word: bytes) -> bytes:
    data, deadline = b"", time.monotonic() + SECONDS
    while word not in data and time.monotonic() < deadline:
        if select.select([fd], [], [], 0.1)[0]:
            data += os.read(fd, 1 << 16)
    assert word in data, data
    return data


def read_to_end(fd: int) -> bytes:
    data = b""
    while True:
        try:
            piece = os.read(fd, 1 << 16)
        except OSError:  # how a pseudo terminal says that its other end is closed: EIO (pty(7))
            return data
        if not piece:
            return data
        data += piece


def test_what_happens_is_told_as_it_happens(lab: Lab) -> None:
    words = [*LAB, "inspect", lab.name, "--follow", "--only", "dropped", "--json"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, bufsize=0)
    assert process.stdout is not None
    with lab.fault(THERE, Loss(every=2)):
        while not select.select([process.stdout], [], [], 0)[0]:
            send(lab, 2)  # until it has begun to look
        told = json.loads(read_until(process.stdout.fileno(), b"\n").splitlines()[0])
    process.send_signal(signal.SIGINT)
    assert process.wait(SECONDS) == 0
    assert (told["sender"], told["receiver"], told["deeds"]) == ("client", "udp-server", ["dropped by loss every 2"])
    assert told["what"].startswith("datagram ")


# -- lab capture -------------------------------------------------------------------------------------------------------


def capturing(lab: Lab, *words: str) -> tuple[subprocess.Popen[bytes], bytes]:
    """A capture that has begun, and what has come of it: its header."""
    process = subprocess.Popen([*LAB, "capture", *words, "--name", lab.name], stdout=subprocess.PIPE, bufsize=0)
    assert process.stdout is not None
    return process, read_until(process.stdout.fileno(), b"fault-lab")


def fields(stream: bytes, *names: str) -> list[list[str]]:
    program = shutil.which("tshark")
    if program is None:
        missing("tshark", "apt-get install tshark")
    words = [program, "-r", "-", "-N", "n", "-T", "fields", *(word for name in names for word in ("-e", name))]
    done = subprocess.run(words, input=stream, capture_output=True, check=True)
    return [line.split("\t") for line in done.stdout.decode().splitlines()]


def test_a_node_s_packets_come_live_with_names_and_decisions(watched: Lab, tmp_path: Path) -> None:
    send(watched, 3)  # before it begins, so not in it
    before, watched_on = watched.packets(), watched.status()["runtime"]
    process, begun = capturing(watched, "udp-server")
    with watched.fault(THERE, Loss(every=5)):
        send(watched, 10)
    watched.await_quiet()
    watched.down()
    rest, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, "the lab's end is the capture's"
    rows = fields(begun + rest, "frame.packet_id", "frame.interface_description", "ip.dst_host", "ipv6.dst_host")
    evidence = Evidence(tmp_path)
    handed = [one.packet for one in evidence.delivered if one.node == "udp-server" and one.packet > before]
    sent = [one.packet for one in evidence.sent if one.node == "udp-server" and one.packet > before]
    found, wanted = sorted(int(row[0]) for row in rows), sorted(handed + sent)
    # A Compose lab's hub may be gone before a command in it has read the last tenth of a second.
    assert found == (wanted if watched_on == "netns" else wanted[: len(found)])
    assert len(found) > 2
    assert {(row[1], row[2] or row[3]) for row in rows} == {
        ("udp-server, as delivered", "udp-server"),
        ("udp-server, as sent", "client"),
    }


def blocks(stream: bytes) -> Iterator[bytes]:
    while len(stream) >= 8 and len(stream) >= (total := int.from_bytes(stream[4:8], "little")):
        yield stream[:total]
        stream = stream[total:]


def test_ctrl_c_ends_a_capture_behind_a_whole_block(lab: Lab) -> None:
    process, stream = capturing(lab, "all", "--sent")
    assert process.stdout is not None
    with lab.fault(THERE, Loss(every=2)):
        send(lab, 4)
    stream += read_until(process.stdout.fileno(), b"(every 2)")
    process.send_signal(signal.SIGINT)
    stream += process.stdout.read()
    assert process.wait(SECONDS) == 0
    tail = CaptureTail("sent")
    assert any(one.comment.startswith("dropped: dropped by ") for one in tail.feed(stream))
    assert b"".join(blocks(stream)) == stream, "no block is cut"


@pytest.mark.parametrize("runtime", ["netns"], indirect=True)
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nobody"], "no node 'nobody'; the nodes are client, "),
        (["client", "--name", "none-such"], "no lab 'none-such' is up"),
    ],
)
def test_what_can_t_be_captured_is_said_in_a_line(lab: Lab, words: list[str], said: str) -> None:
    done = subprocess.run([*LAB, "capture", "--name", lab.name, *words], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize("runtime", ["netns"], indirect=True)
def test_a_terminal_gets_no_binary(lab: Lab) -> None:
    ours, theirs = pty.openpty()
    words = [*LAB, "capture", "client", "--name", lab.name]
    done = subprocess.run(words, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE, text=True)
    os.close(theirs)
    assert (done.returncode, read_to_end(ours)) == (2, b"")
    assert "pipe it, such as: lab capture client | wireshark -k -i -" in done.stderr
