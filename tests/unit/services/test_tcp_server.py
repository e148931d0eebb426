"""The TCP server as a process, spoken to with plain sockets (as nc does)."""

import asyncio
import signal
import socket
import struct
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from faultlab_services.framing import FRAMINGS, codec
from faultlab_services.journal import Journal, digest
from faultlab_services.raw_echo import GREETING
from faultlab_services.sockets import bound_sockets
from faultlab_services.tcp_server import FramedPort, Limits, TcpServer

from .conftest import LOOPBACKS, PATIENCE_S, Service, Start, until

ALL_PORTS = ("--raw-port=0", "--line-port=0", "--length2-port=0", "--length4-port=0", "--varint-port=0")


@pytest.fixture
def server(start: Start) -> Service:
    return start("tcp-server", *ALL_PORTS)


def connect(service: Service, framing: str, host: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection((host, service.port(f"({framing})")), timeout=PATIENCE_S)


def read_exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = sock.recv(size - len(data))
        assert piece, f"the stream ended after {data!r}"
        data += piece
    return data


def read_all(sock: socket.socket) -> bytes:
    data = b""
    while piece := sock.recv(65536):
        data += piece
    return data


def end_of(service: Service, conn: int) -> dict[str, object]:
    """The journal line with which connection `conn` ended."""

    def ends() -> list[dict[str, object]]:
        lines = service.journal("connection")
        return [line for line in lines if line["conn"] == conn and line["phase"] != "invoke"]

    until(lambda: bool(ends()))
    [end] = ends()
    return end


def still_serves(service: Service) -> bool:
    with connect(service, "line") as sock:
        sock.sendall(b"still there?\n")
        return read_exactly(sock, 13) == b"still there?\n"


@pytest.mark.parametrize("host", LOOPBACKS)
def test_raw_greets_and_answers_each_chunk(server: Service, host: str) -> None:
    with connect(server, "raw", host) as sock:
        assert read_exactly(sock, len(GREETING)) == b"Welcome to the raw TCP server!\r\n"
        sock.sendall(b"hello")
        assert read_exactly(sock, 17) == b"You said: hello\r\n"
        sock.sendall(b"a line\n")
        assert read_exactly(sock, 19) == b"You said: a line\n\r\n"
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock) == b""
    end = end_of(server, 0)
    assert (end["phase"], end["frames"], end["received_bytes"]) == ("ok", 2, 12)
    assert end["received_digest"] == digest(b"helloa line\n")


@pytest.mark.parametrize("host", LOOPBACKS)
@pytest.mark.parametrize("framing", [name for name in FRAMINGS if name != "raw"])
def test_framed_listeners_answer_each_message_with_itself(server: Service, framing: str, host: str) -> None:
    coder = codec(framing)
    messages = [b"one", b"", b"three" * 1000]
    wire = b"".join(coder.encode(message) for message in messages)
    with connect(server, framing, host) as sock:
        sock.sendall(wire[:5])
        sock.sendall(wire[5:])
        assert read_exactly(sock, len(wire)) == wire
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock) == b""
    assert end_of(server, 0)["phase"] == "ok"
    received, answered = server.journal("frame", "invoke"), server.journal("frame", "ok")
    assert [(line["conn"], line["n"], line["size"], line["digest"]) for line in received] == [
        (0, n, len(message), digest(message)) for n, message in enumerate(messages)
    ]
    assert [line["digest"] for line in answered] == [line["digest"] for line in received]
    assert received[0]["peer"].startswith("127.0.0.1:" if host == "127.0.0.1" else "[::1]:")


def test_a_client_that_half_closes_gets_every_answer(server: Service) -> None:
    messages = b"".join(b"message %d\n" % n for n in range(20_000))
    with connect(server, "line") as sock:
        sock.settimeout(PATIENCE_S)
        received = b""
        view = memoryview(messages)
        sock.setblocking(False)
        while view:
            try:
                view = view[sock.send(view) :]
            except BlockingIOError:
                received += sock.recv(1 << 20)
        sock.setblocking(True)
        sock.shutdown(socket.SHUT_WR)
        assert received + read_all(sock) == messages


def test_answers_still_unsent_at_the_half_close_are_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """With small kernel buffers the answers wait in the server's own, below the mark at which it stops reading."""
    lines = b"".join(b"%0999d\n" % n for n in range(50))

    def with_small_buffer(*args: Any) -> list[socket.socket]:
        sockets = bound_sockets(*args)
        sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        return sockets

    async def read_late(port: int) -> bytes:
        loop = asyncio.get_running_loop()
        with socket.socket() as sock:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            await loop.sock_connect(sock, ("127.0.0.1", port))
            await loop.sock_sendall(sock, lines)
            sock.shutdown(socket.SHUT_WR)
            await asyncio.sleep(0.1)
            data = b""
            while piece := await loop.sock_recv(sock, 65536):
                data += piece
            return data

    async def main() -> bytes:
        server = TcpServer([FramedPort("line", 0)], ["127.0.0.1"], Limits(), Journal(None, "tcp-server"))
        [(where, _)] = await server.start()
        async with asyncio.timeout(PATIENCE_S):
            received = await read_late(int(where.rpartition(":")[2]))
        await server.stop()
        return received

    monkeypatch.setattr("faultlab_services.tcp_server.bound_sockets", with_small_buffer)
    assert asyncio.run(main()) == lines


def test_a_reset_costs_that_connection_alone(server: Service) -> None:
    with connect(server, "line") as sock:
        sock.sendall(b"hello\n")
        assert read_exactly(sock, 6) == b"hello\n"
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    end = end_of(server, 0)
    assert (end["phase"], end["why"]) == ("fail", "Connection reset by peer")
    assert still_serves(server)


def test_an_end_inside_a_frame(server: Service) -> None:
    with connect(server, "length2") as sock:
        sock.sendall(b"\x00\x02ok\x00\x05abc")
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock) == b"\x00\x02ok"
    end = end_of(server, 0)
    assert (end["phase"], end["why"]) == ("fail", "the stream ended inside a frame, 5 bytes into it")
    assert still_serves(server)


@pytest.mark.parametrize(
    ("framing", "garbage", "why"),
    [
        ("length4", b"\x00\x01\x00\x01", "a frame of 65537 bytes announced, over the limit of 65536"),
        ("length4", b"GET / HTTP/1.1\r\n\r\n", "a frame of 1195725856 bytes announced, over the limit of 65536"),
        ("varint", b"\xff" * 1000, "a varint length of more than 10 bytes"),
        ("line", b"a" * 65537, "a line of more than 65536 bytes"),
    ],
)
def test_garbage_costs_that_connection_alone(server: Service, framing: str, garbage: bytes, why: str) -> None:
    good = codec(framing).encode(b"good")
    with connect(server, framing) as sock, connect(server, "line") as bystander:
        sock.sendall(good + garbage)
        assert read_exactly(sock, len(good)) == good
        assert sock.recv(1) == b"", "the server ends the stream in order, so the answer before is safe"
        bystander.sendall(b"unharmed\n")
        assert read_exactly(bystander, 9) == b"unharmed\n"
    end = end_of(server, 0)
    assert (end["phase"], end["why"], end["frames"]) == ("fail", why, 1)


def test_a_client_still_sending_when_it_is_refused_gets_its_answers(server: Service) -> None:
    """Closing with bytes unread would reset the connection, and on a slow path the answers before it would be lost."""
    good = codec("length4").encode(b"good")
    with connect(server, "length4") as sock:
        sock.sendall(good + b"\xff\xff\xff\xff" + b"x" * (16 << 20))
        assert read_all(sock) == good


def test_the_frame_limit_is_an_option(start: Start) -> None:
    service = start("tcp-server", *ALL_PORTS, "--max-frame=10B")
    with connect(service, "length2") as sock:
        sock.sendall(b"\x00\x0a0123456789\x00\x0b")
        assert read_all(sock) == b"\x00\x0a0123456789"
    assert end_of(service, 0)["why"] == "a frame of 11 bytes announced, over the limit of 10"


@pytest.mark.parametrize(
    ("sent", "why"),
    [(b"", "idle for 0.3 s"), (b"\x00\x05ab", "idle for 0.3 s, 4 bytes into a frame")],
    ids=["silent", "mid-frame"],
)
def test_a_stalled_client_is_closed(start: Start, sent: bytes, why: str) -> None:
    service = start("tcp-server", *ALL_PORTS, "--idle-timeout=300ms")
    with connect(service, "length2") as sock:
        sock.sendall(sent)
        assert read_all(sock) == b""
    end = end_of(service, 0)
    assert (end["phase"], end["why"]) == ("fail", why)


def flood(sock: socket.socket, data: bytes) -> int:
    """Sends `data` over and over and never reads, until the other side takes no more; the bytes that went in."""
    limit = 32 << 20  # far beyond what the kernel's buffers hold
    sock.settimeout(1.0)
    view = memoryview(data)
    sent = 0
    while sent < limit:
        try:
            sent += sock.send(view[sent % len(view) :])
        except (TimeoutError, ConnectionError):
            break
    return sent


def test_a_client_that_never_reads_costs_no_memory(server: Service) -> None:
    before = server.rss_bytes()
    with connect(server, "length4") as sock:
        sent = flood(sock, codec("length4").encode(b"x" * 60_000) * 100)
        assert sent > 1 << 20, "else the server was never held back"
        assert server.rss_bytes() - before < 4 << 20
        assert still_serves(server)


def test_a_client_that_never_reads_is_closed(start: Start) -> None:
    service = start("tcp-server", *ALL_PORTS, "--idle-timeout=300ms")
    with connect(service, "length4") as sock:
        flood(sock, codec("length4").encode(b"x" * 60_000) * 100)
        end = end_of(service, 0)
    assert (end["phase"], end["why"]) == ("fail", "the peer did not read for 0.3 s")


def test_sigterm_answers_what_was_received_and_exits_0(server: Service) -> None:
    with connect(server, "line") as sock, connect(server, "line") as idle:
        sock.sendall(b"first\n")
        assert read_exactly(sock, 6) == b"first\n"
        idle.sendall(b"ready\n")
        assert read_exactly(idle, 6) == b"ready\n"
        server.process.send_signal(signal.SIGSTOP)  # what is sent now waits in the kernel
        sock.sendall(b"".join(b"message %d\n" % n for n in range(1000)))
        server.process.terminate()
        server.process.send_signal(signal.SIGCONT)
        assert read_all(sock).endswith(b"message 999\n")
        assert read_all(idle) == b""
    assert server.process.wait(PATIENCE_S) == 0
    assert {(line["phase"], line["why"]) for line in server.journal("connection") if line["phase"] != "invoke"} == {
        ("ok", "the server was stopped")
    }
    assert server.journal()[-1]["op"] == "journal"


def test_sigterm_does_not_wait_for_ever(start: Start) -> None:
    service = start("tcp-server", *ALL_PORTS, "--drain-timeout=200ms")
    with connect(service, "length4") as sock:
        flood(sock, codec("length4").encode(b"x" * 60_000) * 10)
        assert service.stop() == 0
    end = end_of(service, 0)
    assert (end["phase"], end["why"]) == ("fail", "the server was stopped")


def test_it_stops_accepting_at_sigterm(server: Service) -> None:
    port = server.port("(line)")
    assert server.stop() == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def test_a_busy_port_is_one_clear_line(server: Service, run: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    port = server.port("(raw)")
    second = run("tcp-server", "--raw-port", str(port))
    assert second.returncode == 1
    assert second.stderr == f"services: cannot listen on [::]:{port}: Address already in use\n"


def test_binding_one_address_only(start: Start) -> None:
    service = start("tcp-server", *ALL_PORTS, "--bind=127.0.0.1")
    assert service.listening[0].startswith("tcp-server: listening on 127.0.0.1:")
    with pytest.raises(ConnectionRefusedError):
        connect(service, "line", "::1")
    assert still_serves(service)


def test_binding_both_wildcards(start: Start) -> None:
    service = start("tcp-server", *ALL_PORTS, "--bind=::", "--bind=0.0.0.0")
    assert len(service.listening) == 10
