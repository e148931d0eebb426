"""The DNS server: UDP and TCP around `dns_responder`."""

import asyncio
import json
import socket
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from faultlab_services.dns_faults import DnsFault, FaultPlan
from faultlab_services.dns_responder import MAX_MESSAGE_BYTES, Answer, Responder
from faultlab_services.dns_zone import Zone
from faultlab_services.errors import ServiceError, ServiceUsageError
from faultlab_services.framing import PeerError, codec
from faultlab_services.journal import Journal
from faultlab_services.sockets import (
    BACKLOG,
    Address,
    bound_socket,
    endpoint_text,
    enlarge_receive_buffer,
    reason,
    wants_dual_stack,
)

BATCH = 64  # datagrams taken before the event loop gets its turn
TCP_IDLE_TIMEOUT_S = 10.0  # "on the order of a few seconds" (RFC 7766 section 6.2.3)

T = TypeVar("T")
Records = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class DnsConfig:
    """What to serve and how badly."""

    zone: str
    records: Records
    faults: Sequence[DnsFault] = ()
    seed: int = 0


def parse_records(lines: Sequence[str], file: Path | None) -> dict[str, list[str]]:
    """Records from `NAME=ADDRESS` lines and a JSON file {name: [addresses]}. Raises `ServiceUsageError`, `OSError`."""
    records = _read_records(file) if file is not None else {}
    for line in lines:
        name, equals, address = line.partition("=")
        if not equals:
            raise ServiceUsageError(f"record {line!r} is not NAME=ADDRESS: write it like tcp-server=10.77.0.2")
        records.setdefault(name, []).append(address)
    return records


def _read_records(file: Path) -> dict[str, list[str]]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ServiceUsageError(f"{file}: not JSON: {error}") from error
    if not isinstance(found, dict):
        raise ServiceUsageError(f'{file}: expected an object like {{"tcp-server": ["10.77.0.2"]}}')
    for name, addresses in found.items():
        if not isinstance(addresses, list) or not all(isinstance(address, str) for address in addresses):
            raise ServiceUsageError(f"{file}: {name!r}: expected a list of addresses")
    return found


class DnsServer:
    """Answers on the sockets it is given until `close`."""

    def __init__(self, responder: Responder, journal: Journal) -> None:
        self._responder = responder
        self._journal = journal
        self._queries = 0
        self._sockets: list[socket.socket] = []
        self._servers: list[asyncio.Server] = []
        self._connections: set[asyncio.Task[None]] = set()

    async def listen(self, udp: socket.socket, tcp: socket.socket) -> None:
        """Serves both sockets, which have the same address and port."""
        enlarge_receive_buffer(udp)
        self._sockets.append(udp)
        asyncio.get_running_loop().add_reader(udp, self._receive, udp)
        self._servers.append(await asyncio.start_server(self._serve_tcp, sock=tcp, backlog=BACKLOG))
        self._journal.write("listen", "note", at=endpoint_text(udp.getsockname()))

    async def close(self) -> None:
        """Stops at once: a client asks again."""
        for server in self._servers:
            server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        for sock in self._sockets:
            asyncio.get_running_loop().remove_reader(sock)
            sock.close()

    def _receive(self, sock: socket.socket) -> None:
        for _ in range(BATCH):
            try:
                wire, peer = sock.recvfrom(MAX_MESSAGE_BYTES)
            except BlockingIOError:
                return
            except OSError as error:
                self._journal.write("socket", "note", why=reason(error))
                return
            self._answer_udp(sock, wire, peer)

    def _answer_udp(self, sock: socket.socket, wire: bytes, peer: Address) -> None:
        n, answer = self._answer(wire, peer, "udp")
        if answer is None or answer.wire is None:
            return
        if answer.delay_s:
            asyncio.get_running_loop().call_later(answer.delay_s, self._send, sock, n, answer, peer)
        else:
            self._send(sock, n, answer, peer)

    def _send(self, sock: socket.socket, n: int, answer: Answer, peer: Address) -> None:
        if sock.fileno() < 0 or answer.wire is None:
            return
        try:
            sock.sendto(answer.wire, peer)
        except OSError as error:
            self._journal.write("query", "fail", n=n, data=answer.wire, why=reason(error), **_told(answer))
        else:
            self._journal.write("query", "ok", n=n, data=answer.wire, **_told(answer))

    def _answer(self, wire: bytes, peer: Address, transport: str) -> tuple[int, Answer | None]:
        n = self._queries
        self._queries += 1
        answer = self._responder.respond(wire, transport == "udp")
        asked: dict[str, Any] = {"qname": answer.qname, "qtype": answer.qtype} if answer else {}
        self._journal.write("query", "invoke", n=n, data=wire, peer=endpoint_text(peer), transport=transport, **asked)
        if answer is None:
            self._journal.write("query", "fail", n=n, why="no query: too short, or a response")
        elif answer.wire is None:
            self._journal.write("query", "fail", n=n, why="dropped on demand", **_told(answer))
        return n, answer

    async def _serve_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            await self._converse(reader, writer)
        except (OSError, PeerError) as error:
            why = reason(error) if isinstance(error, OSError) else str(error)
            self._journal.write("connection", "note", why=why or "idle")
        finally:
            self._connections.discard(task)
            writer.transport.abort()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Queries and answers with a 2-byte length before each (RFC 1035 section 4.2.2), until the client ends."""
        framing = codec("length2")
        decoder = framing.decoder()
        peer = writer.get_extra_info("peername")
        while chunk := await _within(TCP_IDLE_TIMEOUT_S, reader.read(MAX_MESSAGE_BYTES)):
            for wire in decoder.feed(chunk):
                n, answer = self._answer(wire, peer, "tcp")
                if answer is not None and answer.wire is not None:
                    await asyncio.sleep(answer.delay_s)
                    writer.write(framing.encode(answer.wire))
                    await _within(TCP_IDLE_TIMEOUT_S, writer.drain())
                    self._journal.write("query", "ok", n=n, data=answer.wire, **_told(answer))
        decoder.close()
        writer.transport.set_write_buffer_limits(high=0)
        await _within(TCP_IDLE_TIMEOUT_S, writer.drain())


async def _within(seconds: float, work: Awaitable[T]) -> T:
    async with asyncio.timeout(seconds):
        return await work


def _told(answer: Answer) -> dict[str, Any]:
    """What the journal says of an answer."""
    return {"rcode": answer.rcode, "truncated": answer.truncated, "faults": list(answer.faults)}


def _bound_pair(bind: str, port: int, dual_stack: bool, attempts: int = 10) -> tuple[socket.socket, socket.socket]:
    """A UDP and a TCP socket on one port; where the kernel chooses it, one that is free for both."""
    tcp = bound_socket(socket.SOCK_STREAM, bind, port, dual_stack)
    try:
        udp = bound_socket(socket.SOCK_DGRAM, bind, tcp.getsockname()[1], dual_stack)
    except ServiceError:
        tcp.close()
        if port or attempts == 1:
            raise
        return _bound_pair(bind, port, dual_stack, attempts - 1)
    return udp, tcp


async def serve(
    stop: asyncio.Event, config: DnsConfig, port: int, binds: Sequence[str], journal_path: Path | None
) -> None:
    """Serves until `stop` is set, telling standard output where. Raises `ServiceError`."""
    zone = Zone(config.zone, config.records)
    responder = Responder(zone, FaultPlan(config.faults, config.seed, zone.origin))
    with Journal(journal_path, "dns-server") as journal:
        server = DnsServer(responder, journal)
        try:
            for bind in binds:
                udp, tcp = _bound_pair(bind, port, wants_dual_stack(binds))
                await server.listen(udp, tcp)
                print(f"dns-server: listening on {endpoint_text(udp.getsockname())} (udp, tcp)", flush=True)
            print("dns-server: ready", flush=True)
            await stop.wait()
        finally:
            await server.close()
