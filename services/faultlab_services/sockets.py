"""Sockets for IPv4 and IPv6 alike: listening, naming and sizing them."""

import ipaddress
import os
import socket
from collections.abc import Sequence
from typing import Any

from faultlab_services.errors import ServiceError, ServiceUsageError

RECEIVE_BUFFER_BYTES = 8 << 20
BACKLOG = 1024

Address = tuple[Any, ...]
"""A socket address as the socket module gives it: (host, port) or (host, port, flow, scope)."""


def parse_endpoint(text: str, default_port: int | None = None) -> tuple[str, int]:
    """`host:port`, `192.0.2.1:53` or `[2001:db8::1]:53`; the port may be left out where there is a default."""
    host, port = _split_endpoint(text)
    if not port and default_port is not None:
        return host, default_port
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise ServiceUsageError(f"{text!r} is not HOST:PORT: write it like tcp-server:8080 or [::1]:8080")
    return host, int(port)


def _split_endpoint(text: str) -> tuple[str, str]:
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        return host, rest.removeprefix(":")
    if text.count(":") > 1:
        return text, ""
    host, _, port = text.partition(":")
    return host, port


def endpoint_text(address: Address) -> str:
    """`192.0.2.1:53` or `[2001:db8::1]:53`; an IPv4 peer of a dual-stack socket reads as IPv4."""
    host, port = plain_host(address[0]), address[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def plain_host(host: str) -> str:
    """`::ffff:192.0.2.1` as `192.0.2.1` (RFC 4291 section 2.5.5.2); any other host as it is."""
    return host.removeprefix("::ffff:") if "." in host else host


def reason(error: OSError) -> str:
    """What went wrong, without the address that asyncio adds."""
    return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)


def bound_sockets(kind: socket.SocketKind, binds: Sequence[str], port: int) -> list[socket.socket]:
    """One non-blocking bound socket for each address of `binds`. Raises `ServiceError`, `ServiceUsageError`."""
    return [bound_socket(kind, bind, port, wants_dual_stack(binds)) for bind in binds]


def wants_dual_stack(binds: Sequence[str]) -> bool:
    """Whether `::` is to serve IPv4 too: not when IPv4 has its own socket."""
    return "0.0.0.0" not in binds


def bound_socket(kind: socket.SocketKind, bind: str, port: int, dual_stack: bool) -> socket.socket:
    """A non-blocking socket on one address; with `dual_stack`, `::` serves IPv4 too, or alone where IPv6 is missing."""
    if bind == "::" and dual_stack and not _has_ipv6():
        bind = "0.0.0.0"
    try:
        version = ipaddress.ip_address(bind).version
    except ValueError:
        raise ServiceUsageError(f"--bind {bind!r} is not an address: write it like 0.0.0.0 or ::1") from None
    family = socket.AF_INET6 if version == 6 else socket.AF_INET
    sock = _socket(family, kind)
    try:
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if version == 6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not dual_stack)
        sock.setblocking(False)
        sock.bind((bind, port))
    except OSError as error:
        sock.close()
        where = endpoint_text((bind, port))
        raise ServiceError(f"cannot listen on {where}: {error.strerror}") from error
    return sock


def _socket(family: socket.AddressFamily, kind: socket.SocketKind) -> socket.socket:
    """Names the protocol: asyncio sets TCP_NODELAY only on sockets that say they are TCP."""
    return socket.socket(family, kind, socket.IPPROTO_TCP if kind == socket.SOCK_STREAM else socket.IPPROTO_UDP)


def _has_ipv6() -> bool:
    """Whether an IPv6 socket can be bound: kernels built or booted without IPv6 exist."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::", 0))
    except OSError:
        return False
    return True


def enlarge_receive_buffer(sock: socket.socket) -> None:
    """Room for a burst: past net.core.rmem_max where this process may, else up to it (socket(7))."""
    so_rcvbufforce = 33
    try:
        sock.setsockopt(socket.SOL_SOCKET, so_rcvbufforce, RECEIVE_BUFFER_BYTES)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)


def client_socket(family: socket.AddressFamily, kind: socket.SocketKind, source_port: int | None) -> socket.socket:
    """A non-blocking socket to send from, bound to `source_port` where one is given. Raises `OSError`."""
    sock = _socket(family, kind)
    try:
        sock.setblocking(False)
        if source_port is not None:
            if kind == socket.SOCK_STREAM:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", source_port))
    except OSError:
        sock.close()
        raise
    return sock
