"""What the frames of a batch say, all at once: from the link's header to TCP's, UDP's and the start of DNS's.

Outer headers only: no tunnels (nor PPPoE, MPLS, LLC), no reassembly of fragments or streams. The fields of a header
that was not captured whole are all 0, and `cut` is set; it is set as well where a header contradicts itself, or the one
before it: then nothing after it is read.

Each layer picks its packets by index, gathers their headers as rows of one array, and writes fields into the columns;
what is rare (VLAN tags, IPv6 extension headers) is a loop over layers, not over packets.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lab.captures.columns import I64, KINDS, OF_THE_FILE, Columns, Flags
from lab.captures.headers import DNS_START, EXTENSION_HEADER, IPV4_HEADER, IPV6_HEADER, TCP_HEADER, UDP_HEADER
from lab.captures.reader import Frames
from lab.captures.window import Window, gather
from lab.packets import IPV4, IPV6, TCP, UDP

_U8, _U16, _U32 = np.dtype("u1"), np.dtype(">u2"), np.dtype(">u4")
_DNS_PORT, _DNS_HEADER = 53, 12
_AF_INET6 = (10, 24, 28, 30)
"""Of Linux, the BSDs and macOS."""
_FRAGMENT, _AUTHENTICATION = 44, 51
_KIND_OF_VERSION = np.zeros(16, np.uint16)
_KIND_OF_VERSION[4], _KIND_OF_VERSION[6] = IPV4, IPV6
_IS_TAG, _IS_EXTENSION = np.zeros(1 << 16, np.bool_), np.zeros(1 << 8, np.bool_)
_IS_TAG[[0x8100, 0x88A8, 0x9100]] = True
_IS_EXTENSION[[0, 43, _FRAGMENT, _AUTHENTICATION, 60]] = True
_MAX_LAYERS = 64
"""Tags or extension headers of one packet that are read; more are damage."""


def decode(window: Window, frames: Frames, number: int) -> Columns:
    """The columns of frames that lie in the window; `number` is the first one's in its file."""
    batch = _Batch(window, frames, number)
    batch.link_layer()
    batch.note_what_is_no_ip()
    batch.ipv4()
    batch.ipv6()
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
        self._vlans()

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
    12: _Batch.raw,
    14: _Batch.raw,
    101: _Batch.raw,
    108: _Batch.loopback,
    113: lambda batch, who: batch.ethertype(who, 14, 16),
    228: _ipv4_only,
    229: _ipv6_only,
    276: lambda batch, who: batch.ethertype(who, 0, 20),
}
"""By LINKTYPE_ value: Ethernet, raw IP, BSD loopback, Linux cooked v1 and v2."""


def is_read(link_types: NDArray[np.uint16]) -> Flags:
    """Of LINKTYPE_ values: whether what is behind their header is read."""
    return np.isin(link_types, list(_LINKS))
