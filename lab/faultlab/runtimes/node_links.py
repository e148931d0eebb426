"""The netlink messages that make a node's device part of the lab, whatever engine is at its other end.

pyroute2 encodes them; they go out in one batch (`faultlab.kernel.netlink`), because its call-by-call interface costs 20
ms a node. Every neighbour is entered by hand, and the device is kept quiet.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from typing import Any

from pyroute2.netlink.rtnl import RTM_NEWADDR, RTM_NEWLINK, RTM_NEWNEIGH, RTM_NEWROUTE
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from faultlab.kernel.node_device import QUEUE
from faultlab.network.topology import EPHEMERAL_PORTS, Node

_LOOPBACK = 1
_REQUEST, _ACK, _REPLACE, _CREATE = 0x1, 0x4, 0x100, 0x400
_IFF_UP, _IFF_NOARP = 0x1, 0x80
_NUD_PERMANENT = 0x80
_IFA_F_NODAD = 0x02
_MAIN, _BOOT, _UNICAST, _LINK_SCOPE = 254, 3, 1, 253


def quiet(device: str) -> Mapping[str, str]:
    """`/proc/sys/net/...` of a node: nothing but the applications speaks on its device."""
    return {
        f"ipv6/conf/{device}/addr_gen_mode": "1",  # no link-local address, so no multicast reports in the ledger
        f"ipv6/conf/{device}/accept_ra": "0",
        f"ipv6/conf/{device}/router_solicitations": "0",
        # RFC 6335's dynamic ports, where no service is: so a flow's name can tell a picked port from a given one.
        "ipv4/ip_local_port_range": f"{EPHEMERAL_PORTS.start} {EPHEMERAL_PORTS.stop - 1}",
        "ipv4/tcp_no_metrics_save": "1",  # one connection's fate must not tune the next
    }


def of_its_own(index: int, node: Node, nodes: Sequence[Node], prefixes: tuple[int, int]) -> list[bytes]:
    """Loopback, and device `index` as the node's only one: it has the node's addresses."""
    return [
        link(_LOOPBACK),
        link(index, mac=node.mac, queue=QUEUE),
        address(index, node.ipv4, prefixes[0]),
        address(index, node.ipv6, prefixes[1]),
        *_neighbours(index, node, nodes),
    ]


def beside_another(index: int, node: Node, nodes: Sequence[Node]) -> list[bytes]:
    """Device `index` in a node whose other device has its addresses: the way to the other nodes while it is there.

    When the kernel removes the device, these routes go with it, and what was the way before is the way again.
    """
    routes = [
        route(index, there, here)
        for other in nodes
        if other != node
        for there, here in ((other.ipv4, node.ipv4), (other.ipv6, node.ipv6))
    ]
    return [link(index, mac=node.mac, queue=QUEUE), *_neighbours(index, node, nodes), *routes]


def _neighbours(index: int, node: Node, nodes: Sequence[Node]) -> list[bytes]:
    return [
        neighbour(index, there, other.mac) for other in nodes if other != node for there in (other.ipv4, other.ipv6)
    ]


def link(index: int, *, mac: str | None = None, queue: int | None = None, mtu: int | None = None) -> bytes:
    """Bring a device up; NOARP where it has a MAC, because every neighbour is entered by hand.

    So no ARP, no neighbour or router solicitation, no duplicate address detection and no multicast report ever
    crosses the wire: what a ledger holds is the applications' traffic alone.
    """
    flags = _IFF_UP | (_IFF_NOARP if mac else 0)
    attributes = [("IFLA_ADDRESS", mac), ("IFLA_TXQLEN", queue), ("IFLA_MTU", mtu)]
    given = [(name, value) for name, value in attributes if value is not None]
    fields = {"family": socket.AF_UNSPEC, "index": index, "flags": flags, "change": flags}
    return _encode(ifinfmsg, RTM_NEWLINK, 0, fields, given)


def address(index: int, text: str, prefix: int) -> bytes:
    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    attributes: list[tuple[str, object]] = [("IFA_ADDRESS", text), ("IFA_LOCAL", text)]
    if family == socket.AF_INET6:
        attributes = [("IFA_ADDRESS", text), ("IFA_FLAGS", _IFA_F_NODAD)]
    fields = {"family": family, "prefixlen": prefix, "flags": 0, "scope": 0, "index": index}
    return _encode(ifaddrmsg, RTM_NEWADDR, _CREATE | _REPLACE, fields, attributes)


def neighbour(index: int, text: str, mac: str) -> bytes:
    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    fields = {"family": family, "ifindex": index, "state": _NUD_PERMANENT}
    return _encode(ndmsg, RTM_NEWNEIGH, _CREATE | _REPLACE, fields, [("NDA_DST", text), ("NDA_LLADDR", mac)])


def route(index: int, to: str, source: str) -> bytes:
    """To one host, past the network's own route, because the longer prefix wins (RFC 1812, 5.2.4.3)."""
    family, bits = (socket.AF_INET6, 128) if ":" in to else (socket.AF_INET, 32)
    fields = {"family": family, "dst_len": bits, "table": _MAIN, "proto": _BOOT, "type": _UNICAST}
    fields["scope"] = _LINK_SCOPE if family == socket.AF_INET else 0
    attributes = [("RTA_DST", to), ("RTA_OIF", index), ("RTA_PREFSRC", source)]
    return _encode(rtmsg, RTM_NEWROUTE, _CREATE | _REPLACE, fields, attributes)


def _encode(kind: Any, number: int, flags: int, fields: dict[str, int], attributes: list[Any]) -> bytes:
    message = kind()
    for name, value in fields.items():
        message[name] = value
    message["attrs"] = attributes
    message["header"]["type"] = number
    message["header"]["flags"] = _REQUEST | _ACK | flags
    message.encode()
    return bytes(message.data)
