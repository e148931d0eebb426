"""A node's `eth0`, whatever engine is at its other end: quiet, addressed, every neighbour entered by hand."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from lab.engines.flows import EPHEMERAL_PORTS
from lab.runtimes import netlink
from lab.runtimes.base import NodeSpace, Plan

QUEUE = 10_000
"""Frames a device holds while the engine is busy; what does not fit, the kernel drops and counts as `tx_dropped`."""
_QUIET = {
    "ipv6/conf/eth0/addr_gen_mode": "1",  # no link-local address, so no multicast reports in the ledger
    "ipv6/conf/eth0/accept_ra": "0",
    "ipv6/conf/eth0/router_solicitations": "0",
    # RFC 6335's dynamic ports, where no service is: so a flow's name can tell a picked port from a given one.
    "ipv4/ip_local_port_range": f"{EPHEMERAL_PORTS.start} {EPHEMERAL_PORTS.stop - 1}",
    "ipv4/tcp_no_metrics_save": "1",  # one connection's fate must not tune the next
}


def address(space: NodeSpace, plan: Plan) -> None:
    """Bring up lo and an `eth0` that exists already. Call it inside the node's namespace."""
    for name, value in _QUIET.items():
        set_sysctl(name, value)
    netlink.send(_messages(space, plan))


def _messages(space: NodeSpace, plan: Plan) -> list[bytes]:
    lo, eth0 = 1, socket.if_nametoindex("eth0")
    node = space.node
    messages = [
        netlink.link(lo),
        netlink.link(eth0, mac=node.mac, queue=QUEUE),
        netlink.address(eth0, node.ipv4, plan.ipv4_prefix),
        netlink.address(eth0, node.ipv6, plan.ipv6_prefix),
    ]
    for other in plan.nodes:
        if other != node:
            messages += [netlink.neighbour(eth0, address, other.mac) for address in (other.ipv4, other.ipv6)]
    return messages


def set_sysctl(name: str, value: str) -> None:
    """Write `/proc/sys/net/NAME` of the current network namespace."""
    fd = os.open(f"/proc/sys/net/{name}", os.O_WRONLY)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)


def lost_before_engine(space: NodeSpace) -> int:
    """Frames that eth0 lost before the engine could have them (proc_net_dev(5), `tx_dropped`)."""
    with space.inside(), Path("/proc/thread-self/net/dev").open() as file:
        for line in file:
            name, _, counts = line.partition(":")
            if name.strip() == "eth0":
                return int(counts.split()[11])
    return 0
