"""Where a client's target is: its name looked up once, and the lookup journaled."""

import asyncio
import socket

from faultlab_services.errors import ServiceError
from faultlab_services.journal import Journal
from faultlab_services.sockets import Address

Target = tuple[socket.AddressFamily, Address]


async def targets_of(host: str, port: int, kind: socket.SocketKind, journal: Journal) -> list[Target]:
    """Where `host` can be reached, best first (RFC 6724). Raises `ServiceError` when the name has no address."""
    journal.write("lookup", "invoke", name=host)
    try:
        infos = await asyncio.get_running_loop().getaddrinfo(host, port, type=kind)
    except socket.gaierror as error:
        journal.write("lookup", "fail", why=error.strerror, name=host)
        raise ServiceError(f"cannot resolve {host!r}: {error.strerror}") from error
    journal.write("lookup", "ok", name=host, addresses=[info[4][0] for info in infos])
    return [(info[0], info[4]) for info in infos]
