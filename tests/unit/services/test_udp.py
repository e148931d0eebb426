"""The UDP server as a process, and the UDP client against it and against servers that lose, repeat and change."""

import asyncio
import json
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from faultlab_services import udp_client
from faultlab_services.errors import ServiceUsageError
from faultlab_services.journal import digest
from faultlab_services.messages import message
from faultlab_services.udp_client import UdpClientOptions

from .conftest import LOOPBACKS, PATIENCE_S, Start, read_journal, until

Change = Callable[[int, bytes], list[bytes]]


def ask(port: int, host: str, *datagrams: bytes) -> list[bytes]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(PATIENCE_S)
        sock.connect((host, port))
        answers = []
        for datagram in datagrams:
            sock.send(datagram)
            answers.append(sock.recv(65536))
        return answers


@pytest.mark.parametrize("host", LOOPBACKS)
def test_it_acknowledges_each_datagram(start: Start, host: str) -> None:
    service = start("udp-server", "--port=0")
    assert service.listening[0].startswith("udp-server: listening on [::]:")
    assert ask(service.port(), host, b"hello", b"", b"x" * 65507) == [b"Message Received"] * 3
    assert [(line["n"], line["size"]) for line in service.journal("datagram", "invoke")] == [(0, 5), (1, 0), (2, 65507)]
    assert service.journal("datagram", "invoke")[0]["digest"] == digest(b"hello")
    assert service.journal("datagram", "ok")[0]["digest"] == digest(b"Message Received")
    assert service.stop() == 0
    assert service.journal()[-1]["op"] == "journal"


@pytest.mark.parametrize("host", LOOPBACKS)
def test_echo_returns_the_datagram(start: Start, host: str) -> None:
    service = start("udp-server", "--port=0", "--mode=echo")
    datagrams = [b"hello", b"", b"x" * 65507]
    assert ask(service.port(), host, *datagrams) == datagrams


def test_a_busy_port_is_one_clear_line(start: Start, run: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    port = start("udp-server", "--port=0").port()
    second = run("udp-server", "--port", str(port))
    assert second.returncode == 1
    assert second.stderr == f"services: cannot listen on [::]:{port}: Address already in use\n"


@pytest.mark.parametrize("mode", ["ack", "echo"])
@pytest.mark.parametrize("retries", [(), ("--retries=1",)], ids=["open-loop", "stop-and-wait"])
def test_every_datagram_is_accounted_for(
    start: Start,
    run: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
    mode: str,
    retries: tuple[str, ...],
) -> None:
    service = start("udp-server", "--port=0", f"--mode={mode}")
    journal = tmp_path / "client.jsonl"
    to = f"--to=[::1]:{service.port()}"
    options = ("--messages=50", "--size=0B..2KB", "--pace=100us", "--json", f"--journal={journal}", *retries)
    done = run("udp-client", to, f"--mode={mode}", *options)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["ok"] == 50
    sent, arrived = read_journal(journal, "message", "invoke"), service.journal("datagram", "invoke")
    assert [line["digest"] for line in sent] == [line["digest"] for line in arrived]
    assert [line["digest"] for line in sent] == [digest(message(0, line["n"], line["size"])) for line in sent]
    assert {line["n"] for line in read_journal(journal, "message", "ok")} == set(range(50))


def against(change: Change, journal: Path, late: Change = lambda n, data: [], **changes: Any) -> int:
    """The client's exit code against a server that answers the nth datagram with `change(n, datagram)` at once, and
    with `late(n, datagram)` a little later."""

    async def main() -> int:
        loop = asyncio.get_running_loop()
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        count = iter(range(1000))

        def receive() -> None:
            datagram, peer = sock.recvfrom(65536)
            n = next(count)
            for answer in change(n, datagram):
                sock.sendto(answer, peer)
            for answer in late(n, datagram):
                loop.call_later(0.05, sock.sendto, answer, peer)

        loop.add_reader(sock, receive)
        settings = {"messages": 5, "echo": True, "timeout_s": 0.3, **changes}
        work = UdpClientOptions(host="127.0.0.1", port=sock.getsockname()[1], **settings)
        try:
            return await asyncio.wait_for(udp_client.run(work, journal, as_json=True), PATIENCE_S)
        finally:
            loop.remove_reader(sock)
            sock.close()

    return asyncio.run(main())


def outcomes(journal: Path) -> dict[int, str]:
    lines = read_journal(journal, "message")
    return {line["n"]: line["phase"] for line in lines if line["phase"] in ("ok", "fail", "unknown")}


def test_a_lost_datagram_is_unknown(tmp_path: Path) -> None:
    journal = tmp_path / "j"
    assert against(lambda n, data: [] if n == 2 else [data], journal) == 1
    assert outcomes(journal) == {0: "ok", 1: "ok", 3: "ok", 4: "ok", 2: "unknown"}


def test_reordered_echoes_are_told_apart(tmp_path: Path) -> None:
    held: list[bytes] = []

    def swap(n: int, data: bytes) -> list[bytes]:
        held.append(data)
        return list(reversed(held)) if n == 4 else []

    journal = tmp_path / "j"
    assert against(swap, journal) == 0
    assert [line["n"] for line in read_journal(journal, "message", "ok")] == [4, 3, 2, 1, 0]


def test_duplicates_are_noted_and_do_no_harm(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    journal = tmp_path / "j"
    assert against(lambda n, data: [data, data] if n in (1, 4) else [data], journal) == 0
    assert [line["n"] for line in read_journal(journal, "message", "duplicate")] == [1, 4]
    assert json.loads(capsys.readouterr().out)["duplicate"] == 2


def test_a_duplicate_of_the_last_answer_is_waited_for(tmp_path: Path) -> None:
    journal = tmp_path / "j"
    assert against(lambda n, data: [data], journal, late=lambda n, data: [data] if n == 4 else []) == 0
    assert [line["n"] for line in read_journal(journal, "message", "duplicate")] == [4]


def test_a_changed_echo_equals_nothing_sent(tmp_path: Path) -> None:
    journal = tmp_path / "j"
    assert against(lambda n, data: [b"X" + data[1:] if n == 2 else data], journal) == 1
    [strange] = read_journal(journal, "message", "fail")
    assert (strange["n"], strange["digest"]) == (None, digest(b"X" + message(0, 2, 100)[1:]))
    assert outcomes(journal)[2] == "unknown"


def test_acknowledgements_are_only_counted(tmp_path: Path) -> None:
    journal = tmp_path / "j"
    assert against(lambda n, data: [] if n == 2 else [b"Message Received"], journal, echo=False) == 1
    assert set(outcomes(journal).values()) == {"unknown"}
    [why] = {line["why"] for line in read_journal(journal, "message", "unknown")}
    assert why == "4 acknowledgements for 5 datagrams"


def test_retries_reach_through_loss(tmp_path: Path) -> None:
    journal = tmp_path / "j"
    assert against(lambda n, data: [data] if n % 3 == 2 else [], journal, messages=2, retries=2, timeout_s=0.2) == 0
    notes = [(line["n"], line["why"]) for line in read_journal(journal, "message", "note")]
    assert notes == [(n, f"retry {attempt}") for n in range(2) for attempt in (1, 2)]


def test_retries_end(tmp_path: Path) -> None:
    journal = tmp_path / "j"
    assert against(lambda n, data: [], journal, messages=1, retries=1, timeout_s=0.05) == 1
    [line] = read_journal(journal, "message", "unknown")
    assert line["why"] == "no answer to 2 datagrams, 0.05 s each"


def test_equal_datagrams_are_each_answered(tmp_path: Path) -> None:
    """Below 8 bytes or so messages are alike: their number must count all the same."""
    assert against(lambda n, data: [data], tmp_path / "j", sizes=(0, 0)) == 0
    assert against(lambda n, data: [] if n == 2 else [data], tmp_path / "k", sizes=(3, 3)) == 1


def test_nobody_there_is_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    work = UdpClientOptions(host="127.0.0.1", port=port, echo=True, messages=3, timeout_s=0.05)
    assert asyncio.run(udp_client.run(work, tmp_path / "j", as_json=True)) == 1
    assert json.loads(capsys.readouterr().out)["unknown"] == 3
    assert "Connection refused" in {line["why"] for line in read_journal(tmp_path / "j", "socket")}


def test_datagrams_leave_from_the_port_asked(start: Start, tmp_path: Path) -> None:
    service = start("udp-server", "--port=0", "--mode=echo")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    work = UdpClientOptions(host="127.0.0.1", port=service.port(), echo=True, source_port=port)
    assert asyncio.run(udp_client.run(work, None, as_json=False)) == 0
    until(lambda: bool(service.journal("datagram", "ok")))
    assert service.journal("datagram", "ok")[0]["peer"] == f"127.0.0.1:{port}"


def test_too_large_a_datagram_is_refused() -> None:
    work = UdpClientOptions(host="127.0.0.1", port=9, echo=True, sizes=(1, 65508))
    with pytest.raises(ServiceUsageError, match="at most 65507"):
        asyncio.run(udp_client.run(work, None, as_json=False))
