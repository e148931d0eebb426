"""The TCP client against servers that behave, and against servers that are wrong on purpose."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from faultlab_services import tcp_client
from faultlab_services.errors import ServiceError, ServiceUsageError
from faultlab_services.framing import FRAMINGS, codec
from faultlab_services.journal import digest
from faultlab_services.messages import message
from faultlab_services.raw_echo import GREETING
from faultlab_services.tcp_client import TcpClientOptions

from .conftest import LOOPBACKS, PATIENCE_S, Start, read_journal, until

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def work(port: int, **changes: Any) -> TcpClientOptions:
    return TcpClientOptions(**{"host": "127.0.0.1", "port": port, "framing": "length2", "messages": 5, **changes})


def against(handler: Handler, journal: Path, **changes: Any) -> int:
    """The client's exit code after its work against a server made of `handler`."""

    async def main() -> int:
        server = await asyncio.start_server(handler, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            return await asyncio.wait_for(tcp_client.run(work(port, **changes), journal, as_json=True), PATIENCE_S)

    return asyncio.run(main())


def answering(change: Callable[[int, bytes], list[bytes]]) -> Handler:
    """A length2 server whose answers to message n are `change(n, message)`."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        coder = codec("length2")
        decoder, n = coder.decoder(), 0
        while data := await reader.read(65536):
            for received in decoder.feed(data):
                for answer in change(n, received):
                    writer.write(coder.encode(answer))
                n += 1
        writer.close()

    return handler


def outcomes(journal: Path) -> dict[int, str]:
    """How each message of connection 0 ended."""
    lines = read_journal(journal, "message")
    return {line["n"]: line["phase"] for line in lines if line["phase"] not in ("invoke", "note")}


@pytest.mark.parametrize("host", LOOPBACKS)
@pytest.mark.parametrize("framing", FRAMINGS)
def test_every_message_comes_back(
    start: Start, run: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path, framing: str, host: str
) -> None:
    port = start("tcp-server", *(f"--{name}-port=0" for name in FRAMINGS)).port(f"({framing})")
    journal = tmp_path / "client.jsonl"
    to = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    options = ["--messages=20", "--size=1B..2KB", "--size-seed=3", "--concurrency=3", "--window=4", "--json"]
    done = run("tcp-client", "--to", to, "--framing", framing, "--journal", str(journal), *options)
    assert (done.returncode, done.stderr) == (0, "")
    summary = json.loads(done.stdout)
    assert (summary["messages"], summary["ok"], summary["troubles"]) == (60, 60, {})
    sent = {(line["conn"], line["n"]): line for line in read_journal(journal, "message", "invoke")}
    came = {(line["conn"], line["n"]): line for line in read_journal(journal, "message", "ok")}
    assert sent.keys() == came.keys() == {(conn, n) for conn in range(3) for n in range(20)}
    for (conn, n), line in sent.items():
        assert line["digest"] == came[conn, n]["digest"] == digest(message(conn, n, line["size"]))
    assert len({line["size"] for line in sent.values()}) > 10
    assert [line["phase"] for line in read_journal(journal, "close") if line["phase"] != "invoke"] == ["ok"] * 3


def test_raw_streams_are_compared_whole(start: Start, tmp_path: Path) -> None:
    service = start("tcp-server", "--raw-port=0", "--line-port=0", "--length2-port=0")
    journal = tmp_path / "client.jsonl"
    raw = work(service.port("(raw)"), framing="raw", messages=50, window=50)
    assert asyncio.run(tcp_client.run(raw, journal, as_json=False)) == 0
    [close] = read_journal(journal, "close", "ok")
    stream = b"".join(message(0, n, 100) for n in range(50))
    assert (close["sent_bytes"], close["sent_digest"]) == (5000, digest(stream))
    assert (close["echoed_bytes"], close["echoed_digest"]) == (5000, digest(stream))
    until(lambda: len(service.journal("connection")) == 2)
    assert service.journal("connection")[1]["received_digest"] == digest(stream)


def test_sends_that_stuck_together_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def sticky(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(GREETING)
        writer.write(b"You said: " + await reader.readexactly(250) + b"\r\n")
        writer.write(b"You said: " + await reader.readexactly(250) + b"\r\n")
        await reader.read()
        writer.close()

    assert against(sticky, tmp_path / "j", framing="raw", window=5) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["ok"], summary["stuck"], summary["split"]) == (5, 4, 1)


def test_a_changed_answer_fails_its_message_alone(tmp_path: Path) -> None:
    journal = tmp_path / "j"
    assert against(answering(lambda n, m: [b"X" + m[1:] if n == 2 else m]), journal) == 1
    assert outcomes(journal) == {0: "ok", 1: "ok", 2: "fail", 3: "ok", 4: "ok"}
    [failed] = read_journal(journal, "message", "fail")
    assert failed["digest"] == digest(b"X" + message(0, 2, 100)[1:])
    assert digest(message(0, 2, 100)) in failed["why"]


def test_swapped_answers_fail(tmp_path: Path) -> None:
    held: list[bytes] = []

    def swap(n: int, received: bytes) -> list[bytes]:
        if n == 1:
            held.append(received)
            return []
        return [received, held.pop()] if held else [received]

    journal = tmp_path / "j"
    assert against(answering(swap), journal, window=3) == 1
    assert outcomes(journal) == {0: "ok", 1: "fail", 2: "fail", 3: "ok", 4: "ok"}


def test_a_lost_answer_leaves_it_unknown_after_the_timeout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    journal = tmp_path / "j"
    assert against(answering(lambda n, m: [] if n == 2 else [m]), journal, timeout_s=0.3) == 1
    assert outcomes(journal) == {0: "ok", 1: "ok", 2: "unknown"}
    summary = json.loads(capsys.readouterr().out)
    assert (summary["ok"], summary["unknown"], summary["unsent"]) == (2, 1, 2)
    assert summary["troubles"] == {"no answer within 0.3 s": 3}


def test_an_answer_repeated_at_the_end_is_noticed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    journal = tmp_path / "j"
    assert against(answering(lambda n, m: [m, m] if n == 4 else [m]), journal) == 1
    assert json.loads(capsys.readouterr().out)["unasked"] == 1
    [note] = read_journal(journal, "message", "note")
    assert (note["digest"], note["why"]) == (digest(message(0, 4, 100)), "an answer to nothing")


def test_a_lost_connection_leaves_messages_unknown(tmp_path: Path) -> None:
    async def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(2 * 102)
        writer.close()

    journal = tmp_path / "j"
    assert against(closing, journal, window=2) == 1
    assert outcomes(journal) == {0: "unknown", 1: "unknown"}
    assert {line["why"] for line in read_journal(journal, "message", "unknown")} == {"the server closed the connection"}


def test_a_stream_cut_inside_an_answer(tmp_path: Path) -> None:
    async def cutting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        frame = await reader.readexactly(102)
        writer.write(frame[:50])
        writer.close()

    journal = tmp_path / "j"
    assert against(cutting, journal) == 1
    [line] = read_journal(journal, "message", "unknown")
    assert line["why"] == "the stream ended inside a frame, 50 bytes into it"


def test_a_refused_connection(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        assert asyncio.run(tcp_client.run(work(port), tmp_path / "j", as_json=False)) == 1
    [line] = read_journal(tmp_path / "j", "connect", "fail")
    assert line["why"] == "Connection refused"
    assert "5 unsent" in (said := capsys.readouterr().out)
    assert said.endswith("5x Connection refused\n")


def test_a_handshake_that_gets_no_answer_is_unknown(tmp_path: Path) -> None:
    """A full accept queue drops SYNs, as a partition would."""
    with socket.socket() as full, socket.socket() as first:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        first.connect(full.getsockname())
        hurried = work(full.getsockname()[1], connect_timeout_s=0.1)
        assert asyncio.run(tcp_client.run(hurried, tmp_path / "j", as_json=False)) == 1
    [line] = read_journal(tmp_path / "j", "connect", "unknown")
    assert line["why"] == "no connection within 0.1 s"


def free_ports(count: int) -> int:
    """A port with `count` - 1 free ones after it, outside the range the kernel hands out."""
    for base in range(20000, 32000, count):
        try:
            for port in range(base, base + count):
                with socket.create_server(("127.0.0.1", port)):
                    pass
        except OSError:
            continue
        return base
    raise AssertionError("no free ports")


def test_connections_leave_from_the_ports_asked(tmp_path: Path) -> None:
    base = free_ports(3)
    echo = answering(lambda n, m: [m])
    assert against(echo, tmp_path / "j", connections=3, source_port=base) == 0
    connects = {line["conn"]: line["local"] for line in read_journal(tmp_path / "j", "connect", "ok")}
    assert connects == {conn: f"127.0.0.1:{base + conn}" for conn in range(3)}


def test_pace_spaces_the_sends(tmp_path: Path) -> None:
    assert against(answering(lambda n, m: [m]), tmp_path / "j", pace_s=0.03, window=5) == 0
    times = [line["t"] for line in read_journal(tmp_path / "j", "message", "invoke")]
    assert all(later - earlier >= 29_000_000 for earlier, later in pairwise(times))


def test_what_cannot_be_sent_is_refused_before_anything_is() -> None:
    for changes, says in (
        ({"framing": "length2", "sizes": (1, 65536)}, "limit of 65535"),
        ({"framing": "raw", "sizes": (0, 10)}, "at least 1B"),
        ({"source_port": 65535, "connections": 2}, "no room for 2 connections"),
    ):
        with pytest.raises(ServiceUsageError, match=says):
            asyncio.run(tcp_client.run(work(1, **changes), None, as_json=False))


def test_an_unknown_host(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match=r"cannot resolve 'nosuch\.invalid'"):
        asyncio.run(tcp_client.run(work(1, host="nosuch.invalid"), tmp_path / "j", as_json=False))
    assert read_journal(tmp_path / "j", "lookup", "fail")


def test_sigterm_ends_it_with_0_and_a_whole_journal(tmp_path: Path) -> None:
    journal = tmp_path / "j"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        command = [sys.executable, "-m", "faultlab_services", "tcp-client", "--framing=line", "--journal", str(journal)]
        target = f"--to=127.0.0.1:{silent.getsockname()[1]}"
        with subprocess.Popen([*command, target]) as client:
            until(lambda: journal.exists() and bool(read_journal(journal, "message", "invoke")))
            client.send_signal(signal.SIGTERM)
            assert client.wait(PATIENCE_S) == 0
    assert outcomes(journal) == {0: "unknown"}
    assert read_journal(journal)[-1]["op"] == "journal"
