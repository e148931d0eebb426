"""The plug: the sidecar in a node's network namespace that joins the node to the hub of its Compose lab.

    python -m faultlab.runtimes.compose.plug NODE

It needs NET_ADMIN and nothing else. The hub says what to do (`faultlab.runtimes.compose.hub`), over a Unix socket on a
volume that both see: make the node's end of its cable and hand its descriptor over, carry out netlink messages, read
counts. The plug keeps no descriptor of the cable, so the device is the hub's: when the hub dies, by whatever signal,
the kernel removes the device with every route through it, and the node's network is as it was. Imports are few: it is
to be there at once.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from faultlab.errors import LabFailure
from faultlab.kernel import netlink, node_device
from faultlab.runtimes import control, kernel_drops, listening

MEETING_POINT = "/run/lab/hub"
RETRY_SECONDS = 0.05
PORT_SECONDS = 0.01
OWN_DEVICE = "eth0"
LOOK_SECONDS = 1.0
_RESOLVER = Path("/etc/resolv.conf")
_SIZE = 1 << 17


class NodeGone(Exception):
    """The node's container has ended: what is left here is an empty namespace."""


_IPV6 = Path("/proc/sys/net/ipv6")
_FIX = (
    "set net.ipv6.conf.default.disable_ipv6 to 0 in the sysctls of its service; where the engine's kernel has no IPv6, "
    "give it IPv6, or use --runtime netns"
)


class Plug:
    """Serves one hub after another. A hub's orders are JSON objects, a message each; so are the answers."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._resolver: str | None = None

    def serve(self) -> NoReturn:
        """Until this process is told to end. NodeGone where the node's own device is gone."""
        while True:
            with self._hub() as hub:
                try:
                    hub.send(json.dumps({"node": self._node}).encode())
                    self._obey(hub)
                except ConnectionError:
                    continue  # the hub is gone; it may come again
                finally:
                    self.leave()

    def leave(self) -> None:
        """The node's name service is what it was. (Its routes went with the device.)"""
        if self._resolver is not None:
            _RESOLVER.write_text(self._resolver)
            self._resolver = None

    def _hub(self) -> socket.socket:
        while True:
            _check_node()
            try:
                channel = control.dial(MEETING_POINT)
            except OSError:
                time.sleep(RETRY_SECONDS)
                continue
            channel.settimeout(LOOK_SECONDS)
            return channel

    def _obey(self, hub: socket.socket) -> None:
        while True:
            try:
                data = hub.recv(_SIZE)
            except TimeoutError:
                _check_node()
                continue
            if not data:
                return
            fds: list[int] = []
            try:
                answer = self._carry_out(json.loads(data), fds)
            except OSError as error:
                answer = {"error": f"{self._node}: {error}", "errno": error.errno}
            try:
                socket.send_fds(hub, [json.dumps(answer).encode()], fds)
            finally:
                for fd in fds:
                    os.close(fd)

    def _carry_out(self, order: Mapping[str, Any], fds: list[int]) -> dict[str, Any]:
        match order["do"]:
            case "lay":
                fds.append(node_device.CABLES[order["cable"]](order["device"]))
            case "index":
                return {"index": socket.if_nametoindex(order["device"])}
            case "carry-out":
                if not _IPV6.exists() or node_device.sysctl(f"ipv6/conf/{order['device']}/disable_ipv6") != "0":
                    return {"error": f"IPv6 is off in node {self._node}, and each node of a lab has IPv6", "fix": _FIX}
                node_device.turn_offloads_off(order["device"])
                netlink.send([bytes.fromhex(message) for message in order["messages"]])
            case "resolver":
                self._resolve_with(order["text"])
            case "await-ports":
                return {"missing": _await_ports(order["ports"], order.get("reach", ()), order["within"])}
            case "call":
                return _call(order)
            case "kernel-drops":
                return {"dropped": kernel_drops.counted()}
            case "lost":
                return {"lost": node_device.lost_before_engine(order["device"])}
            case unknown:
                return {"error": f"no such order: {unknown}"}
        return {"ok": True}

    def _resolve_with(self, text: str) -> None:
        """Docker shares this one file between the containers of a network namespace: it is the node's too."""
        if self._resolver is None:
            self._resolver = _RESOLVER.read_text()
        _RESOLVER.write_text(text)


def _call(order: Mapping[str, Any]) -> dict[str, Any]:
    from faultlab.engines.toxiproxy import call_here  # only here: it is waited for by nobody until now

    try:
        return call_here(order["method"], order["path"], order["body"])
    except LabFailure as error:
        return {"error": str(error)}


def _check_node() -> None:
    try:
        socket.if_nametoindex(OWN_DEVICE)
    except OSError as error:
        raise NodeGone from error


def _await_ports(ports: Sequence[str], reach: Sequence[Sequence[str]], seconds: float) -> dict[str, str]:
    """Until all of them listen in this namespace, or they won't; then, why each that does not. NodeGone."""
    patience = listening.ListenDeadline(seconds)
    while True:
        missing = listening.troubles(ports, reach)
        if patience.ends(missing):
            return missing
        _check_node()
        time.sleep(PORT_SECONDS)


def main() -> None:
    plug = Plug(sys.argv[1])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        plug.serve()
    except NodeGone:
        sys.exit(f"plug: {sys.argv[1]} is gone: its network namespace has no {OWN_DEVICE}")
    finally:
        plug.leave()


if __name__ == "__main__":
    main()
