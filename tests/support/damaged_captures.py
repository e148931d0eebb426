"""Small captures of every form, and the same damaged at random: what the reader must take without an exception.

Capture number n of a seed is always the same one. `make fuzz` (bench/fuzz_captures.py) reads a million of them.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from faultlab.captures.files import CaptureFile
from faultlab.captures.tcp import TcpAnalysis
from faultlab.errors import UsageError

from tests.support.capture_bytes import (
    LINKS,
    ORDERS,
    Order,
    block,
    enhanced,
    interface,
    names,
    obsolete,
    option,
    pcap,
    pcapng,
    section,
    simple,
)
from tests.support.golden_frames import FRAMES

Damage = Callable[[random.Random, bytearray], None]


def samples() -> list[bytes]:
    """Of 1 to 30 packets each."""
    golden, talk = list(FRAMES.values()), conversation()
    out = [some for order in ORDERS for some in (pcap(golden, order), pcapng(golden, order), every_block(order))]
    out += [pcap(talk, "big", nano=True), pcapng(talk), pcapng(talk, "big") + pcapng(golden[:3])]
    for link_type, frame in LINKS.values():
        out += [pcap([frame], "little", link_type=link_type), pcapng([frame] * 2, "big", link_type)]
    return out


def conversation() -> list[bytes]:
    """Over IPv4 and IPv6: SYNs with window scale, data twice, SACK, a segment after a gap; and DNS questions."""
    out = []
    for base, ip in ((FRAMES["tcp v4"][:34], "v4"), (FRAMES["tcp v6"][:54], "v6")):
        ports = bytes.fromhex("4e201f92" if ip == "v4" else "4e200035")
        for flags, seq, ack, payload in (
            (0x02, 0, 0, b""), (0x10, 1, 1, b""), (0x18, 1, 1, b"hello" * 9), (0x18, 46, 1, b"more"),
            (0x18, 1, 1, b"hello" * 9), (0x10, 50, 1, b""), (0x10, 50, 1, b""), (0x18, 70, 1, b"\0\x0c" + bytes(12)),
            (0x11, 84, 1, b""), (0x04, 85, 0, b""),
        ):  # fmt: skip
            options = bytes.fromhex("0303070402020101" if flags & 2 else "0101050a0000000100000005")
            size = 5 + len(options) // 4
            segment = ports + seq.to_bytes(4) + ack.to_bytes(4) + bytes((size << 4, flags)) + b"\x20\0\0\0\0\0"
            out.append(_sized(base, segment + options + payload))
    dns = bytes.fromhex("abcd01000001000000000000 03777777 00 0001 0001")
    head = FRAMES["udp v4"][:34]
    out += [_sized(head, bytes.fromhex("4e200035") + (8 + len(dns)).to_bytes(2) + b"\0\0" + dns)] * 10
    return out


def _sized(head: bytes, rest: bytes) -> bytes:
    """An IP header with the right size in it."""
    at, size = (16, 20 + len(rest)) if head[12:14] == b"\x08\0" else (18, len(rest))
    return head[:at] + size.to_bytes(2) + head[at + 2 :] + rest


def every_block(order: Order) -> bytes:
    said = option(order, 2, b"eth0") + option(order, 9, b"\x8a") + option(order, 14, b"\x01" * 8)
    frame = FRAMES["tcp v4"]
    return (
        section(order)
        + interface(order, options=said, snap=60)
        + names(order, (1, bytes((10, 77, 0, 2)) + b"client\0"), (2, bytes(16) + b"nobody\0"))
        + simple(order, frame)
        + enhanced(order, frame, 5 << 32, options=option(order, 1, b"a comment") + option(order, 5, bytes(8)))
        + block(order, 0xBAD, b"somebody's own")
        + interface(order, 276)
        + obsolete(order, LINKS["cooked v2"][1], 7, number=1)
        + section(order)
        + interface(order, 113, option(order, 9, b"\x09"))
        + enhanced(order, LINKS["cooked v1"][1], 9)
    )


def damaged(seed: int, number: int) -> bytes:
    draw = random.Random(seed << 32 | number)
    data = bytearray(draw.choice(SAMPLES))
    for _ in range(draw.choice((1, 1, 2, 3, 6))):
        if data:
            draw.choice(DAMAGES)(draw, data)
    return bytes(data)


def _flip(draw: random.Random, data: bytearray) -> None:
    for _ in range(draw.choice((1, 2, 8))):
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)


def _flip_early(draw: random.Random, data: bytearray) -> None:
    data[draw.randrange(min(len(data), 120))] ^= 1 << draw.randrange(8)


def _cut(draw: random.Random, data: bytearray) -> None:
    del data[draw.randrange(len(data)) :]


def _remove(draw: random.Random, data: bytearray) -> None:
    at = draw.randrange(len(data))
    del data[at : at + draw.choice((1, 2, 4, 16, 60))]


def _splice(draw: random.Random, data: bytearray) -> None:
    """A piece of a capture into this one: in between, or over what is there; often where blocks may start."""
    other = draw.choice(SAMPLES)
    start = draw.randrange(len(other)) & draw.choice((-1, -4))
    piece = other[start : start + draw.choice((4, 28, 92, 400))]
    at = draw.randrange(len(data)) & draw.choice((-1, -4))
    data[at : at + draw.choice((0, len(piece)))] = piece


def _number(draw: random.Random, data: bytearray) -> None:
    """Any length, count, type or address: another number in its place."""
    size = draw.choice((2, 4, 4, 8))
    value = draw.choice(
        (0, 1, 3, 4, 6, 8, 11, 12, 16, 28, 32, 0xFFFF, 1 << 18, 1 << 24, 1 << 31, (1 << 64) - 1, len(data))
    )
    at = draw.randrange(len(data)) & draw.choice((-1, -2, -4))
    data[at : at + size] = (value & (1 << 8 * size) - 1).to_bytes(size, draw.choice(ORDERS))


SAMPLES = samples()
DAMAGES: tuple[Damage, ...] = (_flip, _flip_early, _cut, _remove, _splice, _number, _number)


def take(path: Path, data: bytes) -> int:
    """All that is done with a capture, done with this one. The number of its packets; -1 where it was refused."""
    path.write_bytes(data)
    try:
        file = CaptureFile(path)
    except UsageError:
        return -1
    analysis = TcpAnalysis()
    count = 0
    for columns in file.batches():
        count += len(columns)
        analysis.feed(file, columns)
        for index in {0, len(columns) - 1}:
            file.frame(columns, index), file.comment(columns, index), file.packet_id(columns, index)
    assert all(isinstance(problem, str) for problem in file.problems)
    return count
