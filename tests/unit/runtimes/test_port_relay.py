"""The relay of published ports: aborted connections and refused datagrams leave whoever comes next whole."""

from __future__ import annotations

import errno
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from struct import pack

import pytest
from faultlab.runtimes.netns import port_relay

SECONDS = 20.0
ABORTS = 60
"""Of each kind. Descriptors are reused at once, so the first few already met the next connection before."""


def abort(end: socket.socket) -> None:
    """Close with a reset (socket(7), SO_LINGER)."""
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, pack("ii", 1, 0))
    end.close()


class Running:
    """The program under test, and the server behind it, played here."""

    def __init__(self) -> None:
        self.server = socket.socket()
        self.server.settimeout(SECONDS)
        self.server.bind(("127.0.0.1", 0))
        self.server.listen(64)
        self.port = free_port()
        argv = [
            sys.executable,
            "-m",
            "faultlab.runtimes.netns.port_relay",
            f"tcp/{self.port}=127.0.0.1:{self.server.getsockname()[1]}",
        ]
        self.process = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True)

    def connect(self) -> tuple[socket.socket, socket.socket]:
        """A connection through it: the client's end and the server's."""
        while True:
            assert self.process.poll() is None
            try:
                client = socket.create_connection(("127.0.0.1", self.port), SECONDS)
                break
            except ConnectionRefusedError:
                continue  # it is not listening yet
        server, _ = self.server.accept()
        server.settimeout(SECONDS)
        return client, server

    def stop(self) -> str:
        """What it said, of errors."""
        self.process.terminate()
        said = self.process.communicate(timeout=SECONDS)[1]
        assert self.process.returncode == 0, said
        return said

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()
        self.server.close()


@pytest.fixture
def running() -> Iterator[Running]:
    with Running() as running:
        yield running


def free_port() -> int:
    with socket.socket() as end:
        end.bind(("127.0.0.1", 0))
        return int(end.getsockname()[1])


def passes(one: socket.socket, other: socket.socket, data: bytes = b"hello") -> None:
    one.sendall(data)
    got = b""
    while len(got) < len(data):
        more = other.recv(1 << 16)
        assert more, f"ended after {len(got)} of {len(data)} bytes"
        got += more
    assert got == data


def whole(running: Running) -> None:
    """One connection that works in both directions, half-closed ones included."""
    client, server = running.connect()
    with client, server:
        passes(client, server)
        passes(server, client)
        client.shutdown(socket.SHUT_WR)
        assert server.recv(1) == b""
        passes(server, client, b"the end")
        server.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""


def is_reset(end: socket.socket) -> None:
    """Seen with poll(2), because reading tells nothing more once the stream has ended, or while data is unread."""
    poll = select.poll()
    poll.register(end, 0)
    assert poll.poll(SECONDS * 1e3), "no reset came"
    assert end.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) in (errno.ECONNRESET, errno.EPIPE)


@pytest.mark.parametrize("aborting", ["client", "server"])
@pytest.mark.parametrize("moment", ["at once", "idle", "half-closed", "with data unread"])
def test_a_reset_reaches_the_other_end_and_the_next_connection_is_whole(
    running: Running, aborting: str, moment: str
) -> None:
    for _ in range(ABORTS):
        client, server = running.connect()
        one, other = (client, server) if aborting == "client" else (server, client)
        if moment != "at once":
            passes(client, server)
            passes(server, client)
        if moment == "half-closed":
            one.shutdown(socket.SHUT_WR)
            assert other.recv(1) == b""
        if moment == "with data unread":
            other.sendall(b"x" * 4096)
            assert select.select([one], [], [], SECONDS)[0]
        abort(one)
        is_reset(other)
        other.close()
        whole(running)


def test_a_reset_reaches_a_server_that_does_not_read(running: Running) -> None:
    """The relay's own buffers are full then, and it waits for the server alone."""
    client, server = running.connect()
    client.setblocking(False)
    with suppress(BlockingIOError):
        while select.select([], [client], [], 0.2)[1]:
            client.send(b"x" * (1 << 16))
    abort(client)
    is_reset(server)
    whole(running)


def test_a_large_answer_and_question_pass_whole(running: Running) -> None:
    client, server = running.connect()
    data = bytes(range(256)) * 4096
    client.setblocking(False)
    server.setblocking(False)
    left, got = [memoryview(data), memoryview(data)], [b"", b""]
    ends = [client, server]
    while any(len(one) < len(data) for one in got):
        reading, writing, _ = select.select(
            ends, [end for end, rest in zip(ends, left, strict=True) if rest], [], SECONDS
        )
        assert reading or writing
        for number, end in enumerate(ends):
            if end in writing:
                left[number] = left[number][end.send(left[number]) :]
            if end in reading:
                got[number] += end.recv(1 << 16)
    assert got == [data, data]


def test_a_server_that_refuses_resets_the_client_and_is_named(running: Running) -> None:
    running.connect()
    where = f"127.0.0.1:{running.server.getsockname()[1]}"
    running.server.close()
    with socket.socket() as client:
        client.setblocking(False)
        client.connect_ex(("127.0.0.1", running.port))
        is_reset(client)
    assert running.stop() == f"relay: {where}: Connection refused\n"


def test_a_refused_datagram_costs_the_next_one_nothing() -> None:
    """udp(7): the error of one datagram is told by the next call, which then sends nothing."""
    loop, taken = port_relay._Loop(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    outside, client = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    with outside, client, taken:
        for end in (taken, outside, client):
            end.settimeout(SECONDS)
            end.bind(("127.0.0.1", 0))
        address = taken.getsockname()
        taken.close()
        port = port_relay._UdpRelay(loop, outside, *address)
        client.connect(outside.getsockname())
        client.send(b"nobody hears this")
        port._outside_ready()  # on loopback the refusal has come when this returns
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.settimeout(SECONDS)
            server.bind(address)
            client.send(b"hello")
            port._outside_ready()
            assert server.recv(100) == b"hello"
