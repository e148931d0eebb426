"""The TCP server: one raw listener that shows how sends stick together, and framed echo listeners beside it.

- `raw` greets, then answers each chunk that it reads with `You said: <chunk>` and CR LF.
- Framed listeners answer each message with exactly that message.

Whatever a client does (reset, half-close, stall, garbage, never reading) costs its own connection and nothing else.
Memory per connection is bounded: nothing is read while answers wait for the peer.
"""

import asyncio
import hashlib
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from faultlab_services import raw_echo
from faultlab_services.errors import ServiceUsageError
from faultlab_services.framing import MAX_FRAME_BYTES, PeerError, codec
from faultlab_services.journal import DIGEST_BYTES, Journal
from faultlab_services.sockets import BACKLOG, bound_sockets, endpoint_text, reason

READ_BYTES = 65536
DRAIN_QUIET_S = 0.05
LINGER_S = 1.0
STOPPED = "the server was stopped"


@dataclass(frozen=True)
class FramedPort:
    """One port and the framing spoken there; port 0 lets the kernel choose."""

    framing: str
    port: int


@dataclass(frozen=True)
class Limits:
    """What one connection may cost."""

    max_frame_bytes: int = MAX_FRAME_BYTES
    idle_timeout_s: float = 60.0
    drain_timeout_s: float = 5.0

    def check(self) -> None:
        """Raises `ServiceUsageError` for limits under which nothing could be said."""
        if self.max_frame_bytes < 1:
            raise ServiceUsageError("--max-frame is 0 bytes: expected at least 1B")


class TcpServer:
    """`start`, then serve until `stop`."""

    def __init__(self, listeners: Sequence[FramedPort], binds: Sequence[str], limits: Limits, journal: Journal) -> None:
        self._listeners = listeners
        self._binds = binds
        self._limits = limits
        self._journal = journal
        self._servers: list[asyncio.Server] = []
        self._connections: dict[_Connection, asyncio.Task[None]] = {}
        self._accepted = 0

    async def start(self) -> list[tuple[str, str]]:
        """Listens; returns (endpoint, framing) of every socket. Raises `ServiceError`."""
        where = []
        for listener in self._listeners:
            for sock in bound_sockets(socket.SOCK_STREAM, self._binds, listener.port):
                await self._listen(sock, listener.framing)
                where.append((endpoint_text(sock.getsockname()), listener.framing))
        return where

    async def stop(self) -> None:
        """Stops accepting, answers what has been received, closes; ends by force after `drain_timeout_s`."""
        for server in self._servers:
            server.close()
        for connection in self._connections:
            connection.stop()
        tasks = list(self._connections.values())
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=self._limits.drain_timeout_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _listen(self, sock: socket.socket, framing: str) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._serve(framing, reader, writer)

        self._servers.append(await asyncio.start_server(serve, sock=sock, backlog=BACKLOG, limit=READ_BYTES))
        self._journal.write("listen", "note", at=endpoint_text(sock.getsockname()), framing=framing)

    async def _serve(self, framing: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(self._accepted, framing, reader, writer, self._limits, self._journal)
        self._accepted += 1
        task = asyncio.current_task()
        assert task is not None
        self._connections[connection] = task
        try:
            await connection.run()
        finally:
            del self._connections[connection]


class _Unresponsive(Exception):
    """The peer took longer than it may."""


class _Connection:
    """One accepted connection, from greeting to close."""

    def __init__(
        self,
        number: int,
        framing: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        limits: Limits,
        journal: Journal,
    ) -> None:
        self._number = number
        self._raw = framing == "raw"
        self._codec = codec(framing, limits.max_frame_bytes)
        self._decoder = self._codec.decoder()
        self._reader = reader
        self._writer = writer
        self._limits = limits
        self._journal = journal
        self._frames = 0
        self._received_bytes = 0
        self._received_digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
        self._stopping = False
        self._waiting: asyncio.Timeout | None = None
        local, peer = writer.get_extra_info("sockname"), writer.get_extra_info("peername")
        self._peer = endpoint_text(peer) if peer else "unknown"
        journal.write("connection", "invoke", conn=number, peer=self._peer, at=endpoint_text(local), framing=framing)

    def stop(self) -> None:
        """Answer what has been received, then close."""
        self._stopping = True
        if self._waiting is not None:
            self._waiting.reschedule(asyncio.get_running_loop().time() + DRAIN_QUIET_S)

    async def run(self) -> None:
        """Serves until the peer ends the stream or breaks a rule; the journal gets the reason."""
        why: str | None = STOPPED
        failed = True
        try:
            await self._serve()
            await self._hang_up()
            failed, why = False, why if self._stopping else None
        except (PeerError, _Unresponsive) as error:
            why = str(error)
            await self._refuse()
        except OSError as error:
            why = reason(error)
        finally:
            self._writer.transport.abort()
            self._journal_end(failed, why)

    async def _serve(self) -> None:
        if self._raw:
            self._writer.write(raw_echo.GREETING)
        while chunk := await self._read():
            self._received_bytes += len(chunk)
            self._received_digest.update(chunk)
            self._answer(chunk)
            await self._drain()
        self._decoder.close()

    async def _read(self) -> bytes:
        """What came next; empty at the end of the stream, or when nothing more comes while the server stops."""
        patience_s = DRAIN_QUIET_S if self._stopping else self._limits.idle_timeout_s
        try:
            async with asyncio.timeout(patience_s) as self._waiting:
                return await self._reader.read(READ_BYTES)
        except TimeoutError as error:
            if error.errno is not None:
                raise
            inside = f", {self._decoder.pending_bytes} bytes into a frame" if self._decoder.pending_bytes else ""
            if self._stopping and not inside:
                return b""
            why = STOPPED if self._stopping else f"idle for {self._limits.idle_timeout_s:g} s"
            raise _Unresponsive(why + inside) from error
        finally:
            self._waiting = None

    def _answer(self, chunk: bytes) -> None:
        try:
            messages = self._decoder.feed(chunk)
        except PeerError as error:
            self._reply_to(error.complete)
            raise
        self._reply_to(messages)

    def _reply_to(self, messages: list[bytes]) -> None:
        op = "chunk" if self._raw else "frame"
        for message in messages:
            self._journal.write(op, "invoke", conn=self._number, n=self._frames, data=message, peer=self._peer)
            self._writer.write(raw_echo.answer(message) if self._raw else self._codec.encode(message))
            self._journal.write(op, "ok", conn=self._number, n=self._frames, data=message)
            self._frames += 1

    async def _drain(self) -> None:
        """Waits while answers pile up, so that a peer that never reads holds one chunk's answers and no more."""
        try:
            async with asyncio.timeout(self._limits.idle_timeout_s):
                await self._writer.drain()
        except TimeoutError as error:
            if error.errno is not None:
                raise
            raise _Unresponsive(f"the peer did not read for {self._limits.idle_timeout_s:g} s") from error

    async def _hang_up(self) -> None:
        """Everything answered reaches the kernel, then FIN."""
        self._writer.transport.set_write_buffer_limits(high=0)
        await self._drain()
        self._writer.write_eof()

    async def _refuse(self) -> None:
        """FIN, then read on for a moment: closing with bytes unread would reset, and so destroy answers under way."""
        try:
            async with asyncio.timeout(LINGER_S):
                await self._hang_up()
                while await self._reader.read(READ_BYTES):
                    pass
        except (_Unresponsive, OSError):
            return

    def _journal_end(self, failed: bool, why: str | None) -> None:
        self._journal.write(
            "connection",
            "fail" if failed else "ok",
            conn=self._number,
            why=why,
            frames=self._frames,
            received_bytes=self._received_bytes,
            received_digest=self._received_digest.hexdigest(),
        )


async def serve(
    stop: asyncio.Event,
    listeners: Sequence[FramedPort],
    binds: Sequence[str],
    limits: Limits,
    journal_path: Path | None,
) -> None:
    """Serves until `stop` is set, telling standard output where. Raises `ServiceError`."""
    limits.check()
    with Journal(journal_path, "tcp-server") as journal:
        server = TcpServer(listeners, binds, limits, journal)
        for where, framing in await server.start():
            print(f"tcp-server: listening on {where} ({framing})", flush=True)
        print("tcp-server: ready", flush=True)
        await stop.wait()
        await server.stop()
