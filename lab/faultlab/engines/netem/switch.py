"""A kernel bridge with a veth pair to every node, and on each port the HTB root that netem qdiscs hang in."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence

from faultlab.engines.interface import Cable
from faultlab.engines.netem import messages
from faultlab.kernel import netlink, node_device

BRIDGE = "lab"


def port(number: int) -> str:
    """The bridge's end of the pair to node `number`."""
    return f"port{number}"


def build(ends: Sequence[Cable]) -> None:
    """Bridge and pairs, the bridge in the current namespace, the other ends in the nodes'. OSError.

    The cables' descriptors are closed: nothing here may keep a node's namespace alive.
    """
    for scope in ("all", "default"):
        _keep_silent(scope)
    pairs = [messages.veth(port(number), end.fd, end.device, end.node.mac) for number, end in enumerate(ends)]
    netlink.send([messages.bridge(BRIDGE), *pairs])
    bridge = socket.if_nametoindex(BRIDGE)
    for number, end in enumerate(ends):
        os.close(end.fd)
        index = socket.if_nametoindex(port(number))
        node_device.turn_offloads_off(port(number))
        netlink.send(
            [
                messages.enslave(index, bridge),
                messages.closed_port(index),
                messages.owner(index, end.node.mac),
                messages.htb(index, node_device.QUEUE),
            ]
        )


def _keep_silent(scope: str) -> None:
    """The bridge itself is to say nothing. In a container /proc/sys is for reading: there Compose has set it."""
    try:
        node_device.set_sysctl(f"ipv6/conf/{scope}/disable_ipv6", "1")
    except OSError:
        if node_device.sysctl(f"ipv6/conf/{scope}/disable_ipv6") != "1":
            raise
