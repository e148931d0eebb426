"""The UDP server: answers each datagram with `Message Received`, or (`echo`) with the datagram itself."""

import asyncio
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from faultlab_services.errors import ServiceError
from faultlab_services.journal import Journal
from faultlab_services.sockets import Address, bound_sockets, endpoint_text, enlarge_receive_buffer, reason

ACK = b"Message Received"
MAX_DATAGRAM_BYTES = 65507  # 65,535 less the IPv4 and UDP headers (RFC 768, RFC 791)
BATCH = 64  # datagrams taken before the event loop gets its turn


class UdpServer:
    """One socket; `broken` gets the error that ended it."""

    def __init__(self, sock: socket.socket, echo: bool, journal: Journal) -> None:
        self.broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sock = sock
        self._echo = echo
        self._journal = journal
        self._received = 0
        enlarge_receive_buffer(sock)
        asyncio.get_running_loop().add_reader(sock, self._receive)
        journal.write("listen", "note", at=endpoint_text(sock.getsockname()))

    def close(self) -> None:
        """Stops listening."""
        asyncio.get_running_loop().remove_reader(self._sock)
        self._sock.close()

    def _receive(self) -> None:
        for _ in range(BATCH):
            try:
                data, peer = self._sock.recvfrom(MAX_DATAGRAM_BYTES + 1)
            except BlockingIOError:
                return
            except OSError as error:
                self._break(error)
                return
            self._answer(data, peer)

    def _break(self, error: OSError) -> None:
        asyncio.get_running_loop().remove_reader(self._sock)
        if not self.broken.done():
            self.broken.set_exception(ServiceError(f"cannot receive: {reason(error)}"))

    def _answer(self, data: bytes, peer: Address) -> None:
        n, who = self._received, endpoint_text(peer)
        self._received += 1
        self._journal.write("datagram", "invoke", n=n, data=data, peer=who)
        reply = data if self._echo else ACK
        try:
            self._sock.sendto(reply, peer)
        except OSError as error:
            # One peer that can't be reached (or a full send buffer) is no reason to fail the others.
            self._journal.write("datagram", "fail", n=n, data=reply, why=reason(error), peer=who)
        else:
            self._journal.write("datagram", "ok", n=n, data=reply, peer=who)


async def serve(stop: asyncio.Event, port: int, binds: Sequence[str], echo: bool, journal_path: Path | None) -> None:
    """Serves until `stop` is set, telling standard output where. Raises `ServiceError` when a socket breaks."""
    with Journal(journal_path, "udp-server") as journal:
        sockets = bound_sockets(socket.SOCK_DGRAM, binds, port)
        servers = [UdpServer(sock, echo, journal) for sock in sockets]
        for sock in sockets:
            print(f"udp-server: listening on {endpoint_text(sock.getsockname())}", flush=True)
        print("udp-server: ready", flush=True)
        ends: list[asyncio.Future[Any]] = [asyncio.ensure_future(stop.wait()), *(server.broken for server in servers)]
        try:
            done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            for end in done:
                end.result()
        finally:
            ends[0].cancel()
            for server in servers:
                server.close()
