"""Publishes ports of a lab on the host's loopback: sockets opened outside, connections made inside a node.

The supervisor of a netns lab forks one inside each node that publishes. A socket keeps the network namespace that it
was made in, so what arrives on the host's 127.0.0.1 goes on from the node, through its `eth0`, the wire and its
faults. Half-closes and resets are passed on, as both ends must see them. In a Compose lab it is the client's own
program, and Docker publishes its ports:

    python -m lab.relay tcp/8080=10.77.0.3:8080 udp/10053=10.77.0.5:53
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import Sequence
from struct import pack
from typing import Any

from lab.runtimes.base import Publication

CHUNK = 1 << 16
UDP_CLIENTS = 1024
"""Host clients of one UDP port remembered at a time; the least recent is forgotten first."""


async def _pump(source: socket.socket, target: socket.socket) -> None:
    """Bytes one way until the end of the stream, then the half-close."""
    loop = asyncio.get_running_loop()
    while data := await loop.sock_recv(source, CHUNK):
        await loop.sock_sendall(target, data)
    target.shutdown(socket.SHUT_WR)


async def _relay_tcp(client: socket.socket, host: str, port: int) -> None:
    loop = asyncio.get_running_loop()
    with client:
        try:
            with await _connect(loop, host, port) as server:
                for end in (client, server):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                try:
                    await asyncio.gather(_pump(client, server), _pump(server, client))
                except OSError:
                    # One end was reset: a close with zero linger resets the other (socket(7), SO_LINGER).
                    for end in (client, server):
                        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, pack("ii", 1, 0))
        except OSError as error:
            print(f"relay: {host}:{port}: {error}", file=sys.stderr, flush=True)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, pack("ii", 1, 0))


async def _connect(loop: asyncio.AbstractEventLoop, host: str, port: int) -> socket.socket:
    end = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    end.setblocking(False)
    try:
        await loop.sock_connect(end, (host, port))
    except BaseException:
        end.close()
        raise
    return end


async def _serve_tcp(listener: socket.socket, host: str, port: int) -> None:
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()
    while True:
        client, _ = await loop.sock_accept(listener)
        task = asyncio.create_task(_relay_tcp(client, host, port))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


class _UdpRelay:
    """One host port: a socket inside the node for each host client, so that each has a flow of its own."""

    def __init__(self, outside: socket.socket, host: str, port: int) -> None:
        self._outside = outside
        self._server = (host, port)
        self._inside: dict[Any, socket.socket] = {}

    def outside_ready(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                data, client = self._outside.recvfrom(CHUNK)
                inside = self._inside.pop(client, None) or self._open(client)
                self._inside[client] = inside
                self._try(lambda: inside.send(data))  # noqa: B023 - called at once

    def _open(self, client: Any) -> socket.socket:
        loop = asyncio.get_running_loop()
        if len(self._inside) >= UDP_CLIENTS:
            oldest = self._inside.pop(next(iter(self._inside)))
            loop.remove_reader(oldest)
            oldest.close()
        family = socket.AF_INET6 if ":" in self._server[0] else socket.AF_INET
        inside = socket.socket(family, socket.SOCK_DGRAM)
        inside.setblocking(False)
        inside.connect(self._server)
        loop.add_reader(inside, self._inside_ready, inside, client)
        return inside

    def _inside_ready(self, inside: socket.socket, client: Any) -> None:
        def pass_on() -> None:
            while True:
                self._outside.sendto(inside.recv(CHUNK), client)

        self._try(pass_on)

    def _try(self, action: Any) -> None:
        """UDP promises nothing: a full buffer or a refused port loses the datagram, and the log says so."""
        try:
            action()
        except BlockingIOError:
            return
        except OSError as error:
            print(f"relay: udp {self._server}: {error}", file=sys.stderr, flush=True)


async def _main(publications: Sequence[Publication]) -> None:
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, done.set)
    tasks = []
    for one in publications:
        outside = socket.socket(fileno=one.fd)
        outside.setblocking(False)
        if one.protocol == "tcp":
            tasks.append(asyncio.create_task(_serve_tcp(outside, one.host, one.port)))
        else:
            relay = _UdpRelay(outside, one.host, one.port)
            loop.add_reader(outside, relay.outside_ready)
    await done.wait()
    for task in tasks:
        task.cancel()


def main(publications: Sequence[Publication]) -> None:
    """Relay until SIGTERM."""
    asyncio.run(_main(publications))


def bound(words: Sequence[str]) -> list[Publication]:
    """A socket on every address of this node for each `PROTOCOL/PORT=HOST:PORT`. OSError where a port is taken."""
    publications = []
    for word in words:
        here, _, there = word.partition("=")
        protocol, _, port = here.partition("/")
        host, _, target = there.rpartition(":")
        outside = socket.socket(socket.AF_INET, socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM)
        outside.bind(("", int(port)))
        if protocol == "tcp":
            outside.listen(128)
        publications.append(Publication(protocol, int(port), "", host, int(target), outside.detach()))
    return publications


if __name__ == "__main__":
    main(bound(sys.argv[1:]))
