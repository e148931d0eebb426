"""What the frames of a batch say, all at once: from the link's header to TCP's, UDP's and the start of DNS's.

Of a packet in a tunnel that is read (MPLS, PPPoE, GRE, VXLAN) the fields are those of the inner IP packet, of the
innermost where there are several; a tunnel without an IP packet in it is what its outer headers say. No reassembly of
fragments or streams. The fields of a header that was not captured whole are all 0, and `cut` is set; it is set as well
where a header contradicts itself, or the one before it: then nothing after it is read.

Each layer picks its packets by index, gathers their headers as rows of one array, and writes fields into the columns;
what is rare (VLAN tags, IPv6 extension headers) is a loop over layers, not over packets.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faultlab.captures.columns import I64, KINDS, OF_THE_FILE, Columns, Flags
from faultlab.captures.headers import (
    DNS_START,
    EXTENSION_HEADER,
    GRE_HEADER,
    IPV4_HEADER,
    IPV6_HEADER,
    TCP_HEADER,
    UDP_HEADER,
)
from faultlab.captures.reader import Frames
from faultlab.captures.window import Window, gather
from faultlab.network.packets import IPV4, IPV6, TCP, UDP

_U8, _U16, _U32 = np.dtype("u1"), np.dtype(">u2"), np.dtype(">u4")
_DNS_PORT, _DNS_HEADER = 53, 12
_AF_INET6 = (10, 24, 28, 30)
"""Of Linux, the BSDs and macOS."""
_FRAGMENT, _AUTHENTICATION = 44, 51
_PPPOE, _MPLS, _MPLS_MULTICAST, _ETHERNET = 0x8864, 0x8847, 0x8848, 0x6558
"""Ethertypes (IANA, IEEE 802 Numbers); the last is that of Ethernet in GRE."""
_OF_PPP = {0x21: IPV4, 0x57: IPV6, 0x281: _MPLS, 0x283: _MPLS_MULTICAST}
"""Ethertypes by PPP's numbers (IANA, PPP Numbers)."""
_LONGEST_LLC = 1500
_SNAP = np.dtype([("llc", ">u2"), ("control", ">u2"), ("organisation", ">u2"), ("type", ">u2")])
"""The control field and the first byte of the organisation are read as one, and 0x0300 where that is 0."""
_GRE, _VXLAN_PORT, _VXLAN_FLAGS = 47, 4789, 0x08000000
_MAX_TUNNELS = 8
"""Of one packet that are read, one in another."""
_OF_IP = (
    "ip", "source_high", "source_low", "target_high", "target_low", "protocol", "ttl", "ip_id", "ip_bytes", "fragment",
    "more_fragments",
)  # fmt: skip
_KIND_OF_VERSION = np.zeros(16, np.uint16)
_KIND_OF_VERSION[4], _KIND_OF_VERSION[6] = IPV4, IPV6
_IS_TAG, _IS_EXTENSION = np.zeros(1 << 16, np.bool_), np.zeros(1 << 8, np.bool_)
_IS_IP = np.zeros(1 << 16, np.bool_)
_IS_IP[[IPV4, IPV6]] = True
_IS_TAG[[0x8100, 0x88A8, 0x9100]] = True
_IS_EXTENSION[[0, 43, _FRAGMENT, _AUTHENTICATION, 60]] = True
_MAX_LAYERS = 64
"""Tags or extension headers of one packet that are read; more are damage."""


def decode(window: Window, frames: Frames, number: int) -> Columns:
    """The columns of frames that lie in the window; `number` is the first one's in its file."""
    batch = _Batch(window, frames, number)
    batch.link_layer()
    batch.note_what_is_no_ip()
    batch.ip()
    batch.tcp()
    batch.udp()
    batch.dns()
    return batch.columns


class _Batch:
    """Offsets count from the start of each frame: `l3` and `l4` of the headers, `end` of the IP packet."""

    def __init__(self, window: Window, frames: Frames, number: int) -> None:
        count = len(frames)
        self.data = window.bytes
        self.where = frames.where
        self.captured = frames.captured.astype(np.int64)
        self.original = frames.original.astype(np.int64)
        self.kind = np.zeros(count, np.uint16)  # ethertype, where there is one
        self.l3, self.l4, self.end = (np.zeros(count, np.int64) for _ in range(3))
        self.columns = Columns(
            number=np.arange(number, number + count, dtype=np.int64),
            time_ns=frames.time_ns,
            interface=frames.interface,
            link_type=frames.link_type,
            at=frames.where + window.start,
            captured=frames.captured,
            original=frames.original,
            **_blank(count),
        )

    def rows(self, who: I64, at: I64 | int, kind: np.dtype[Any]) -> NDArray[Any]:
        """The headers at an offset of each frame; each must be captured whole."""
        return gather(self.data, self.where[who] + at, kind)

    def whole(self, who: I64, at: I64 | int, size: int) -> I64:
        """Those of the packets whose header at an offset was captured whole; the others are marked as cut."""
        got = at + size <= self.captured[who]
        if got.all():
            return who
        self.columns.cut[who[~got]] = True
        return who[got]

    def right(self, right: Flags, who: I64, head: NDArray[Any]) -> tuple[I64, NDArray[Any]]:
        """Those of the packets whose header does not contradict itself; the others are marked as cut."""
        if right.all():
            return who, head
        self.columns.cut[who[~right]] = True
        return who[right], head[right]

    def link_layer(self) -> None:
        types = self.columns.link_type
        for link_type in np.unique(types).tolist():
            if read := _LINKS.get(link_type):
                read(self, np.flatnonzero(types == link_type))
        self._behind_ethernet()

    def _behind_ethernet(self) -> None:
        """What may stand between a link's header and IP."""
        self._vlans()
        self._snap()
        self._pppoe()
        self._mpls()

    def note_what_is_no_ip(self) -> None:
        other = (self.kind != IPV4) & (self.kind != IPV6)
        self.columns.ethertype[other] = self.kind[other]

    def ethertype(self, who: I64, at: int, header: int) -> None:
        """A link header of so many bytes with an ethertype in it."""
        who = self.whole(who, 0, header)
        self.kind[who] = self.rows(who, at, _U16)
        self.l3[who] = header

    def raw(self, who: I64) -> None:
        """An IP packet; its version is its first four bits."""
        who = self.whole(who, 0, 1)
        self.kind[who] = kind = _KIND_OF_VERSION[self.rows(who, 0, _U8) >> 4]
        self.columns.cut[who[kind == 0]] = True

    def loopback(self, who: I64) -> None:
        """Behind an address family: a small number in the byte order of the host that captured."""
        who = self.whole(who, 0, 4)
        family = self.rows(who, 0, _U32).astype(np.uint32)
        family = np.minimum(family, family.byteswap())
        self.kind[who] = np.select([family == 2, np.isin(family, _AF_INET6)], [IPV4, IPV6], 0)
        self.l3[who] = 4

    def _vlans(self) -> None:
        tagged = np.flatnonzero(_IS_TAG[self.kind])
        for _ in range(_MAX_LAYERS):
            if not len(tagged):
                return
            self.kind[tagged] = 0
            tagged = self.whole(tagged, self.l3[tagged], 4)
            self.kind[tagged] = self.rows(tagged, self.l3[tagged] + 2, _U16)
            self.l3[tagged] += 4
            tagged = tagged[_IS_TAG[self.kind[tagged]]]
        self.columns.cut[tagged] = True

    def _snap(self) -> None:
        """An LLC header with an ethertype (RFC 1042): Ethernet has a length in its place."""
        who = np.flatnonzero((self.kind > 0) & (self.kind <= _LONGEST_LLC))
        who = who[self.l3[who] + 8 <= self.captured[who]]
        start = self.rows(who, self.l3[who], _SNAP)
        who, start = who[start["llc"] == 0xAAAA], start[start["llc"] == 0xAAAA]
        ours = (start["control"] == 0x0300) & (start["organisation"] == 0) & _IS_IP[start["type"]]
        self.kind[who[ours]] = start["type"][ours]
        self.l3[who[ours]] += _SNAP.itemsize

    def _pppoe(self) -> None:
        """A session's packets (RFC 2516, 4)."""
        who = np.flatnonzero(self.kind == _PPPOE)
        if len(who):
            who = self.whole(who, self.l3[who], 8)
            self._ppp(who, self.l3[who] + 6)

    def _ppp(self, who: I64, at: I64) -> None:
        """Behind PPP's protocol field, of two bytes, or of one where the first is odd (RFC 1661, 2)."""
        first = self.rows(who, at, _U8).astype(np.int64)
        short = first & 1 == 1
        at = at + np.where(short, 1, 2)
        protocol = np.where(short, first, first << 8)
        protocol[~short] |= self.rows(who[~short], at[~short] - 1, _U8)
        kind = np.select([protocol == number for number in _OF_PPP], list(_OF_PPP.values()), 0)
        self.kind[who[kind > 0]] = kind[kind > 0]
        self.l3[who[kind > 0]] = at[kind > 0]

    def ppp(self, who: I64) -> None:
        """The address and control fields may be left out (RFC 1661, 6.6)."""
        who = self.whole(who, 0, 4)
        self._ppp(who, np.where(self.rows(who, 0, _U16) == 0xFF03, 2, 0))

    def _mpls(self) -> None:
        """A stack of labels (RFC 3032, 2.1), behind which only a guess tells IP: its version."""
        who = np.flatnonzero((self.kind == _MPLS) | (self.kind == _MPLS_MULTICAST))
        for _ in range(_MAX_LAYERS if len(who) else 0):
            who = who[self.l3[who] + 5 <= self.captured[who]]
            last = self.rows(who, self.l3[who] + 2, _U8) & 1 == 1
            self.l3[who] += 4
            bottom = who[last]
            kind = _KIND_OF_VERSION[self.rows(bottom, self.l3[bottom], _U8) >> 4]
            self.kind[bottom[kind > 0]] = kind[kind > 0]
            who = who[~last]

    def ip(self) -> None:
        """The innermost IP packet that can be read."""
        self.ipv4()
        self.ipv6()
        for _ in range(_MAX_TUNNELS):
            if not self._inside():
                return
            self.ipv4()
            self.ipv6()

    def _inside(self) -> bool:
        """Whether there are IP packets in tunnels: those are what is left to read then, with `kind` and `l3` theirs."""
        columns = self.columns
        outer, before = self.kind, self.l3
        self.kind, self.l3 = np.zeros_like(outer), before.copy()
        first = (_IS_IP[outer]) & (self.l4 > 0)
        self._gre(np.flatnonzero(first & (columns.protocol == _GRE)))
        self._vxlan(np.flatnonzero(first & (columns.protocol == UDP)))
        self._behind_ethernet()
        inner = np.flatnonzero(_IS_IP[self.kind])
        header = np.where(self.kind[inner] == IPV4, IPV4_HEADER.itemsize, IPV6_HEADER.itemsize)
        inner = inner[self.l3[inner] + header <= self.captured[inner]]
        version = self.rows(inner, self.l3[inner], _U8)
        inner = inner[(_KIND_OF_VERSION[version >> 4] == self.kind[inner]) & ((version > 0x5F) | (version & 15 >= 5))]
        kind, l3 = self.kind[inner], self.l3[inner]
        self.kind, self.l3 = np.zeros_like(outer), before
        self.kind[inner], self.l3[inner], self.l4[inner], self.end[inner] = kind, l3, 0, 0
        for name in _OF_IP:
            getattr(columns, name)[inner] = 0
        return len(inner) > 0

    def _gre(self, who: I64) -> None:
        """RFC 2784, 2.1 and RFC 2890, 2: three fields of four bytes are there where a flag says so. Not version 1."""
        who = who[self.l4[who] + 4 <= self.captured[who]]
        head = self.rows(who, self.l4[who], GRE_HEADER)
        who, head = who[head["flags"] & 7 == 0], head[head["flags"] & 7 == 0]
        flags = head["flags"].astype(np.int64)
        self.kind[who] = head["type"]
        self.l3[who] = self.l4[who] + 4 + 4 * ((flags & 0xC000 > 0) + (flags >> 13 & 1) + (flags >> 12 & 1))
        self._inner_ethernet(who[head["type"] == _ETHERNET])

    def _vxlan(self, who: I64) -> None:
        """RFC 7348, 5: by its port, and by what must be 0 in its header."""
        who = who[self.l4[who] + 16 <= self.captured[who]]
        who = who[self.rows(who, self.l4[who] + 2, _U16) == _VXLAN_PORT]
        who = who[self.rows(who, self.l4[who] + 8, _U32) == _VXLAN_FLAGS]
        self.l3[who] = self.l4[who] + 16
        self._inner_ethernet(who)

    def _inner_ethernet(self, who: I64) -> None:
        self.kind[who] = 0
        who = who[self.l3[who] + 14 <= self.captured[who]]
        self.kind[who] = self.rows(who, self.l3[who] + 12, _U16)
        self.l3[who] += 14

    def ipv4(self) -> None:
        columns = self.columns
        who = np.flatnonzero(self.kind == IPV4)
        columns.ip[who] = 4
        who = self.whole(who, self.l3[who], IPV4_HEADER.itemsize)
        head = self.rows(who, self.l3[who], IPV4_HEADER)
        who, head = self.right((head["version"] >= 0x45) & (head["version"] <= 0x4F), who, head)
        l3, header = self.l3[who], (head["version"] & 15).astype(np.int64) * 4
        room = self.original[who] - l3
        size = np.where(head["bytes"] == 0, room, head["bytes"])  # 0 where the device cuts the segments (offload)
        offset = head["fragment"]
        columns.source_low[who] = head["source"]
        columns.target_low[who] = head["target"]
        columns.protocol[who] = head["protocol"]
        columns.ttl[who] = head["ttl"]
        columns.ip_id[who] = head["id"]
        columns.ip_bytes[who] = size
        columns.fragment[who] = (offset & 0x1FFF) * 8
        columns.more_fragments[who] = offset & 0x2000 != 0
        self.end[who] = l3 + np.minimum(size, room)
        fits = (header <= size) & (l3 + header <= self.captured[who])
        columns.cut[who] = ~fits
        self.l4[who] = np.where(fits & (offset & 0x1FFF == 0), l3 + header, 0)

    def ipv6(self) -> None:
        columns = self.columns
        who = np.flatnonzero(self.kind == IPV6)
        if not len(who):
            return
        columns.ip[who] = 6
        who = self.whole(who, self.l3[who], IPV6_HEADER.itemsize)
        head = self.rows(who, self.l3[who], IPV6_HEADER)
        who, head = self.right(head["version"] >> 4 == 6, who, head)
        l3 = self.l3[who]
        room = self.original[who] - l3
        size = np.where(head["bytes"] == 0, room, head["bytes"].astype(np.int64) + 40)  # 0: as for IPv4, or RFC 2675
        for field in ("source_high", "source_low", "target_high", "target_low"):
            getattr(columns, field)[who] = head[field]
        columns.protocol[who] = head["next"]
        columns.ttl[who] = head["hops"]
        columns.ip_bytes[who] = size
        self.end[who] = l3 + np.minimum(size, room)
        self.l4[who] = l3 + 40
        self._extensions(who)

    def _extensions(self, who: I64) -> None:
        """RFC 8200, 4; an authentication header (RFC 4302) counts its size in words, less 2."""
        columns = self.columns
        for _ in range(_MAX_LAYERS):
            who = who[_IS_EXTENSION[columns.protocol[who]]]
            if not len(who):
                return
            who = self.whole(who, self.l4[who], EXTENSION_HEADER.itemsize)
            head = self.rows(who, self.l4[who], EXTENSION_HEADER)
            kind, units = columns.protocol[who], head["size"].astype(np.int64)
            fragment = kind == _FRAGMENT
            self.l4[who] += np.where(fragment, 8, np.where(kind == _AUTHENTICATION, units * 4 + 8, units * 8 + 8))
            columns.protocol[who] = head["next"]
            parts, head = who[fragment], head[fragment]
            columns.fragment[parts] = head["fragment"] & 0xFFF8
            columns.more_fragments[parts] = head["fragment"] & 1 != 0
            columns.ip_id[parts] = head["id"]
            self.l4[parts[columns.fragment[parts] > 0]] = 0
            who = who[self.l4[who] > 0]
        columns.cut[who] = True

    def _transport(self, protocol: int, header: np.dtype[Any]) -> tuple[I64, NDArray[Any]]:
        """The packets of a protocol that have its header whole, with their ports in the columns, and those headers."""
        columns = self.columns
        who = np.flatnonzero((columns.protocol == protocol) & (self.l4 > 0))
        short = self.end[who] - self.l4[who] < header.itemsize
        if short.any():
            columns.cut[who[short]] = True
            who = who[~short]
        who = self.whole(who, self.l4[who], header.itemsize)
        head = self.rows(who, self.l4[who], header)
        columns.source_port[who] = head["source"]
        columns.target_port[who] = head["target"]
        return who, head

    def tcp(self) -> None:
        columns = self.columns
        who, head = self._transport(TCP, TCP_HEADER)
        header = (head["flags"] >> 12).astype(np.int64) * 4
        at = self.l4[who] + header
        payload = self.end[who] - at
        columns.seq[who] = head["seq"]
        columns.ack[who] = head["ack"]
        columns.flags[who] = head["flags"] & 0x1FF
        columns.window[who] = head["window"]
        columns.tcp_header[who] = header
        self._payload(who, at, payload, (header >= 20) & (payload >= 0) & (at <= self.captured[who]))

    def udp(self) -> None:
        columns = self.columns
        who, head = self._transport(UDP, UDP_HEADER)
        at = self.l4[who] + 8
        room = self.end[who] - at
        said = np.where(head["bytes"] == 0, room, head["bytes"].astype(np.int64) - 8)  # 0: RFC 2675, 4
        self._payload(who, at, np.minimum(said, room), said >= 0)
        columns.cut[who] |= (said > room) & ~columns.more_fragments[who]

    def _payload(self, who: I64, at: I64, payload: I64, right: Flags) -> None:
        self.columns.cut[who] |= ~right
        self.columns.payload_at[who] = np.where(right, at, 0)
        self.columns.payload[who] = np.where(right, payload, 0)

    def dns(self) -> None:
        """Over TCP, where a segment is one whole message behind its length (RFC 1035, 4.2.2)."""
        columns = self.columns
        asked = (columns.source_port == _DNS_PORT) | (columns.target_port == _DNS_PORT)
        asked &= columns.payload >= _DNS_HEADER
        if not asked.any():
            return
        self._dns_header(np.flatnonzero(asked & (columns.protocol == UDP)), 0)
        streams = np.flatnonzero(asked & (columns.protocol == TCP))
        streams = streams[columns.payload_at[streams] + 2 <= self.captured[streams]]
        said = self.rows(streams, columns.payload_at[streams].astype(np.int64), _U16).astype(np.int64)
        self._dns_header(streams[(said + 2 == columns.payload[streams]) & (said >= _DNS_HEADER)], 2)

    def _dns_header(self, who: I64, prefix: int) -> None:
        columns = self.columns
        who = self.whole(who, columns.payload_at[who].astype(np.int64) + prefix, _DNS_HEADER)
        head = self.rows(who, columns.payload_at[who].astype(np.int64) + prefix, DNS_START)
        columns.dns[who] = True
        columns.dns_id[who] = head["id"]
        columns.dns_flags[who] = head["flags"]


def _blank(count: int) -> dict[str, Any]:
    return {name: np.zeros(count, kind) for name, kind in KINDS.items() if name not in OF_THE_FILE}


def _ipv4_only(batch: _Batch, who: I64) -> None:
    batch.kind[who] = IPV4


def _ipv6_only(batch: _Batch, who: I64) -> None:
    batch.kind[who] = IPV6


_LINKS: dict[int, Callable[[_Batch, I64], None]] = {
    0: _Batch.loopback,
    1: lambda batch, who: batch.ethertype(who, 12, 14),
    9: _Batch.ppp,
    12: _Batch.raw,
    14: _Batch.raw,
    50: _Batch.ppp,
    101: _Batch.raw,
    108: _Batch.loopback,
    113: lambda batch, who: batch.ethertype(who, 14, 16),
    228: _ipv4_only,
    229: _ipv6_only,
    276: lambda batch, who: batch.ethertype(who, 0, 20),
}
"""By LINKTYPE_ value: Ethernet, PPP, raw IP, BSD loopback, Linux cooked v1 and v2."""


def is_read(link_types: NDArray[np.uint16]) -> Flags:
    """Of LINKTYPE_ values: whether what is behind their header is read."""
    return np.isin(link_types, list(_LINKS))
