"""Publishes ports of a lab on the host's loopback: sockets opened outside, connections made inside a node.

The supervisor of a netns lab forks one inside each node that publishes. A socket keeps the network namespace that it
was made in, so what arrives on the host's 127.0.0.1 goes on from the node, through its `eth0`, the wire and its
faults. Half-closes and resets are passed on, as both ends must see them. In a Compose lab it is the client's own
program, and Docker publishes its ports (its proxy makes a reset the end of the stream):

    python -m faultlab.runtimes.netns.port_relay tcp/8080=10.77.0.3:8080 udp/10053=10.77.0.5:53
"""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from struct import pack
from typing import Any

from faultlab.network.plan import Publication

CHUNK = 1 << 16
UDP_CLIENTS = 1024
"""Host clients of one UDP port remembered at a time; the least recent is forgotten first."""


class _Terminated(Exception):
    """SIGTERM came."""


class _Loop:
    """Calls whoever watches a socket, with the events of epoll_ctl(2). EPOLLERR and EPOLLHUP come unasked.

    A socket that is forgotten is closed after the walk over what came with it: a new one could else get its number, and
    an event of the old one.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._acts: dict[int, Callable[[int], None]] = {}
        self._forgotten: list[socket.socket] = []

    def watch(self, end: socket.socket, events: int, act: Callable[[int], None]) -> None:
        self._epoll.register(end, events)
        self._acts[end.fileno()] = act

    def expect(self, end: socket.socket, events: int) -> None:
        self._epoll.modify(end, events)

    def watches(self, end: socket.socket) -> bool:
        return end.fileno() in self._acts

    def leave(self, end: socket.socket) -> None:
        """No more events of this one, which stays open."""
        if self._acts.pop(end.fileno(), None) is not None:
            self._epoll.unregister(end)

    def forget(self, end: socket.socket) -> None:
        self.leave(end)
        self._forgotten.append(end)

    def step(self) -> None:
        for number, events in self._epoll.poll():
            if act := self._acts.get(number):
                act(events)
        while self._forgotten:
            self._forgotten.pop().close()


class _Way:
    """Bytes one way until the end of the stream, then the half-close."""

    def __init__(self, source: socket.socket, target: socket.socket) -> None:
        self._source, self._target = source, target
        self.waiting = b""
        """What was read and could not be written yet; nothing is read meanwhile."""
        self.ended = False
        """Whether the source's stream has ended."""
        self.closed = False
        """Whether the target knows."""

    def move(self) -> None:
        """What can be moved now, up to a chunk. OSError where an end was reset."""
        with suppress(BlockingIOError):
            if not self.waiting and not self.ended:
                self.waiting = self._source.recv(CHUNK)
                self.ended = not self.waiting
            if self.waiting:
                self.waiting = self.waiting[self._target.send(self.waiting) :]
        if self.ended and not self.closed:
            self._target.shutdown(socket.SHUT_WR)
            self.closed = True

    @property
    def reads(self) -> bool:
        return not self.waiting and not self.ended


class _Pair:
    """A host client's connection and the one that is made for it in the node."""

    def __init__(self, loop: _Loop, client: socket.socket, host: str, port: int, gone: Callable[[], None]) -> None:
        self._loop, self._client, self._gone = loop, client, gone
        self._where = f"{host}:{port}"
        self._server = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        for end in (client, self._server):
            end.setblocking(False)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._up, self._down = _Way(client, self._server), _Way(self._server, client)
        refused = self._server.connect_ex((host, port))
        loop.watch(client, 0, self._left)
        loop.watch(self._server, select.EPOLLOUT, self._connected)
        if refused not in (0, errno.EINPROGRESS):
            self._refuse(refused)

    def _left(self, _: int) -> None:
        """Nothing else can be told of a client while its connection in the node is made: it is reset."""
        self._reset()

    def _connected(self, _: int) -> None:
        if refused := self._server.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._refuse(refused)
            return
        for end in (self._client, self._server):
            self._loop.leave(end)
        self._loop.watch(self._client, 0, lambda events: self._moved(events, self._up))
        self._loop.watch(self._server, 0, lambda events: self._moved(events, self._down))
        self._expect()

    def _refuse(self, error: int) -> None:
        print(f"relay: {self._where}: {os.strerror(error)}", file=sys.stderr, flush=True)
        self._reset()

    def _moved(self, events: int, outwards: _Way) -> None:
        """Something is new at one end, from where one way leads outwards."""
        try:
            if events & select.EPOLLERR and not outwards.reads:
                raise ConnectionResetError  # else reading tells, after what came before
            self._up.move()
            self._down.move()
        except OSError:
            self._reset()
            return
        self._expect()

    def _expect(self) -> None:
        if self._up.closed and self._down.closed:
            self._end()
            return
        for end, outwards, inwards in ((self._client, self._up, self._down), (self._server, self._down, self._up)):
            if outwards.ended and inwards.closed:
                self._loop.leave(end)  # it hangs up for as long as it is watched
            elif self._loop.watches(end):
                self._loop.expect(end, select.EPOLLIN * outwards.reads | select.EPOLLOUT * bool(inwards.waiting))

    def _reset(self) -> None:
        """One end was reset: a close with zero linger resets the other (socket(7), SO_LINGER)."""
        for end in (self._client, self._server):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, pack("ii", 1, 0))
        self._end()

    def _end(self) -> None:
        self._loop.forget(self._client)
        self._loop.forget(self._server)
        self._gone()


class _TcpRelay:
    """One host port: a connection inside the node for each of a host client's."""

    def __init__(self, loop: _Loop, outside: socket.socket, host: str, port: int) -> None:
        self._loop, self._outside, self._host, self._port = loop, outside, host, port
        loop.watch(outside, select.EPOLLIN, lambda _: self._accept())

    def _accept(self) -> None:
        try:
            client, _ = self._outside.accept()
        except BlockingIOError:
            return
        except OSError as error:  # accept(2): a client that has left already, or no descriptor is free
            print(f"relay: {self._host}:{self._port}: {error}", file=sys.stderr, flush=True)
            if error.errno in (errno.EMFILE, errno.ENFILE):
                self._loop.expect(self._outside, 0)  # until one is
            return
        try:
            _Pair(self._loop, client, self._host, self._port, self._one_less)
        except OSError as error:
            print(f"relay: {self._host}:{self._port}: {error}", file=sys.stderr, flush=True)
            client.close()

    def _one_less(self) -> None:
        self._loop.expect(self._outside, select.EPOLLIN)


class _UdpRelay:
    """One host port: a socket inside the node for each host client, so that each has a flow of its own."""

    def __init__(self, loop: _Loop, outside: socket.socket, host: str, port: int) -> None:
        self._loop, self._outside = loop, outside
        self._server = (host, port)
        self._inside: dict[Any, socket.socket] = {}
        loop.watch(outside, select.EPOLLIN, lambda _: self._outside_ready())

    def _outside_ready(self) -> None:
        data, client = self._outside.recvfrom(CHUNK)
        inside = self._inside.pop(client, None) or self._open(client)
        self._inside[client] = inside
        # udp(7): the error of an earlier datagram is told by the next call, which then sends nothing.
        self._try(lambda: inside.send(data)) or self._try(lambda: inside.send(data))

    def _open(self, client: Any) -> socket.socket:
        if len(self._inside) >= UDP_CLIENTS:
            self._loop.forget(self._inside.pop(next(iter(self._inside))))
        inside = socket.socket(socket.AF_INET6 if ":" in self._server[0] else socket.AF_INET, socket.SOCK_DGRAM)
        inside.setblocking(False)
        inside.connect(self._server)
        self._loop.watch(inside, select.EPOLLIN, lambda _: self._inside_ready(inside, client))
        return inside

    def _inside_ready(self, inside: socket.socket, client: Any) -> None:
        self._try(lambda: self._outside.sendto(inside.recv(CHUNK), client))

    def _try(self, action: Callable[[], object]) -> bool:
        """UDP promises nothing: a full buffer or a refused port loses the datagram, and the log says so.

        Returns False where there was an error.
        """
        try:
            action()
        except BlockingIOError:
            return True
        except OSError as error:
            print(f"relay: udp {self._server}: {error}", file=sys.stderr, flush=True)
            return False
        return True


def main(publications: Sequence[Publication]) -> None:
    """Relay until SIGTERM."""

    def terminated(*_: object) -> None:
        raise _Terminated

    loop = _Loop()
    for one in publications:
        outside = socket.socket(fileno=one.fd)
        outside.setblocking(False)
        (_TcpRelay if one.protocol == "tcp" else _UdpRelay)(loop, outside, one.host, one.port)
    with suppress(_Terminated):
        signal.signal(signal.SIGTERM, terminated)
        while True:
            loop.step()


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
