"""Sets up a node's devices with few, large netlink messages (rtnetlink(7)).

pyroute2 encodes the messages; they go out in one batch, because its call-by-call interface costs 20 ms a node.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterable
from struct import Struct
from typing import Any

from pyroute2.netlink.rtnl import RTM_NEWADDR, RTM_NEWLINK, RTM_NEWNEIGH
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg

_REQUEST, _ACK, _REPLACE, _CREATE = 0x1, 0x4, 0x100, 0x400
_NETLINK_ROUTE = 0
_NLMSG_ERROR = 2
_IFF_UP, _IFF_NOARP = 0x1, 0x80
_NUD_PERMANENT = 0x80
_IFA_F_NODAD = 0x02
_HEADER = Struct("=IHHII")


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


def _encode(kind: Any, number: int, flags: int, fields: dict[str, int], attributes: list[Any]) -> bytes:
    message = kind()
    for name, value in fields.items():
        message[name] = value
    message["attrs"] = attributes
    message["header"]["type"] = number
    message["header"]["flags"] = _REQUEST | _ACK | flags
    message.encode()
    return bytes(message.data)


def send(messages: Iterable[bytes]) -> None:
    """Carry out all messages in the current network namespace; OSError for the first that the kernel refused."""
    batch = list(messages)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_ROUTE) as channel:
        channel.bind((0, 0))
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        for start in range(0, len(batch), 100):
            part = batch[start : start + 100]
            channel.send(b"".join(part))
            _await_answers(channel, len(part))


def _await_answers(channel: socket.socket, count: int) -> None:
    while count:
        data = channel.recv(1 << 16)
        while data:
            size, kind, _, _, _ = _HEADER.unpack_from(data)
            if kind == _NLMSG_ERROR:
                number = -int.from_bytes(data[16:20], "little", signed=True)
                if number and number != errno.EEXIST:
                    raise OSError(number, f"netlink: {os.strerror(number)}")
                count -= 1
            data = data[(size + 3) & ~3 :]
