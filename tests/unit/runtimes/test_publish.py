"""Labs that start at the same moment all get ports of the host's 127.0.0.1."""

from __future__ import annotations

import socket

import pytest
from faultlab.network.topology import Network
from faultlab.runtimes.netns.runtime import publish

NODES = Network().nodes(["client"])


def shared() -> socket.socket:
    end = socket.socket()
    end.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return end


def test_a_port_that_another_takes_between_bind_and_listen_is_not_fatal(monkeypatch: pytest.MonkeyPatch) -> None:
    """socket(7): two may bind one port with SO_REUSEADDR; the second to listen is refused."""
    with shared() as other:
        other.bind(("127.0.0.1", 0))  # and listens when the lab is about to
        wished = other.getsockname()[1]
        listen = socket.socket.listen

        def after_the_other(end: socket.socket, backlog: int) -> None:
            listen(other, backlog)
            listen(end, backlog)

        monkeypatch.setattr(socket.socket, "listen", after_the_other)
        publications, (end,) = publish([("tcp", wished, "client", "localhost", 1)], NODES)
        with end:
            assert publications[0].host_port == end.getsockname()[1] != wished


def test_a_port_that_is_free_is_the_one_wished() -> None:
    with shared() as other:
        other.bind(("127.0.0.1", 0))
        wished = other.getsockname()[1]
    publications, (end,) = publish([("tcp", wished, "client", "localhost", 1)], NODES)
    with end:
        assert publications[0].host_port == wished
