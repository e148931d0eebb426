"""Captures made for measuring: seeded; TCP, UDP and DNS over IPv4 and IPv6; the same packets as pcap and as pcapng."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from pathlib import Path

START_NS = 1_700_000_000 * 10**9
ETHERNET = bytes.fromhex("020000000002 020000000001")
PAYLOADS = (0, 0, 0, 20, 100, 500, 1400)
STAMPS = b"\x01\x01\x08\x0a" + bytes(8)
"""TCP's timestamp option, which most segments of today carry (RFC 7323)."""


def frames(count: int, seed: int) -> Iterator[tuple[int, bytes]]:
    """(ns since the epoch, frame): of ten, six TCP segments, two UDP datagrams, a DNS question and its answer."""
    draw = random.Random(seed)
    now = START_NS
    for number in range(count):
        now += draw.randrange(1, 20_000)
        kind = number % 10
        size = draw.choice(PAYLOADS)
        if kind < 6:
            ports = (draw.randrange(32768, 61000), 8080)
            head = struct.pack("!HHIIHHHH", *ports, draw.getrandbits(32), draw.getrandbits(32), 0x8018, 502, 0, 0)
            yield now, _ip(draw, 6, head + STAMPS + bytes(size))
        elif kind < 8:
            head = struct.pack("!HHHH", draw.randrange(32768, 61000), 41234, 8 + size, 0)
            yield now, _ip(draw, 17, head + bytes(size))
        else:
            ports = (draw.randrange(32768, 61000), 53)
            head = struct.pack("!HHHH", *(ports if kind == 8 else ports[::-1]), 8 + 33, 0)
            flags = 0x0100 if kind == 8 else 0x8180
            question = struct.pack("!HHHHHH", draw.getrandbits(16), flags, 1, 0, 0, 0) + b"\x03www\x07example\x04test\0"
            yield now, _ip(draw, 17, head + question + b"\0\x01\0\x01")


def _ip(draw: random.Random, protocol: int, segment: bytes) -> bytes:
    """Over IPv4 two times of three."""
    host = draw.randrange(1, 200)
    if draw.random() < 2 / 3:
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(segment), draw.getrandbits(16), 0x4000, 64, protocol, 0)
        return ETHERNET + b"\x08\0" + head + bytes((10, 77, 0, host, 10, 77, 0, 3)) + segment
    head = struct.pack("!IHBB", 6 << 28, len(segment), protocol, 64)
    prefix = b"\xfd\x77" + bytes(13)
    return ETHERNET + b"\x86\xdd" + head + prefix + bytes((host,)) + prefix + b"\x03" + segment


def write_both(folder: Path, count: int, seed: int) -> list[Path]:
    """`made.pcap` (microseconds, as tcpdump writes it) and `made.pcapng` (nanoseconds, as Wireshark does)."""
    old, new = folder / "made.pcap", folder / "made.pcapng"
    with old.open("wb") as pcap, new.open("wb") as pcapng:
        pcap.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1))
        pcapng.write(struct.pack("<IIIHHqI", 0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0, -1, 28))
        pcapng.write(struct.pack("<IIHHIHHB3xII", 1, 32, 1, 0, 0, 9, 1, 9, 0, 32))
        for now, frame in frames(count, seed):
            size, pad = len(frame), -len(frame) & 3
            pcap.write(struct.pack("<IIII", now // 10**9, now % 10**9 // 1000, size, size) + frame)
            head = struct.pack("<IIIIIII", 6, 32 + size + pad, 0, now >> 32, now & 0xFFFFFFFF, size, size)
            pcapng.write(head + frame + bytes(pad) + head[4:8])
    return [old, new]
