"""Capture files made byte by byte, in every form that the reader knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from tests.support.golden_frames import FRAMES

Order = Literal["little", "big"]
ORDERS: tuple[Order, ...] = ("little", "big")
SECOND = 1_700_000_000
START_NS = SECOND * 10**9

IPV4_PACKET = FRAMES["tcp v4"][14:]
IPV6_PACKET = FRAMES["udp v6"][14:]
MACS = FRAMES["tcp v4"][:12]


def outer(protocol: int, payload: bytes) -> bytes:
    """An IPv4 packet from 192.0.2.1 to 192.0.2.2, of another host's size and time to live."""
    size = (20 + len(payload)).to_bytes(2)
    ends = bytes((192, 0, 2, 1, 192, 0, 2, 2))
    return b"\x45\0" + size + b"\x56\x78\0\0\x21" + bytes((protocol, 0, 0)) + ends + payload


def over_udp(port: int, payload: bytes) -> bytes:
    return outer(17, b"\xc0\0" + port.to_bytes(2) + (8 + len(payload)).to_bytes(2) + b"\0\0" + payload)


def _ethernet(kind: str, rest: bytes) -> tuple[int, bytes]:
    return 1, MACS + bytes.fromhex(kind) + rest


_GRE, _VXLAN = 47, bytes.fromhex("0800000000002a00")
TUNNELS = {
    "PPPoE": _ethernet("8864", bytes.fromhex("11000007 0033 0021") + IPV4_PACKET),
    "PPPoE behind a tag": _ethernet("8100 0007 8864", bytes.fromhex("11000007 0037 0057") + IPV6_PACKET),
    "PPP": (9, bytes.fromhex("0021") + IPV4_PACKET),
    "PPP with its address": (9, bytes.fromhex("ff03 0057") + IPV6_PACKET),
    "PPP with a short protocol": (50, bytes.fromhex("ff03 21") + IPV4_PACKET),
    "SNAP": _ethernet("0039", bytes.fromhex("aaaa03 000000 0800") + IPV4_PACKET),
    "a label": _ethernet("8847", bytes.fromhex("00010140") + IPV4_PACKET),
    "three labels": _ethernet("8847", bytes.fromhex("00010040 00020040 00030140") + IPV6_PACKET),
    "a label over PPP": (9, bytes.fromhex("ff03 0281 00010140") + IPV6_PACKET),
    "GRE": _ethernet("0800", outer(_GRE, bytes.fromhex("0000 0800") + IPV4_PACKET)),
    "GRE with all its fields": (
        101,
        outer(_GRE, bytes.fromhex("b000 86dd 0000 0000 00000007 00000001") + IPV6_PACKET),
    ),
    "GRE over v6": (
        101,
        b"\x60\0\0\0" + (4 + 49).to_bytes(2) + b"\x2f\x40" + IPV6_PACKET[8:40] + b"\0\0\x08\0" + IPV4_PACKET,
    ),
    "GRE with Ethernet": _ethernet("0800", outer(_GRE, bytes.fromhex("2000 6558 00000007") + FRAMES["udp v6"])),
    "GRE with a label": _ethernet("0800", outer(_GRE, bytes.fromhex("0000 8847 00010140") + IPV4_PACKET)),
    "GRE in GRE": _ethernet("0800", outer(_GRE, b"\0\0\x08\0" + outer(_GRE, b"\0\0\x08\0" + IPV4_PACKET))),
    "VXLAN": _ethernet("0800", over_udp(4789, _VXLAN + FRAMES["tcp v4"])),
    "VXLAN with a tag": _ethernet("0800", over_udp(4789, _VXLAN + FRAMES["vlan"])),
    "VXLAN behind a label": _ethernet("8847", bytes.fromhex("00010140") + over_udp(4789, _VXLAN + FRAMES["udp v6"])),
}
"""What carries an IP packet that is read, by link type."""
LINKS = {
    "ethernet": (1, FRAMES["tcp v4"]),
    "one tag": (1, FRAMES["vlan"]),
    "two tags": (1, FRAMES["tcp v6"][:12] + bytes.fromhex("88a80064810000c886dd") + IPV6_PACKET),
    "cooked v1": (113, bytes.fromhex("0000 0001 0006 021ab00000020000 0800") + IPV4_PACKET),
    "cooked v2": (276, bytes.fromhex("86dd 0000 00000002 0001 04 06 021ab00000020000") + IPV6_PACKET),
    "raw v4": (101, IPV4_PACKET),
    "raw v6": (101, IPV6_PACKET),
    "raw as OpenBSD numbers it": (14, IPV4_PACKET),
    "raw as others number it": (12, IPV6_PACKET),
    "only v4": (228, IPV4_PACKET),
    "only v6": (229, IPV6_PACKET),
    "null, little-endian": (0, b"\x02\0\0\0" + IPV4_PACKET),
    "null, big-endian": (0, b"\0\0\0\x1e" + IPV6_PACKET),
    "loop": (108, b"\0\0\0\x18" + IPV6_PACKET),
    **TUNNELS,
}
"""Of each link type a frame with an IP packet in it."""


def pcap(frames: Sequence[bytes], order: Order = "little", nano: bool = False, link_type: int = 1) -> bytes:
    """Frame k is captured k ticks after `START_NS`."""
    magic = 0xA1B23C4D if nano else 0xA1B2C3D4
    out = _words(order, magic) + _halves(order, 2, 4) + _words(order, 0, 0, 1 << 18, link_type)
    for number, frame in enumerate(frames):
        out += _words(order, SECOND, number, len(frame), len(frame)) + frame
    return out


def pcapng(frames: Sequence[bytes], order: Order = "little", link_type: int = 1) -> bytes:
    """A section with one interface; frame k is captured k nanoseconds after `START_NS`, with comment and number."""
    out = section(order) + interface(order, link_type, option(order, 9, b"\x09"))
    for number, frame in enumerate(frames):
        said = option(order, 1, f"frame {number}".encode()) + option(order, 5, (100 + number).to_bytes(8, order))
        out += enhanced(order, frame, START_NS + number, options=said)
    return out


def block(order: Order, kind: int, body: bytes) -> bytes:
    size = _words(order, 12 + len(body) + _pad(body))
    return _words(order, kind) + size + body + bytes(_pad(body)) + size


def option(order: Order, code: int, value: bytes) -> bytes:
    return _halves(order, code, len(value)) + value + bytes(_pad(value))


def section(order: Order, major: int = 1) -> bytes:
    return block(order, 0x0A0D0D0A, _words(order, 0x1A2B3C4D) + _halves(order, major, 0) + b"\xff" * 8)


def interface(order: Order, link_type: int = 1, options: bytes = b"", snap: int = 0) -> bytes:
    return block(order, 1, _halves(order, link_type, 0) + _words(order, snap) + options)


def enhanced(
    order: Order, frame: bytes, ticks: int, number: int = 0, options: bytes = b"", original: int | None = None
) -> bytes:
    size = len(frame) if original is None else original
    head = _words(order, number, ticks >> 32, ticks & 0xFFFFFFFF, len(frame), size)
    return block(order, 6, head + frame + bytes(_pad(frame)) + options)


def obsolete(order: Order, frame: bytes, ticks: int, number: int = 0) -> bytes:
    head = _halves(order, number, 0xFFFF) + _words(order, ticks >> 32, ticks & 0xFFFFFFFF, len(frame), len(frame))
    return block(order, 2, head + frame)


def simple(order: Order, frame: bytes, original: int | None = None) -> bytes:
    return block(order, 3, _words(order, len(frame) if original is None else original) + frame)


def names(order: Order, *records: tuple[int, bytes]) -> bytes:
    return block(order, 4, b"".join(option(order, kind, value) for kind, value in records) + bytes(4))


def _words(order: Order, *values: int) -> bytes:
    return b"".join(value.to_bytes(4, order) for value in values)


def _halves(order: Order, *values: int) -> bytes:
    return b"".join(value.to_bytes(2, order) for value in values)


def _pad(data: bytes) -> int:
    return -len(data) % 4
