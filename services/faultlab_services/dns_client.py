"""The DNS client: turns names into addresses in one of two ways, and accounts for each.

- `lookup`: getaddrinfo(3), as most programs do it, in asyncio's pool of threads. A small pool and a slow server
  starve each other: that is worth seeing.
- `resolve`: our own asynchronous resolver (`dns_resolver`), which needs no threads.
"""

import asyncio
import ipaddress
import itertools
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import dns.rdatatype

from faultlab_services.dns_resolver import (
    DNS_PORT,
    NoAnswer,
    NoData,
    NoName,
    NoSuchName,
    Patience,
    ResolvConf,
    Resolver,
    ServerFailure,
    read_resolv_conf,
)
from faultlab_services.errors import ServiceUsageError
from faultlab_services.journal import Journal, Phase
from faultlab_services.sockets import parse_endpoint, reason
from faultlab_services.summary import Summary

_RDTYPES = {
    "4": (dns.rdatatype.A,),
    "6": (dns.rdatatype.AAAA,),
    "both": (dns.rdatatype.A, dns.rdatatype.AAAA),
}
_FAMILIES = {"4": socket.AF_INET, "6": socket.AF_INET6, "both": socket.AF_UNSPEC}

Ask = Callable[[int, str], Awaitable[list[str]]]
"""(number of the operation, name) -> addresses."""


@dataclass(frozen=True)
class DnsClientOptions:
    """What to ask: `count` operations that take `names` in turn; times in seconds. `server` None is the system's."""

    how: str
    names: tuple[str, ...]
    count: int
    family: str = "both"
    server: str | None = None
    timeout_s: float = 2.0
    retries: int = 2
    concurrency: int = 1
    pace_s: float = 0.0
    pool_size: int | None = None
    job_every_s: float | None = None
    source_port: int | None = None


async def run(work: DnsClientOptions, journal_path: Path | None, as_json: bool) -> int:
    """Does the work and prints a summary; 0 when every name had an address, else 1. Raises `ServiceError`."""
    summary = Summary("dns-client", "names", work.count)
    with Journal(journal_path, "dns-client") as journal:
        if work.pool_size is not None:
            asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(work.pool_size))
        ask = _lookup(work) if work.how == "lookup" else _resolve(work, journal)
        turns = asyncio.Semaphore(work.concurrency)
        gate = asyncio.Lock()

        async def in_turn(n: int) -> None:
            async with turns:
                async with gate:
                    await asyncio.sleep(work.pace_s if n else 0)
                await _one(n, work, ask, journal, summary)

        jobs = asyncio.create_task(_jobs(work.job_every_s, journal)) if work.job_every_s is not None else None
        try:
            await asyncio.gather(*(in_turn(n) for n in range(work.count)))
        finally:
            if jobs is not None:
                jobs.cancel()
                await asyncio.gather(jobs, return_exceptions=True)
    return summary.conclude(as_json)


async def _one(n: int, work: DnsClientOptions, ask: Ask, journal: Journal, summary: Summary) -> None:
    name = work.names[n % len(work.names)]
    journal.write(work.how, "invoke", n=n, name=name)
    phase: Phase = "unknown"
    why: str | None = "stopped"
    addresses: list[str] = []
    try:
        addresses = await ask(n, name)
        phase, why = "ok", None
    except NoAnswer as error:
        why = str(error)
    except (NoSuchName, NoData, NoName, ServerFailure) as error:
        phase, why = "fail", str(error) or error.__doc__
    finally:
        journal.write(work.how, phase, n=n, why=why, name=name, addresses=addresses)
        summary.count(phase, why=why)


async def _jobs(every_s: float, journal: Journal) -> None:
    """Work that has nothing to do with names, and shares the pool of threads with them: how long does it wait?"""
    loop = asyncio.get_running_loop()
    waiting: set[asyncio.Task[None]] = set()

    async def one(n: int) -> None:
        journal.write("job", "invoke", n=n)
        phase: Phase = "unknown"
        try:
            await loop.run_in_executor(None, int)
            phase = "ok"
        finally:
            journal.write("job", phase, n=n, why=None if phase == "ok" else "stopped")

    try:
        for n in itertools.count():
            task = asyncio.create_task(one(n))
            waiting.add(task)
            task.add_done_callback(waiting.discard)
            await asyncio.sleep(every_s)
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


def _lookup(work: DnsClientOptions) -> Ask:
    loop = asyncio.get_running_loop()

    async def lookup(n: int, name: str) -> list[str]:
        timeout_s = work.timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                infos = await loop.getaddrinfo(name, None, family=_FAMILIES[work.family], type=socket.SOCK_STREAM)
        except TimeoutError as error:
            raise NoAnswer(f"no answer within {timeout_s:g} s") from error
        except socket.gaierror as error:
            if error.errno == socket.EAI_AGAIN:
                raise NoAnswer(error.strerror) from error
            raise NoSuchName(error.strerror) from error
        except OSError as error:  # EAI_SYSTEM: nobody was asked, or nobody heard
            raise NoAnswer(reason(error)) from error
        except (UnicodeError, ValueError) as error:
            raise NoName(f"{name!r} is not a DNS name: {error}") from error
        return [str(info[4][0]) for info in infos]

    return lookup


def _resolve(work: DnsClientOptions, journal: Journal) -> Ask:
    resolver = Resolver(_conf(work.server), Patience(work.timeout_s, work.retries), journal)
    ports_each = resolver.ports_needed()
    if work.source_port is not None and work.source_port + work.count * ports_each > 65536:
        raise ServiceUsageError(
            f"--source-port {work.source_port} leaves no room: {work.count} names take {ports_each} ports each"
        )

    async def resolve(n: int, name: str) -> list[str]:
        first = None if work.source_port is None else work.source_port + n * ports_each
        return await resolver.addresses(n, name, _RDTYPES[work.family], first)

    return resolve


def _conf(server: str | None) -> ResolvConf:
    """The system's configuration, with `server` in place of its servers where one is given."""
    conf = read_resolv_conf()
    if server is None:
        return conf
    host, port = parse_endpoint(server, DNS_PORT)
    try:
        ipaddress.ip_address(host)
    except ValueError as error:
        raise ServiceUsageError(
            f"--server {server!r} is not an address: write it like 10.77.0.4 or [::1]:5353"
        ) from error
    return replace(conf, servers=((host, port),))
