"""Whether other nodes reach a listener, of real sockets; and what its user is told where they do not."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from faultlab.network.plan import Plan, Service
from faultlab.network.topology import Node
from faultlab.runtimes import listening

NODE = Node("server", "02:1a:b0:00:00:07", "10.77.0.7", "fd77:1ab::7")
V4, V6 = [NODE.ipv4], [NODE.ipv6]


@pytest.fixture(params=["tcp", "udp"])
def kind(request: pytest.FixtureRequest) -> socket.SocketKind:
    return socket.SOCK_STREAM if request.param == "tcp" else socket.SOCK_DGRAM


@pytest.fixture
def open_sockets() -> Iterator[list[socket.socket]]:
    sockets: list[socket.socket] = []
    yield sockets
    for one in sockets:
        one.close()


def listen(kind: socket.SocketKind, host: str, v6only: bool, opened: list[socket.socket]) -> str:
    """A socket of the test's own; its port as a plan says it."""
    one = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind)
    opened.append(one)
    if ":" in host:
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, v6only)
    one.bind((host, 0))
    if kind == socket.SOCK_STREAM:
        one.listen()
    return f"{'tcp' if kind == socket.SOCK_STREAM else 'udp'}/{one.getsockname()[1]}"


@pytest.mark.parametrize(
    ("host", "v6only", "reached"),
    [
        ("0.0.0.0", False, [4]),
        ("127.0.0.1", False, []),
        ("::", False, [4, 6]),
        ("::", True, [6]),
        ("::1", False, []),
        ("::ffff:127.0.0.1", False, []),
        ("::ffff:0.0.0.0", False, [4]),
    ],
)
def test_where_it_listens_says_who_reaches_it(
    host: str, v6only: bool, reached: list[int], kind: socket.SocketKind, open_sockets: list[socket.socket]
) -> None:
    port = listen(kind, host, v6only, open_sockets)
    for family, address in ((4, V4), (6, V6)):
        assert (not listening.troubles([port], [address])) == (family in reached), family
    assert (not listening.troubles([port], [[*V4, *V6]])) == bool(reached)
    assert not listening.troubles([port], [])  # whoever asks for no address is content with any


def test_an_address_of_the_node_itself_will_do(kind: socket.SocketKind, open_sockets: list[socket.socket]) -> None:
    port = listen(kind, "127.0.0.1", False, open_sockets)
    assert not listening.troubles([port], [["127.0.0.1"]])


def test_what_is_told(open_sockets: list[socket.socket]) -> None:
    local = listen(socket.SOCK_STREAM, "127.0.0.1", False, open_sockets)
    only = listen(socket.SOCK_DGRAM, "::", True, open_sockets)
    told = listening.troubles([local, only, "tcp/1"], [V4])
    number = {port: port.partition("/")[2] for port in told}
    asked = "and is asked at 10.77.0.7; it must listen on 0.0.0.0 or 10.77.0.7"
    assert told[local] == f"listens only on 127.0.0.1:{number[local]}, {asked}"
    assert told[only] == f"listens only on [::]:{number[only]} (IPv6 alone), {asked}"
    assert told["tcp/1"].startswith("does not listen on tcp/1, but on ")
    assert f"tcp 127.0.0.1:{number[local]}" in told["tcp/1"]


def test_a_wrong_listener_is_told_once_it_is_certain_and_one_that_is_late_never_early() -> None:
    wrong, none = (
        "listens only on 127.0.0.1:9, and is asked at 10.77.0.7",
        "does not listen on tcp/9, but on tcp 0.0.0.0:8",
    )

    def told(steps: list[tuple[float, str]]) -> float | None:
        patience = listening.ListenDeadline(20.0, now=0.0)
        return next((at for at, text in steps if patience.ends({"tcp/9": text} if text else {}, at)), None)

    assert told([(at / 10, wrong) for at in range(300)]) == pytest.approx(listening.CERTAIN_SECONDS + 0.1)
    assert told([(at / 10, none) for at in range(300)]) == pytest.approx(20.1)
    assert told([(0.0, none), (1.0, wrong), (2.9, wrong), (2.95, "")]) == 2.95, "a second socket, soon enough"
    assert told([(0.0, wrong), (1.5, none), (2.1, wrong), (4.0, wrong), (4.2, wrong)]) == 4.2


@pytest.mark.parametrize(
    ("families", "reach"), [(None, []), ((), [[*V4, *V6]]), ((4,), [V4]), ((6,), [V6]), ((4, 6), [V4, V6])]
)
def test_a_service_is_reached_as_its_clients_ask(families: tuple[int, ...] | None, reach: list[list[str]]) -> None:
    service = Service("server", "server", ("./mine",), ("tcp/9000",), families, 5.0)
    assert service.reach([NODE]) == reach
    plan = Plan("a", "wire", 0, (NODE,), 24, 64, (service,), (), -1, -1, None)
    assert Plan.from_json(plan.to_json()) == plan
    told = service.not_up({"tcp/9000": "does not listen on tcp/9000"}, 5.0)
    assert told.startswith("server does not listen on tcp/9000 (5.0 s after its start)")
    assert ("ready: {within: 60s}" in told) == (families is not None)
