"""A kernel bridge with a veth pair to every node, and on each port the HTB root that netem qdiscs hang in."""

from __future__ import annotations

import ctypes
import errno
import socket
from collections.abc import Sequence
from fcntl import ioctl
from struct import pack

from lab.engines import links
from lab.engines.netem import messages
from lab.runtimes import netlink
from lab.runtimes.base import NodeSpace, Plan

BRIDGE = "lab"
_SIOCETHTOOL = 0x8946
_OFFLOADS = {
    "receive checksum": 0x15,
    "transmit checksum": 0x17,
    "scatter-gather": 0x19,
    "TSO": 0x1F,
    "GSO": 0x24,
    "GRO": 0x2C,
}
"""ETHTOOL_S... commands (linux/ethtool.h): with any of these on, a frame may be 64 KiB, or lack its checksum."""


def port(number: int) -> str:
    """The bridge's end of the pair to node `number`."""
    return f"port{number}"


def build(spaces: Sequence[NodeSpace], plan: Plan) -> None:
    """Bridge and pairs, the bridge in the current namespace; every node's eth0 up and addressed. OSError."""
    for scope in ("all", "default"):
        links.set_sysctl(f"ipv6/conf/{scope}/disable_ipv6", "1")  # the bridge itself is to say nothing
    pairs = [messages.veth(port(number), space.fd, space.node.mac) for number, space in enumerate(spaces)]
    netlink.send([messages.bridge(BRIDGE), *pairs])
    bridge = socket.if_nametoindex(BRIDGE)
    for number, space in enumerate(spaces):
        index = socket.if_nametoindex(port(number))
        _turn_offloads_off(port(number))
        netlink.send(
            [
                messages.enslave(index, bridge),
                messages.closed_port(index),
                messages.owner(index, space.node.mac),
                messages.htb(index, links.QUEUE),
            ]
        )
        with space.inside():
            _turn_offloads_off("eth0")
            links.address(space, plan)


def _turn_offloads_off(device: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for command in _OFFLOADS.values():
            value = ctypes.create_string_buffer(pack("=II", command, 0))
            try:
                ioctl(any_socket, _SIOCETHTOOL, pack("16sP16x", device.encode(), ctypes.addressof(value)))
            except OSError as error:
                if error.errno != errno.EOPNOTSUPP:  # an offload that the device doesn't have is off
                    raise
