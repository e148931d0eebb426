"""Netlink messages for what netem needs: bridge, veth pairs, HTB, netem and u32 filters. Bytes in, bytes out; no I/O.

Encoded here because pyroute2 knows neither netem's loss model, delay table and seed, nor explicit HTB rates without a
rate table. Sources: rtnetlink(7), linux/pkt_sched.h, linux/pkt_cls.h, linux/if_link.h, linux/if_bridge.h.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct

_REQUEST, _ACK, _REPLACE, _EXCL, _CREATE = 0x1, 0x4, 0x100, 0x200, 0x400
_DUMP = 0x300
_NEWLINK, _NEWNEIGH = 16, 28
_NEWQDISC, _GETQDISC, _NEWCLASS, _DELCLASS, _NEWFILTER, _DELFILTER = 36, 38, 40, 41, 44, 45
_HEADER = Struct("=IHHII")
_LINK = Struct("=BxHiII")
_TRAFFIC = Struct("=BxxxiIII")
_NEIGHBOUR = Struct("=BxxxiHBB")
_ATTRIBUTE = Struct("=HH")
_U8, _U32, _U64 = Struct("=B"), Struct("=I"), Struct("=Q")

_NESTED_MASK = 0x3FFF
_IFF_UP = 0x1
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MASTER, _IFLA_LINKINFO, _IFLA_NET_NS_FD = 1, 3, 10, 18, 28
_KIND, _DATA, _SLAVE_KIND, _SLAVE_DATA = 1, 2, 4, 5
_VETH_PEER = 1
_BRIDGE_STP, _BRIDGE_SNOOPING = 5, 23
_PORT_LEARNING, _PORT_UNICAST_FLOOD, _PORT_MULTICAST_FLOOD, _PORT_BROADCAST_FLOOD = 8, 9, 27, 30
_AF_BRIDGE, _NUD_NOARP, _NTF_MASTER, _NDA_LLADDR = 7, 0x40, 0x04, 2

_TCA_KIND, _TCA_OPTIONS, _TCA_STATS2 = 1, 2, 7
_STATS_BASIC, _STATS_QUEUE = 1, 3
_BASIC, _QUEUE = Struct("=QI"), Struct("=IIIII")
_ROOT = 0xFFFFFFFF
_HTB_PARMS, _HTB_INIT, _HTB_DIRECT_QLEN = 1, 2, 5
_HTB_GLOBAL = Struct("=5I")
_HTB_CLASS = Struct("=BBHhHI BBHhHI 5I")
_LINKLAYER_ETHERNET = 1
_UNLIMITED = 0xFFFFFFFF
_SECOND_TICKS = 15_625_000
_U32_CLASSID, _U32_SELECT = 1, 5
_SELECT = Struct("=BBBxHHhhI")
_SELECT_KEY = Struct("!II")
_SELECT_OFFSETS = Struct("=ii")
_TERMINAL = 1
_ALL_PROTOCOLS = 0x0003

HTB_HANDLE = 0x10000


@dataclass(frozen=True)
class Counters:
    """What a qdisc counted: packets let go, packets dropped, packets that wait in it (tc-statistics)."""

    sent: int
    dropped: int
    waiting: int


def attribute(kind: int, value: bytes) -> bytes:
    """One netlink attribute, padded to four bytes."""
    size = 4 + len(value)
    return _ATTRIBUTE.pack(size, kind) + value + bytes(-size & 3)


def _nest(kind: int, *attributes: bytes) -> bytes:
    return attribute(kind, b"".join(attributes))


def _text(kind: int, text: str) -> bytes:
    return attribute(kind, text.encode() + b"\0")


def _message(kind: int, flags: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return _HEADER.pack(16 + len(body), kind, _REQUEST | _ACK | flags, 0, 0) + body


# -- devices -----------------------------------------------------------------------------------------------------------


def bridge(name: str) -> bytes:
    """A bridge that is up, without spanning tree and multicast snooping: it neither blocks nor asks."""
    data = _nest(_DATA, attribute(_BRIDGE_STP, _U32.pack(0)), attribute(_BRIDGE_SNOOPING, _U8.pack(0)))
    info = _nest(_IFLA_LINKINFO, _text(_KIND, "bridge"), data)
    return _message(_NEWLINK, _CREATE | _EXCL, _link(0, up=True), _text(_IFLA_IFNAME, name), info)


def veth(name: str, namespace: int, peer_name: str, mac: str) -> bytes:
    """A pair: `name` in the current namespace, `peer_name` with this MAC in the one that the descriptor refers to."""
    peer = _nest(
        _VETH_PEER,
        _link(0),
        _text(_IFLA_IFNAME, peer_name),
        attribute(_IFLA_ADDRESS, _mac(mac)),
        attribute(_IFLA_NET_NS_FD, _U32.pack(namespace)),
    )
    info = _nest(_IFLA_LINKINFO, _text(_KIND, "veth"), _nest(_DATA, peer))
    return _message(_NEWLINK, _CREATE | _EXCL, _link(0), _text(_IFLA_IFNAME, name), info)


def enslave(index: int, bridge_index: int) -> bytes:
    """Make a device a port of the bridge, and bring it up."""
    return _message(_NEWLINK, 0, _link(index, up=True), attribute(_IFLA_MASTER, _U32.pack(bridge_index)))


def closed_port(index: int) -> bytes:
    """A port that learns nothing and floods nothing: only `owner` entries lead to it."""
    off = (_PORT_LEARNING, _PORT_UNICAST_FLOOD, _PORT_MULTICAST_FLOOD, _PORT_BROADCAST_FLOOD)
    data = _nest(_SLAVE_DATA, *(attribute(kind, _U8.pack(0)) for kind in off))
    return _message(_NEWLINK, 0, _link(index), _nest(_IFLA_LINKINFO, _text(_SLAVE_KIND, "bridge"), data))


def owner(index: int, mac: str) -> bytes:
    """Who has this MAC is behind this port, for good."""
    head = _NEIGHBOUR.pack(_AF_BRIDGE, index, _NUD_NOARP, _NTF_MASTER, 0)
    return _message(_NEWNEIGH, _CREATE | _REPLACE, head, attribute(_NDA_LLADDR, _mac(mac)))


def _link(index: int, *, up: bool = False) -> bytes:
    flags = _IFF_UP if up else 0
    return _LINK.pack(socket.AF_UNSPEC, 0, index, flags, flags)


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


# -- traffic control ---------------------------------------------------------------------------------------------------


def htb(index: int, queue: int) -> bytes:
    """The root of a port: what no filter claims goes out at once, by HTB's direct queue of so many packets."""
    options = _nest(
        _TCA_OPTIONS,
        attribute(_HTB_INIT, _HTB_GLOBAL.pack(3, 10, 0, 0, 0)),
        attribute(_HTB_DIRECT_QLEN, _U32.pack(queue)),
    )
    head = _traffic(index, HTB_HANDLE, _ROOT)
    return _message(_NEWQDISC, _CREATE | _EXCL, head, _text(_TCA_KIND, "htb"), options)


def htb_class(index: int, classid: int) -> bytes:
    """A class whose rate never binds (32 Gbit/s, a second's burst): it only gives netem a place."""
    rate = (0, _LINKLAYER_ETHERNET, 0, 0, 0, _UNLIMITED)
    burst, quantum = _SECOND_TICKS, 60_000
    parms = _HTB_CLASS.pack(*rate, *rate, burst, burst, quantum, 0, 0)
    head = _traffic(index, classid, HTB_HANDLE)
    options = _nest(_TCA_OPTIONS, attribute(_HTB_PARMS, parms))
    return _message(_NEWCLASS, _CREATE | _EXCL, head, _text(_TCA_KIND, "htb"), options)


def drop_class(index: int, classid: int) -> bytes:
    """Delete a class and the qdisc in it."""
    return _message(_DELCLASS, 0, _traffic(index, classid, 0))


def new_netem(index: int, parent: int, handle: int, options: bytes) -> bytes:
    """A netem in an HTB class (or at the root of a device: `parent` 0xFFFFFFFF)."""
    head = _traffic(index, handle, parent)
    return _message(_NEWQDISC, _CREATE | _EXCL, head, _text(_TCA_KIND, "netem"), attribute(_TCA_OPTIONS, options))


def change_netem(index: int, parent: int, handle: int, options: bytes) -> bytes:
    """Other options for a netem that is there; what waits in it keeps its time."""
    head = _traffic(index, handle, parent)
    return _message(_NEWQDISC, 0, head, _text(_TCA_KIND, "netem"), attribute(_TCA_OPTIONS, options))


def claim(index: int, priority: int, source_mac: str, classid: int) -> bytes:
    """A filter: frames from this MAC belong to the class. u32 counts from the network header, so the MAC is at -8."""
    mac = int.from_bytes(_mac(source_mac), "big")
    keys = _key(mac >> 16, 0xFFFFFFFF, -8) + _key((mac & 0xFFFF) << 16, 0xFFFF0000, -4)
    select = attribute(_U32_SELECT, _SELECT.pack(_TERMINAL, 0, 2, 0, 0, 0, 0, 0) + keys)
    options = _nest(_TCA_OPTIONS, attribute(_U32_CLASSID, _U32.pack(classid)), select)
    return _message(_NEWFILTER, _CREATE | _EXCL, _filter(index, priority), _text(_TCA_KIND, "u32"), options)


def unclaim(index: int, priority: int) -> bytes:
    """Delete the filter of this priority."""
    return _message(_DELFILTER, 0, _filter(index, priority), _text(_TCA_KIND, "u32"))


def _key(value: int, mask: int, offset: int) -> bytes:
    return _SELECT_KEY.pack(mask, value) + _SELECT_OFFSETS.pack(offset, 0)


def _filter(index: int, priority: int) -> bytes:
    return _traffic(index, 0, HTB_HANDLE, priority << 16 | socket.htons(_ALL_PROTOCOLS))


def _traffic(index: int, handle: int, parent: int, info: int = 0) -> bytes:
    return _TRAFFIC.pack(socket.AF_UNSPEC, index, handle, parent, info)


# -- reading back ------------------------------------------------------------------------------------------------------


def list_qdiscs() -> bytes:
    """Asks for every qdisc of the namespace."""
    body = _traffic(0, 0, 0)
    return _HEADER.pack(16 + len(body), _GETQDISC, _REQUEST | _DUMP, 0, 0) + body


def parse_qdisc(message: bytes) -> tuple[int, int, dict[int, bytes]]:
    """(device index, handle, attributes) of one RTM_NEWQDISC message, header included."""
    _, index, handle, _, _ = _TRAFFIC.unpack_from(message, 16)
    return index, handle, dict(attributes(message[16 + _TRAFFIC.size :]))


def counters(fields: dict[int, bytes]) -> Counters:
    """From the attributes of a qdisc (linux/gen_stats.h)."""
    statistics = dict(attributes(fields[_TCA_STATS2]))
    _, sent = _BASIC.unpack_from(statistics[_STATS_BASIC])
    waiting, _, dropped, _, _ = _QUEUE.unpack_from(statistics[_STATS_QUEUE])
    return Counters(sent, dropped, waiting)


def options_of(fields: dict[int, bytes], fixed_size: int) -> dict[int, bytes]:
    """The attributes that follow a qdisc's fixed options."""
    return dict(attributes(fields.get(_TCA_OPTIONS, b"")[fixed_size:]))


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The attributes in a row, each with its type and value."""
    while len(data) >= 4:
        size, kind = _ATTRIBUTE.unpack_from(data)
        yield kind & _NESTED_MASK, data[4:size]
        data = data[(size + 3) & ~3 :]
