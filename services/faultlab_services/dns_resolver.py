"""An asynchronous stub resolver that speaks DNS itself: UDP with time-out and retry, TCP when an answer is cut short.

An answer counts only when it comes from the server asked, to the port that asked, with the id and the question
asked (RFC 5452 section 9.1); anything else is journaled and ignored.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype

from faultlab_services.dns_zone import EDNS_PAYLOAD_BYTES, absolute_name
from faultlab_services.errors import ServiceUsageError
from faultlab_services.framing import PeerError, codec
from faultlab_services.journal import Journal
from faultlab_services.sockets import client_socket, endpoint_text, reason

DNS_PORT = 53
MAX_MESSAGE_BYTES = 65535

Server = tuple[str, int]


class NoSuchName(Exception):
    """NXDOMAIN for every name tried."""


class NoData(Exception):
    """The name exists, without an address of the family asked."""


class ServerFailure(Exception):
    """Every server asked answered, and none with an answer."""


class NoAnswer(Exception):
    """Time ran out: nobody can say what the answer would have been."""


class NoName(Exception):
    """Nobody was asked: what was given can't be a name (RFC 1035 section 2.3.4)."""


@dataclass(frozen=True)
class ResolvConf:
    """What resolv.conf(5) says: servers in order, search domains, and the dots that make a name worth trying first."""

    servers: tuple[Server, ...]
    search: tuple[str, ...] = ()
    ndots: int = 1


def read_resolv_conf(path: Path = Path("/etc/resolv.conf")) -> ResolvConf:
    """The system's configuration; the server is this host where the file is absent or names none (resolv.conf(5)).

    As in the C library, a server that is no address and a search domain that is no name count as not written.
    """
    servers: list[Server] = []
    search: tuple[str, ...] = ()
    ndots = 1
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else ():
        match line.split():
            case ["nameserver", server, *_] if _is_address(server):
                servers.append((server, DNS_PORT))
            case ["search" | "domain", *domains]:
                search = tuple(domain for domain in domains if _name_under(domain) is not None)
            case ["options", *options]:
                ndots = next((int(o[6:]) for o in options if o.startswith("ndots:") and o[6:].isdigit()), ndots)
    return ResolvConf(tuple(servers) or (("127.0.0.1", DNS_PORT),), search, ndots)


@dataclass(frozen=True)
class Patience:
    """How long one attempt may take, in seconds, and how many more may follow it."""

    timeout_s: float = 2.0
    retries: int = 2


class Resolver:
    """Asks the servers of `conf` for addresses; what it meets on the way goes to the journal."""

    def __init__(self, conf: ResolvConf, patience: Patience, journal: Journal) -> None:
        self._conf = conf
        self._patience = patience
        self._journal = journal

    def ports_needed(self) -> int:
        """How many source ports one name may take: one for each attempt of each question."""
        return (len(self._conf.search) + 1) * 2 * (self._patience.retries + 1)

    async def addresses(
        self, n: int, name: str, rdtypes: Sequence[dns.rdatatype.RdataType], source_port: int | None
    ) -> list[str]:
        """The addresses of `name`. Raises `NoSuchName`, `NoData`, `ServerFailure`, `NoAnswer` or `NoName`.

        Addresses of one family are an answer, whatever became of the question for the other (as in getaddrinfo(3)).
        `n` is the number of the operation in the journal; with `source_port`, the attempts take ports from there on.
        """
        exists = False
        for index, candidate in enumerate(self._candidates(name)):
            first = None if source_port is None else source_port + index * 2 * self._attempts
            answers, failures = await self._ask_all(n, candidate, rdtypes, first)
            found = [address for answer in answers for address in answer or ()]
            if found:
                return found
            if failures:
                # Silence says least, so it is what counts: the other question could still have had an answer.
                raise next((one for one in failures if isinstance(one, NoAnswer)), failures[0])
            exists |= any(answer is not None for answer in answers)
        raise NoData if exists else NoSuchName

    @property
    def _attempts(self) -> int:
        return self._patience.retries + 1

    def _candidates(self, name: str) -> list[dns.name.Name]:
        """The full names that `name` may mean, in the order to try them (resolv.conf(5), search and ndots).

        What gets too long with a search domain is left out. NoName where `name` itself is none.
        """
        try:
            plain = absolute_name(name)
        except ServiceUsageError as error:
            raise NoName(str(error)) from error
        if name.endswith("."):
            return [plain]
        under = [_name_under(name, absolute_name(domain)) for domain in self._conf.search]
        searched = [one for one in under if one is not None]
        return [plain, *searched] if name.count(".") >= self._conf.ndots else [*searched, plain]

    async def _ask_all(
        self, n: int, name: dns.name.Name, rdtypes: Sequence[dns.rdatatype.RdataType], first_port: int | None
    ) -> tuple[list[list[str] | None], list[NoAnswer | ServerFailure]]:
        """What `_ask` returned, and what it raised."""
        questions = [
            self._ask(n, name, rdtype, None if first_port is None else first_port + index * self._attempts)
            for index, rdtype in enumerate(rdtypes)
        ]
        answers: list[list[str] | None] = []
        failures: list[NoAnswer | ServerFailure] = []
        for outcome in await asyncio.gather(*questions, return_exceptions=True):
            if isinstance(outcome, NoAnswer | ServerFailure):
                failures.append(outcome)
            elif isinstance(outcome, BaseException):
                raise outcome
            else:
                answers.append(outcome)
        return answers, failures

    async def _ask(
        self, n: int, name: dns.name.Name, rdtype: dns.rdatatype.RdataType, first_port: int | None
    ) -> list[str] | None:
        """The first answer that any server gives within the attempts allowed: addresses; None for NXDOMAIN."""
        failures: list[Exception] = []
        for attempt in range(self._attempts):
            server = self._conf.servers[attempt % len(self._conf.servers)]
            try:
                return await self._attempt(
                    n, server, name, rdtype, None if first_port is None else first_port + attempt
                )
            except (NoAnswer, ServerFailure) as failure:
                failures.append(failure)
                self._note(n, name, rdtype, f"attempt {attempt + 1}: {failure}")
        raise failures[-1]

    async def _attempt(
        self, n: int, server: Server, name: dns.name.Name, rdtype: dns.rdatatype.RdataType, port: int | None
    ) -> list[str] | None:
        query = dns.message.make_query(name, rdtype, use_edns=0, payload=EDNS_PAYLOAD_BYTES)
        where = endpoint_text(server)
        try:
            async with asyncio.timeout(self._patience.timeout_s) as patience:
                response = await self._over_udp(n, server, query, port)
                if response.flags & dns.flags.TC:
                    self._note(n, name, rdtype, f"truncated by {where}: asking again over TCP")
                    response = await self._over_tcp(server, query, port)
        except OSError as error:
            if patience.expired():
                raise NoAnswer(f"no answer from {where} within {self._patience.timeout_s:g} s") from error
            raise ServerFailure(f"{where}: {reason(error)}") from error
        except (PeerError, dns.exception.DNSException) as error:
            raise ServerFailure(f"{where}: malformed answer over TCP: {error}") from error
        if response.rcode() == dns.rcode.NXDOMAIN:
            return None
        if response.rcode() != dns.rcode.NOERROR:
            raise ServerFailure(f"{where}: {dns.rcode.to_text(response.rcode())}")
        try:
            return _addresses_in(response)
        except dns.exception.DNSException as error:
            raise ServerFailure(f"{where}: an answer that leads nowhere: {error}") from error

    async def _over_udp(
        self, n: int, server: Server, query: dns.message.Message, port: int | None
    ) -> dns.message.Message:
        loop = asyncio.get_running_loop()
        with client_socket(_family(server), socket.SOCK_DGRAM, port) as sock:
            sock.connect(server)
            await loop.sock_sendall(sock, query.to_wire())
            while True:
                wire = await loop.sock_recv(sock, MAX_MESSAGE_BYTES)
                response = self._accepted(n, query, wire)
                if response is not None:
                    return response

    def _accepted(self, n: int, query: dns.message.Message, wire: bytes) -> dns.message.Message | None:
        question = query.question[0]
        try:
            response = dns.message.from_wire(wire)
        except dns.exception.DNSException as error:
            self._note(n, question.name, question.rdtype, f"ignored: malformed: {error}")
            return None
        if not query.is_response(response):
            self._note(n, question.name, question.rdtype, "ignored: another id or question")
            return None
        return response

    async def _over_tcp(self, server: Server, query: dns.message.Message, port: int | None) -> dns.message.Message:
        loop = asyncio.get_running_loop()
        framing = codec("length2")
        decoder = framing.decoder()
        with client_socket(_family(server), socket.SOCK_STREAM, port) as sock:
            await loop.sock_connect(sock, server)
            await loop.sock_sendall(sock, framing.encode(query.to_wire()))
            while chunk := await loop.sock_recv(sock, MAX_MESSAGE_BYTES):
                for wire in decoder.feed(chunk):
                    response = dns.message.from_wire(wire)
                    if query.is_response(response):
                        return response
            decoder.close()
        raise ServerFailure(f"{endpoint_text(server)}: closed the connection without an answer")

    def _note(self, n: int, name: dns.name.Name, rdtype: dns.rdatatype.RdataType, why: str) -> None:
        qtype = dns.rdatatype.to_text(rdtype)
        self._journal.write("resolve", "note", n=n, why=why, qname=name.to_text(), qtype=qtype)


def _family(server: Server) -> socket.AddressFamily:
    return socket.AF_INET6 if ipaddress.ip_address(server[0].partition("%")[0]).version == 6 else socket.AF_INET


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True


def _name_under(text: str, origin: dns.name.Name = dns.name.root) -> dns.name.Name | None:
    """As `absolute_name`; None where there can be no such name."""
    try:
        return absolute_name(text, origin)
    except ServiceUsageError:
        return None


def _addresses_in(response: dns.message.Message) -> list[str]:
    """The addresses that the answer holds, aliases followed (RFC 1034 section 3.6.2).

    DNSException where the aliases go round in a circle, or on for too long.
    """
    if not isinstance(response, dns.message.QueryMessage):
        return []
    answer = response.resolve_chaining().answer
    return [str(rdata.address) for rdata in answer] if answer else []
