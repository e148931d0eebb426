"""The UDP client: sends numbered datagrams and accounts for each answer.

Two ways of sending:

- open loop: datagrams leave at their pace, answers are collected until all have come or the time-out has passed
  since the last send;
- stop and wait (`retries` given): each datagram waits for its answer, and is sent again when none comes in time.

In `echo` mode an answer names its datagram by its bytes. In `ack` mode answers are all alike: in the open loop they
can only be counted, so either each datagram got one (all ok) or nobody can say which did (all unknown).
"""

import asyncio
import socket
from collections import defaultdict, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from faultlab_services import messages
from faultlab_services.errors import ServiceError, ServiceUsageError
from faultlab_services.journal import Journal, Phase
from faultlab_services.sockets import client_socket, endpoint_text, enlarge_receive_buffer, reason
from faultlab_services.summary import Summary
from faultlab_services.targets import targets_of
from faultlab_services.udp_server import ACK, BATCH, MAX_DATAGRAM_BYTES

CONN = 0  # one socket, one flow
CLOSED = "closed"
LINGER_S = 0.2  # how long to listen for duplicates once every answer is in


@dataclass(frozen=True)
class UdpClientOptions:
    """What to send: times in seconds, sizes in bytes; `retries` None means open loop."""

    host: str
    port: int
    echo: bool
    messages: int = 1
    sizes: tuple[int, int] = (100, 100)
    size_seed: int = 0
    pace_s: float = 0.001
    timeout_s: float = 2.0
    retries: int | None = None
    source_port: int | None = None

    def datagram(self, n: int) -> bytes:
        """Datagram `n`."""
        return messages.message(CONN, n, messages.message_size(CONN, n, *self.sizes, self.size_seed))

    def check(self) -> None:
        """Raises `ServiceUsageError` for what can't be sent at all."""
        if self.sizes[1] > MAX_DATAGRAM_BYTES:
            raise ServiceUsageError(f"a datagram of {self.sizes[1]} bytes: UDP carries at most {MAX_DATAGRAM_BYTES}")


class _Account:
    """Which datagrams are still unanswered, and what came back."""

    def __init__(self, work: UdpClientOptions, journal: Journal, summary: Summary) -> None:
        self.heard = asyncio.Event()
        self._echo = work.echo
        self._one_by_one = work.retries is not None
        self._journal = journal
        self._summary = summary
        self._open: dict[int, bytes] = {}
        self._by_bytes: defaultdict[bytes, deque[int]] = defaultdict(deque)
        self._last_of: dict[bytes, int] = {}
        self._acks = 0
        self._invoked = 0
        self._planned = work.messages

    def invoke(self, n: int, datagram: bytes) -> None:
        """Datagram `n` is about to be sent for the first time."""
        self._journal.write("message", "invoke", conn=CONN, n=n, data=datagram)
        self._invoked += 1
        self._open[n] = datagram
        self._by_bytes[datagram if self._echo else ACK].append(n)

    def is_open(self, n: int) -> bool:
        """Whether datagram `n` still waits for its answer."""
        return n in self._open

    def all_answered(self) -> bool:
        """Whether as many answers came as datagrams were sent."""
        return not self._open or self._acks == len(self._open)

    def take(self, reply: bytes) -> None:
        """An answer has arrived."""
        self.heard.set()
        if not self._echo and not self._one_by_one and reply == ACK:
            self._acks += 1
            self._journal.write(
                "message", "note", conn=CONN, data=reply, why="an acknowledgement, which names no datagram"
            )
        elif self._by_bytes.get(reply):
            n = self._by_bytes[reply].popleft()
            self._last_of[reply] = n
            self._settle(n, "ok", data=reply)
        elif reply in self._last_of:
            self._summary.count("duplicate")
            self._journal.write("message", "duplicate", conn=CONN, n=self._last_of[reply], data=reply)
        else:
            self._summary.count("unasked", why="an answer that equals nothing sent")
            self._journal.write("message", "fail", conn=CONN, data=reply, why="an answer that equals nothing sent")

    def refuse(self, n: int, why: str) -> None:
        """Our own host would not send datagram `n`."""
        if n in self._open:
            self._forget(n)
            self._settle(n, "fail", why=why)

    def give_up(self, n: int, why: str) -> None:
        """Nobody can say what became of datagram `n`."""
        if n in self._open:
            self._forget(n)
            self._settle(n, "unknown", why=why)

    def conclude(self, why: str) -> None:
        """Settles whatever is still open."""
        counted = self._acks > 0 and not self._one_by_one
        if counted and self._acks == len(self._open):
            for n in list(self._open):
                self._settle(n, "ok", data=ACK, why="counted: acknowledgements name no datagram")
            return
        self._summary.count("unsent", self._planned - self._invoked)
        told = f"{self._acks} acknowledgements for {len(self._open)} datagrams" if counted else why
        for n in list(self._open):
            self._settle(n, "unknown", why=told)

    def _forget(self, n: int) -> None:
        self._by_bytes[self._open[n] if self._echo else ACK].remove(n)

    def _settle(self, n: int, phase: Phase, *, data: bytes | None = None, why: str | None = None) -> None:
        del self._open[n]
        self._summary.count(phase, why=None if phase == "ok" else why)
        self._journal.write("message", phase, conn=CONN, n=n, data=data, why=why)


class _Exchange:
    """The socket, sending at its pace and listening all the while."""

    def __init__(self, sock: socket.socket, work: UdpClientOptions, account: _Account, journal: Journal) -> None:
        self._sock = sock
        self._work = work
        self._account = account
        self._journal = journal
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock, self._receive)

    def close(self) -> None:
        """Takes what is there, and stops listening: what comes later comes too late."""
        self._loop.remove_reader(self._sock)
        self._receive()
        self._journal.write("socket", "note", conn=CONN, why=CLOSED)
        self._sock.close()

    async def open_loop(self) -> None:
        """Every datagram at its pace, then answers until they are complete or late."""
        for n in range(self._work.messages):
            if n:
                await asyncio.sleep(self._work.pace_s)
            await self._first_send(n)
        await self._listen(self._work.timeout_s, self._account.all_answered)

    async def stop_and_wait(self, retries: int) -> None:
        """One datagram after the other, each sent up to 1 + `retries` times."""
        for n in range(self._work.messages):
            if n:
                await asyncio.sleep(self._work.pace_s)
            await self._first_send(n)
            for attempt in range(1, retries + 1):
                if await self._answered(n):
                    break
                self._journal.write(
                    "message", "note", conn=CONN, n=n, data=self._work.datagram(n), why=f"retry {attempt}"
                )
                await self._send(n, self._work.datagram(n))
            if not await self._answered(n):
                self._account.give_up(n, f"no answer to {retries + 1} datagrams, {self._work.timeout_s:g} s each")

    async def linger(self) -> None:
        """Listens on for duplicates."""
        await asyncio.sleep(LINGER_S)

    async def _first_send(self, n: int) -> None:
        datagram = self._work.datagram(n)
        self._account.invoke(n, datagram)
        await self._send(n, datagram)

    async def _send(self, n: int, datagram: bytes) -> None:
        try:
            await self._loop.sock_sendall(self._sock, datagram)
        except ConnectionRefusedError as error:
            # The ICMP error belongs to an earlier datagram, and this one was not sent (udp(7)).
            self._note(error)
            await self._send(n, datagram)
        except OSError as error:
            self._account.refuse(n, reason(error))

    async def _answered(self, n: int) -> bool:
        return await self._listen(self._work.timeout_s, lambda: not self._account.is_open(n))

    async def _listen(self, patience_s: float, enough: Callable[[], bool]) -> bool:
        """Waits for answers until there are `enough`; whether there are."""
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                while not enough():
                    self._account.heard.clear()
                    await self._account.heard.wait()
        return enough()

    def _receive(self) -> None:
        for _ in range(BATCH):
            try:
                reply = self._sock.recv(MAX_DATAGRAM_BYTES + 1)
            except BlockingIOError:
                return
            except OSError as error:
                self._note(error)
            else:
                self._account.take(reply)

    def _note(self, error: OSError) -> None:
        self._journal.write("socket", "note", conn=CONN, why=reason(error))


async def run(work: UdpClientOptions, journal_path: Path | None, as_json: bool) -> int:
    """Does the work and prints a summary; 0 when every datagram was answered, else 1. Raises `ServiceError`."""
    work.check()
    summary = Summary("udp-client", "messages", work.messages)
    with Journal(journal_path, "udp-client") as journal:
        sock = await _connected(work, journal)
        account = _Account(work, journal, summary)
        exchange = _Exchange(sock, work, account, journal)
        why = "stopped"
        try:
            if work.retries is None:
                await exchange.open_loop()
            else:
                await exchange.stop_and_wait(work.retries)
            await exchange.linger()
            why = f"no answer within {work.timeout_s:g} s"
        finally:
            exchange.close()
            account.conclude(why)
    return summary.conclude(as_json, also=("duplicate",))


async def _connected(work: UdpClientOptions, journal: Journal) -> socket.socket:
    """A socket that hears only the server asked, and the ICMP errors about it (udp(7))."""
    targets = await targets_of(work.host, work.port, socket.SOCK_DGRAM, journal)
    family, address = targets[0]
    try:
        sock = client_socket(family, socket.SOCK_DGRAM, work.source_port)
        sock.connect(address)
    except OSError as error:
        raise ServiceError(f"cannot send to {endpoint_text(address)}: {reason(error)}") from error
    enlarge_receive_buffer(sock)
    here, there = endpoint_text(sock.getsockname()), endpoint_text(address)
    journal.write("socket", "note", conn=CONN, local=here, peer=there)
    return sock
