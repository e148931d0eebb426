"""The TCP client: sends numbered messages on one or more connections and accounts for each of them.

Each message ends `ok` (its answer equals it), `fail` (another answer came in its place), `unknown` (time-out, or the
connection was lost) or unsent (its connection was gone before its turn). Answers on one connection are matched to
messages by order, as TCP promises order.
"""

import asyncio
import hashlib
import socket
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faultlab_services import messages
from faultlab_services.errors import ServiceUsageError
from faultlab_services.framing import Decoder, LocalError, PeerError, codec
from faultlab_services.journal import DIGEST_BYTES, Journal, Phase, digest
from faultlab_services.raw_echo import RawEchoDecoder
from faultlab_services.sockets import Address, client_socket, endpoint_text, reason
from faultlab_services.summary import Summary
from faultlab_services.targets import Target, targets_of

READ_BYTES = 65536
ANY_LENGTH = 1 << 30


@dataclass(frozen=True)
class TcpClientOptions:
    """What to send: `messages` on each of `connections` connections; times in seconds, sizes in bytes.

    `nagle`: a small segment waits while another is unacknowledged (RFC 9293, 3.7.4). `max_segment`: of what we send.
    """

    host: str
    port: int
    framing: str
    messages: int = 1
    sizes: tuple[int, int] = (100, 100)
    size_seed: int = 0
    connections: int = 1
    window: int = 1
    pace_s: float = 0.0
    timeout_s: float = 30.0
    connect_timeout_s: float = 10.0
    source_port: int | None = None
    nagle: bool = False
    max_segment: int | None = None

    def size(self, conn: int, n: int) -> int:
        """Bytes of message `n` on connection `conn`."""
        return messages.message_size(conn, n, *self.sizes, self.size_seed)

    def check(self) -> None:
        """Raises `ServiceUsageError` for what can't be sent at all."""
        try:
            codec(self.framing, ANY_LENGTH).encode(bytes(self.sizes[1]))
        except LocalError as error:
            raise ServiceUsageError(str(error)) from error
        if self.framing == "raw" and self.sizes[0] == 0:
            raise ServiceUsageError("a raw message of 0 bytes sends nothing: --size must be at least 1B")
        if self.source_port is not None and self.source_port + self.connections > 65536:
            raise ServiceUsageError(
                f"--source-port {self.source_port} leaves no room for {self.connections} connections"
            )


class _Lost(Exception):
    """The connection is of no more use; says why."""


class _Conversation:
    """One connection: a sender that keeps up to `window` messages in flight, and a receiver that accounts for them."""

    def __init__(self, conn: int, work: TcpClientOptions, journal: Journal, summary: Summary) -> None:
        self._conn = conn
        self._work = work
        self._journal = journal
        self._summary = summary
        self._codec = codec(work.framing, ANY_LENGTH)
        self._raw: RawEchoDecoder | None = None
        self._decoder: Decoder | RawEchoDecoder = self._codec.decoder()
        if work.framing == "raw":
            self._raw = self._decoder = RawEchoDecoder(work.size(conn, n) for n in range(work.messages))
        self._in_flight: deque[tuple[int, bytes, float]] = deque()
        self._window = asyncio.Semaphore(work.window)
        self._sent = 0
        self._answered = 0
        self._sent_bytes = 0
        self._sent_digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
        self._patience = asyncio.timeout(None)

    async def run(self, targets: list[Target]) -> None:
        """Connects, sends, receives, closes; never raises for what the network or the server did."""
        why: str | None = "stopped"
        try:
            reader, writer = await self._connect(targets)
            try:
                await self._exchange(reader, writer)
                why = None
                await self._finish(reader, writer)
            finally:
                writer.transport.abort()
        except _Lost as lost:
            why = str(lost)
        finally:
            self._give_up(why)

    async def _connect(self, targets: list[Target]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        self._journal.write("connect", "invoke", conn=self._conn)
        phase: Phase = "unknown"
        why: str | None = "stopped"
        ends: dict[str, Any] = {}
        try:
            async with asyncio.timeout(self._work.connect_timeout_s) as patience:
                sock = await self._first_to_answer(targets)
            phase, why = "ok", None
            ends = {"local": endpoint_text(sock.getsockname()), "peer": endpoint_text(sock.getpeername())}
        except OSError as error:
            if patience.expired():
                why = f"no connection within {self._work.connect_timeout_s:g} s"
            else:
                phase, why = "fail", reason(error)
            raise _Lost(why) from error
        finally:
            self._journal.write("connect", phase, conn=self._conn, why=why, **ends)
        streams = await asyncio.open_connection(sock=sock, limit=READ_BYTES)
        # asyncio turns Nagle's algorithm off on each connection.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, not self._work.nagle)
        return streams

    async def _first_to_answer(self, targets: list[Target]) -> socket.socket:
        for family, address in targets[:-1]:
            try:
                return await self._connected(family, address)
            except OSError as error:
                where = endpoint_text(address)
                self._journal.write("connect", "note", conn=self._conn, why=reason(error), peer=where)
        return await self._connected(*targets[-1])

    async def _connected(self, family: socket.AddressFamily, address: Address) -> socket.socket:
        base = self._work.source_port
        port = None if base is None else base + self._conn
        sock = client_socket(family, socket.SOCK_STREAM, port)
        try:
            if self._work.max_segment is not None:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, self._work.max_segment)
            await asyncio.get_running_loop().sock_connect(sock, address)
        except BaseException:
            sock.close()
            raise
        return sock

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sender: asyncio.Task[None] | None = None
        try:
            async with self._patience:
                sender = asyncio.create_task(self._send_all(writer))
                await self._receive_all(reader)
        except PeerError as error:
            raise _Lost(str(error)) from error
        except OSError as error:
            late = self._patience.expired()
            raise _Lost(f"no answer within {self._work.timeout_s:g} s" if late else reason(error)) from error
        finally:
            if sender is not None:
                sender.cancel()
                await asyncio.gather(sender, return_exceptions=True)

    async def _send_all(self, writer: asyncio.StreamWriter) -> None:
        for n in range(self._work.messages):
            await self._window.acquire()
            if n and self._work.pace_s:
                await asyncio.sleep(self._work.pace_s)
            self._send(n, writer)
            await writer.drain()

    def _send(self, n: int, writer: asyncio.StreamWriter) -> None:
        message = messages.message(self._conn, n, self._work.size(self._conn, n))
        self._journal.write("message", "invoke", conn=self._conn, n=n, data=message)
        self._in_flight.append((n, message, asyncio.get_running_loop().time() + self._work.timeout_s))
        self._sent += 1
        self._sent_bytes += len(message)
        self._sent_digest.update(message)
        self._watch()
        writer.write(self._codec.encode(message))

    def _watch(self) -> None:
        """The oldest message in flight says how long to wait."""
        if self._patience.expired():
            return
        self._patience.reschedule(self._in_flight[0][2] if self._in_flight else None)

    async def _receive_all(self, reader: asyncio.StreamReader) -> None:
        while self._answered < self._work.messages:
            data = await reader.read(READ_BYTES)
            if not data:
                self._decoder.close()
                raise _Lost("the server closed the connection")
            self._take(data)

    def _take(self, data: bytes) -> None:
        try:
            replies = self._decoder.feed(data)
        except PeerError as error:
            self._account(error.complete)
            raise
        self._account(replies)

    def _account(self, replies: list[bytes]) -> None:
        for reply in replies:
            if self._in_flight:
                self._settle(reply)
            else:
                self._summary.count("unasked")
                self._journal.write("message", "note", conn=self._conn, data=reply, why="an answer to nothing")

    def _settle(self, reply: bytes) -> None:
        n, message, _ = self._in_flight.popleft()
        phase: Phase = "ok" if reply == message else "fail"
        why = None if reply == message else f"another answer: message {n} had digest {digest(message)}"
        self._journal.write("message", phase, conn=self._conn, n=n, data=reply, why=why)
        self._summary.count(phase, why=None if reply == message else "another answer")
        self._answered += 1
        self._watch()
        self._window.release()

    async def _finish(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """FIN, then read to the end of the stream: a server that says too much is noticed here."""
        self._journal.write("close", "invoke", conn=self._conn)
        phase: Phase = "unknown"
        why: str | None = "stopped"
        try:
            async with asyncio.timeout(self._work.timeout_s) as patience:
                writer.write_eof()
                while data := await reader.read(READ_BYTES):
                    self._take(data)
                self._decoder.close()
            phase, why = "ok", None
        except PeerError as error:
            phase, why = "fail", str(error)
            self._summary.count("unasked", why=why)
        except OSError as error:
            late = patience.expired()
            why = f"the server did not close within {self._work.timeout_s:g} s" if late else reason(error)
        finally:
            self._journal.write("close", phase, conn=self._conn, why=why, **self._streams())

    def _streams(self) -> dict[str, Any]:
        """Both streams of a raw connection, by length and digest."""
        if self._raw is None:
            return {}
        return {
            "sent_bytes": self._sent_bytes,
            "sent_digest": self._sent_digest.hexdigest(),
            "echoed_bytes": self._raw.echoed_bytes,
            "echoed_digest": self._raw.echoed_digest,
            "stuck": self._raw.stuck,
            "split": self._raw.split,
        }

    def _give_up(self, why: str | None) -> None:
        for n, _, _ in self._in_flight:
            self._journal.write("message", "unknown", conn=self._conn, n=n, why=why)
        self._summary.count("unknown", len(self._in_flight), why)
        self._summary.count("unsent", self._work.messages - self._sent, why)
        if self._raw is not None:
            self._summary.count("stuck", self._raw.stuck)
            self._summary.count("split", self._raw.split)


async def run(work: TcpClientOptions, journal_path: Path | None, as_json: bool) -> int:
    """Does the work and prints a summary; 0 when every message came back, else 1. Raises `ServiceUsageError`."""
    work.check()
    summary = Summary("tcp-client", "messages", work.messages * work.connections)
    with Journal(journal_path, "tcp-client") as journal:
        targets = await targets_of(work.host, work.port, socket.SOCK_STREAM, journal)
        talks = [_Conversation(conn, work, journal, summary) for conn in range(work.connections)]
        await asyncio.gather(*(talk.run(targets) for talk in talks))
    return summary.conclude(as_json, also=("stuck", "split") if work.framing == "raw" else ())
