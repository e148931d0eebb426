"""Who listens where in the current network namespace, and whether other nodes reach it. Light: sidecars import it."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from struct import Struct, pack

_TABLES = ("tcp", "tcp6", "udp", "udp6")
_LISTEN, _UNCONNECTED = 10, 7
"""States of a listening TCP socket and of a UDP socket without a peer (include/net/tcp_states.h)."""
_NETLINK_SOCK_DIAG, _SOCK_DIAG_BY_FAMILY, _REQUEST_DUMP, _NLMSG_DONE, _NLMSG_ERROR = 4, 20, 0x301, 3, 2
_HEADER, _ATTRIBUTE = Struct("=IHHII"), Struct("=HH")
_DIAG_MESSAGE_BYTES = 72
_SKV6ONLY = 11
_WRONGLY = "listens only on "
CERTAIN_SECONDS = 2.0
"""A port that was listened on so long, and never where it is asked, stays so: a server opens its sockets together."""


@dataclass(frozen=True)
class Listener:
    """A TCP listener or a bound UDP socket; `port` is such as `tcp/8080`."""

    port: str
    address: str
    ipv6_only: bool = False

    def __str__(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host}:{self.port.partition('/')[2]}{' (IPv6 alone)' if self.ipv6_only else ''}"

    def serves(self, address: str) -> bool:
        """Whether what is sent to this address of its node comes to it (ipv6(7): `::` serves IPv4 too by default)."""
        if ":" in address:
            return self.address in ("::", address)
        return self.address.removeprefix("::ffff:") in ("0.0.0.0", address) or (
            self.address == "::" and not self.ipv6_only
        )


def listeners() -> list[Listener]:
    """Of the current network namespace (/proc/net/tcp; sock_diag(7) for what that does not tell of `::`)."""
    found = []
    for table in _TABLES:
        file = Path(f"/proc/thread-self/net/{table}")
        for line in file.read_text().splitlines()[1:] if file.exists() else ():
            fields = line.split()
            if table.startswith("udp") or int(fields[3], 16) == _LISTEN:
                host, _, port = fields[1].partition(":")
                found.append(Listener(f"{table[:3]}/{int(port, 16)}", _address(host)))
    only = _ipv6_only() if any(one.address == "::" for one in found) else set()  # asked last: it knows them all
    return [replace(one, ipv6_only=(one.port, one.address) in only) for one in found]


def troubles(ports: Sequence[str], reach: Sequence[Sequence[str]]) -> dict[str, str]:
    """Why those of `ports` are not served that are not: each is to be reached at one address of each group of `reach`.

    The words go behind the server's name.
    """
    there = listeners()
    why = {}
    for port in ports:
        here = [one for one in there if one.port == port]
        missed = [group for group in reach if not any(one.serves(address) for one in here for address in group)]
        if not here:
            others = sorted({f"{one.port.partition('/')[0]} {one}" for one in there})
            why[port] = f"does not listen on {port}" + (f", but on {', '.join(others)}" if others else "")
        elif missed:
            wildcards = {"::" if ":" in address else "0.0.0.0" for address in missed[0]}
            wanted = " or ".join([*sorted(wildcards), *missed[0]])
            places = ", ".join(sorted({str(one) for one in here}))
            asked = " or ".join(missed[0])
            why[port] = f"{_WRONGLY}{places}, and is asked at {asked}; it must listen on {wanted}"
    return why


class ListenDeadline:
    """How long a server's ports are waited for; times in seconds of time.monotonic()."""

    def __init__(self, seconds: float, now: float | None = None) -> None:
        self.began = time.monotonic() if now is None else now
        self._end = self.began + seconds
        self._wrong_since: dict[str, float] = {}

    def ends(self, why: Mapping[str, str], now: float | None = None) -> bool:
        """Whether to wait no longer after `troubles` said this: nothing is missing, time is over, or it stays so."""
        now = time.monotonic() if now is None else now
        wrong = [text for text in why.values() if text.startswith(_WRONGLY)]
        self._wrong_since = {text: self._wrong_since.get(text, now) for text in wrong}
        return not why or now > self._end or any(now - since > CERTAIN_SECONDS for since in self._wrong_since.values())


def _address(text: str) -> str:
    """The kernel prints each 32 bits of an address as a number of its own byte order."""
    words = [int(text[at : at + 8], 16) for at in range(0, len(text), 8)]
    return socket.inet_ntop(socket.AF_INET6 if len(words) > 1 else socket.AF_INET, pack(f"={len(words)}I", *words))


def _ipv6_only() -> set[tuple[str, str]]:
    """Sockets with IPV6_V6ONLY, as (port, address); none where the kernel has no sock_diag(7)."""
    found = set()
    for name, protocol, state in (("tcp", socket.IPPROTO_TCP, _LISTEN), ("udp", socket.IPPROTO_UDP, _UNCONNECTED)):
        request = pack("=BBBBI48x", socket.AF_INET6, protocol, 0, 0, 1 << state)
        header = _HEADER.pack(_HEADER.size + len(request), _SOCK_DIAG_BY_FAMILY, _REQUEST_DUMP, 0, 0)
        try:
            with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as channel:
                channel.send(header + request)
                found |= {(f"{name}/{port}", address) for port, address in _marked(channel)}
        except OSError:
            continue
    return found


def _marked(channel: socket.socket) -> list[tuple[int, str]]:
    """(port, address) of those of a dump's sockets that are for IPv6 alone."""
    found: list[tuple[int, str]] = []
    while True:
        data = channel.recv(1 << 18)
        while data:
            size, kind, *_ = _HEADER.unpack_from(data)
            if kind in (_NLMSG_DONE, _NLMSG_ERROR):
                return found
            message, data = data[_HEADER.size : size], data[(size + 3) & ~3 :]
            at = _DIAG_MESSAGE_BYTES
            while at + _ATTRIBUTE.size <= len(message):
                length, attribute = _ATTRIBUTE.unpack_from(message, at)
                if attribute == _SKV6ONLY and message[at + _ATTRIBUTE.size]:
                    address = socket.inet_ntop(socket.AF_INET6, message[8:24])
                    found.append((int.from_bytes(message[4:6], "big"), address))
                at += max((length + 3) & ~3, _ATTRIBUTE.size)
