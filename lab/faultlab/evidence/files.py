"""Evidence files that are readable at any time: written in whole blocks, appended, bounded.

`CaptureWriter` writes pcapng, the IETF draft "PCAP Next Generation (pcapng) Capture File Format", with times of
nanosecond resolution since the epoch, one interface for each node, and the nodes' names for their addresses.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from pathlib import Path
from struct import Struct

from faultlab.network.topology import Node

FILE_LIMIT = 4 << 30
"""A file stops growing here; what is left out is counted in the ledger's last words."""

BLOCK = Struct("<IIIIIII")
"""How an enhanced packet block starts: type 6, total size, interface, time (high, low), captured and original size."""
PACKET_BLOCK = 6
_TAIL = Struct("<HHQHHI")
_OPTION = Struct("<HH")
_U32 = Struct("<I")


class Appender:
    """One file, appended to in whole blocks; counts what no longer fits."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self.name = path.name
        self.parts: list[bytes] = []
        self.written = 0
        self.left_out = 0

    def flush(self) -> bool:
        """Returns whether there was anything to write."""
        if not self.parts:
            return False
        block, self.parts = b"".join(self.parts), []
        if self.written + len(block) > FILE_LIMIT:
            self.left_out += len(block)
            return True
        view = memoryview(block)
        while view:
            count = os.write(self._fd, view)
            view = view[count:]
        self.written += len(block)
        return True

    def close(self) -> None:
        self.flush()
        os.close(self._fd)


def written(files: Iterable[Appender]) -> dict[str, int]:
    """How many bytes of each file are on disk, by its name: whole records and blocks."""
    return {file.name: file.written for file in files}


class CaptureWriter(Appender):
    """A pcapng file; interface n has the n-th name. `side` says in words which end of the network it shows.

    Of `hosts` it says the names of their addresses, for programs that show names.
    """

    def __init__(self, path: Path, names: Sequence[str], side: str, hosts: Sequence[Node] = ()) -> None:
        super().__init__(path)
        self.parts.append(section_header())
        self.parts.extend(interface(name, f"{name}, {side}") for name in names)
        if hosts:
            self.parts.append(name_resolution(hosts))

    def packet(self, interface: int, frame: bytes, packet_id: int, comment: bytes, wall: int) -> None:
        """`comment` is an option as `comment_option` makes it; `wall` is ns since the epoch."""
        size = len(frame)
        pad = bytes(-size & 3)
        total = 28 + size + len(pad) + len(comment) + 20
        head = BLOCK.pack(PACKET_BLOCK, total, interface, wall >> 32, wall & 0xFFFFFFFF, size, size)
        self.parts += (head, frame, pad, comment, _TAIL.pack(5, 8, packet_id, 0, 0, total))


def comment_option(text: str) -> bytes:
    return _option(1, text)


def _option(code: int, text: str | bytes) -> bytes:
    value = text.encode() if isinstance(text, str) else text
    return _OPTION.pack(code, len(value)) + value + bytes(-len(value) & 3)


def _block(kind: int, body: bytes) -> bytes:
    total = _U32.pack(len(body) + 12)
    return _U32.pack(kind) + total + body + total


def section_header() -> bytes:
    return _block(0x0A0D0D0A, Struct("<IHHq").pack(0x1A2B3C4D, 1, 0, -1) + _option(4, "fault-lab") + bytes(4))


def interface(name: str, description: str) -> bytes:
    nanoseconds = b"\x09"
    options = _option(2, name) + _option(3, description) + _option(9, nanoseconds) + bytes(4)
    return _block(1, Struct("<HHI").pack(1, 0, 0) + options)


def name_resolution(hosts: Sequence[Node]) -> bytes:
    """The draft's Name Resolution Block: record 1 is an IPv4 address and its name, 2 an IPv6 one, 0 ends them."""
    records = [
        _option(kind, ip_address(address).packed + host.name.encode() + b"\0")
        for host in hosts
        for kind, address in ((1, host.ipv4), (2, host.ipv6))
    ]
    return _block(4, b"".join(records) + bytes(4))
