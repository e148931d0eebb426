"""The plug in a node's network namespace: orders in, answers out, and the node as it was when the hub is gone."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faultlab.kernel import node_device
from faultlab.runtimes import control
from faultlab.runtimes.compose import plug

SECONDS = 20.0
NO_DEVICE = "nosuchdevice0"


class Meeting:
    """The hub's side: a meeting point, and one plug after another that comes there."""

    def __init__(self, point: Path) -> None:
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._server.bind(str(point))
        self._server.listen(1)
        self._server.settimeout(SECONDS)

    def meet(self) -> Peer:
        channel, _ = self._server.accept()
        channel.settimeout(SECONDS)
        return Peer(channel)

    def close(self) -> None:
        self._server.close()


class Peer:
    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel
        self.node = self._hear()[0]["node"]

    def _hear(self) -> tuple[dict[str, Any], list[int]]:
        answer, fds = control.receive(self.channel)
        assert answer is not None
        return answer, fds

    def ask(self, do: str, **order: Any) -> dict[str, Any]:
        answer, fds = self.ask_for_fds(do, **order)
        assert fds == []
        return answer

    def ask_for_fds(self, do: str, **order: Any) -> tuple[dict[str, Any], list[int]]:
        self.channel.send(json.dumps({"do": do, **order}).encode())
        return self._hear()


class Running:
    """A plug at work. `ended` is what ended it."""

    def __init__(self) -> None:
        self.ended: BaseException | None = None
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        try:
            plug.Plug("a").serve()
        except BaseException as error:  # noqa: BLE001 - it is the test's to judge
            self.ended = error

    def await_end(self) -> BaseException | None:
        self._thread.join(SECONDS)
        return self.ended


@pytest.fixture
def resolver(tmp_path: Path) -> Path:
    file = tmp_path / "resolv.conf"
    file.write_text("nameserver 127.0.0.11\n")
    return file


@pytest.fixture
def meeting(tmp_path: Path, resolver: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Meeting]:
    """Before and after a test, a plug that is still there finds that its node is gone."""
    monkeypatch.setattr(plug, "MEETING_POINT", str(tmp_path / "hub"))
    monkeypatch.setattr(plug, "_RESOLVER", resolver)
    monkeypatch.setattr(plug, "OWN_DEVICE", "lo")
    monkeypatch.setattr(plug, "LOOK_SECONDS", 0.01)
    meeting = Meeting(tmp_path / "hub")
    running = Running()
    yield meeting
    monkeypatch.setattr(plug, "OWN_DEVICE", NO_DEVICE)
    meeting.close()
    assert isinstance(running.await_end(), plug.NodeGone)


def test_it_says_whose_it_is_and_comes_again_when_the_hub_went(meeting: Meeting) -> None:
    for _ in range(2):
        peer = meeting.meet()
        assert peer.node == "a"
        peer.channel.close()


def test_the_nodes_name_service_is_the_labs_until_the_hub_is_gone(meeting: Meeting, resolver: Path) -> None:
    peer = meeting.meet()
    for address in ("10.0.0.3", "10.0.0.4"):
        assert peer.ask("resolver", text=f"nameserver {address}\n") == {"ok": True}
        assert resolver.read_text() == f"nameserver {address}\n"
    peer.channel.close()
    meeting.meet().channel.close()  # it comes again only when it has put back what it found
    assert resolver.read_text() == "nameserver 127.0.0.11\n"


def test_what_listens_is_looked_up_in_its_own_namespace(meeting: Meeting) -> None:
    peer = meeting.meet()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = f"tcp/{server.getsockname()[1]}"
        assert peer.ask("await-ports", ports=[port], within=SECONDS) == {"missing": {}}
    missing = peer.ask("await-ports", ports=[port, "udp/1"], within=0.05)["missing"]
    assert sorted(missing) == sorted([port, "udp/1"])


def test_nothing_is_awaited_of_a_node_that_is_gone(meeting: Meeting, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container killed as its lab comes up: whoever waits for its port hears at once."""
    peer = meeting.meet()
    peer.channel.send(json.dumps({"do": "await-ports", "ports": ["udp/1"], "within": SECONDS}).encode())
    monkeypatch.setattr(plug, "OWN_DEVICE", NO_DEVICE)
    assert peer.channel.recv(1) == b""


def test_a_cable_goes_to_the_hub_and_is_kept_nowhere_else(meeting: Meeting, monkeypatch: pytest.MonkeyPatch) -> None:
    def laid(device: str) -> int:
        return os.memfd_create(device)

    monkeypatch.setitem(node_device.CABLES, "string", laid)
    peer = meeting.meet()
    before = open_descriptors()
    for _ in range(3):
        answer, (fd,) = peer.ask_for_fds("lay", cable="string", device="lab0")
        assert answer == {"ok": True}
        assert "lab0" in str(Path(f"/proc/self/fd/{fd}").readlink())
        os.close(fd)
    peer.ask("index", device="lo")  # its last answer is out, and so are its own descriptors closed
    assert open_descriptors() == before


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("kernel_has_ipv6", [True, False])
def test_a_node_without_ipv6_is_told_with_a_fix(
    kernel_has_ipv6: bool, meeting: Meeting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plug, "_IPV6", tmp_path if kernel_has_ipv6 else tmp_path / "none")
    monkeypatch.setattr(node_device, "sysctl", {"ipv6/conf/lo/disable_ipv6": "1"}.__getitem__)
    answer = meeting.meet().ask("carry-out", device="lo", messages=[])
    assert "IPv6 is off in node a" in answer["error"] and "disable_ipv6" in answer["fix"]


def test_what_the_kernel_refuses_is_said_and_it_goes_on(meeting: Meeting) -> None:
    peer = meeting.meet()
    assert peer.ask("index", device=NO_DEVICE)["error"].startswith("a: ")
    assert peer.ask("dance") == {"error": "no such order: dance"}
    assert peer.ask("index", device="lo") == {"index": socket.if_nametoindex("lo")}
