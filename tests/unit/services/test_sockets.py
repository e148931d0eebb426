import asyncio
import socket

import pytest
from faultlab_services.errors import ServiceUsageError
from faultlab_services.sockets import bound_sockets, client_socket, endpoint_text, parse_endpoint


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("tcp-server:8080", ("tcp-server", 8080)),
        ("192.0.2.1:53", ("192.0.2.1", 53)),
        ("[2001:db8::1]:53", ("2001:db8::1", 53)),
    ],
)
def test_endpoints(text: str, endpoint: tuple[str, int]) -> None:
    assert parse_endpoint(text) == endpoint
    assert endpoint_text(endpoint) == text


@pytest.mark.parametrize("text", ["192.0.2.1", "2001:db8::1", "[2001:db8::1]"])
def test_a_default_port(text: str) -> None:
    assert parse_endpoint(text, 53) == (text.strip("[]"), 53)


@pytest.mark.parametrize("text", ["", "host", ":80", "host:", "host:http", "host:65536", "::1", "[::1]", "host:١"])
def test_what_is_no_endpoint(text: str) -> None:
    with pytest.raises(ServiceUsageError, match="is not HOST:PORT"):
        parse_endpoint(text)


def test_an_ipv4_peer_of_a_dual_stack_socket_reads_as_ipv4() -> None:
    assert endpoint_text(("::ffff:192.0.2.1", 80, 0, 0)) == "192.0.2.1:80"


def test_where_ipv6_is_missing_ipv4_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("faultlab_services.sockets._has_ipv6", lambda: False)
    [sock] = bound_sockets(socket.SOCK_DGRAM, ["::"], 0)
    with sock:
        assert sock.family == socket.AF_INET


def test_small_messages_leave_at_once_on_both_sides() -> None:
    """asyncio sets TCP_NODELAY only on sockets that name their protocol; without it each answer may wait 40 ms."""
    accepted: list[bool] = []

    def undelayed(writer: asyncio.StreamWriter) -> bool:
        return bool(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.append(undelayed(writer))
        writer.close()

    async def main() -> bool:
        [listener] = bound_sockets(socket.SOCK_STREAM, ["127.0.0.1"], 0)
        async with await asyncio.start_server(accept, sock=listener):
            sock = client_socket(socket.AF_INET, socket.SOCK_STREAM, None)
            await asyncio.get_running_loop().sock_connect(sock, listener.getsockname())
            reader, writer = await asyncio.open_connection(sock=sock)
            await reader.read()
            connected = undelayed(writer)
            writer.close()
            return connected

    assert asyncio.run(main())
    assert accepted == [True]
