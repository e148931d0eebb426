"""Reads the captures that a lab writes: pcapng (draft-ietf-opsawg-pcapng), little-endian, nanoseconds.

`blocks` and `option` are for every reader of these files; `faultlab.captures` reads any capture, with code of its own.
"""

from __future__ import annotations

import mmap
from array import array
from contextlib import suppress
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from struct import Struct, error

from faultlab.errors import LabFailure
from faultlab.evidence.files import BLOCK, PACKET_BLOCK

_HEAD = Struct("<II")
_ID = Struct("<Q")
_OPTION = Struct("<HH")
_SMALLEST = 12
_SECTION, _INTERFACE = 0x0A0D0D0A, 1
_END_OF_OPTIONS, COMMENT, _NAME, PACKET_ID = 0, 1, 2, 5
Data = bytes | memoryview | mmap.mmap


def blocks(data: Data) -> Iterator[tuple[int, int, int]]:
    """(type, start, end) of each block; a last one that is cut short is left out. LabFailure for a size of none."""
    at = 0
    while at + _HEAD.size <= len(data):
        kind, size = _HEAD.unpack_from(data, at)
        if size < _SMALLEST or size % 4:
            raise LabFailure(f"a block of {size} bytes in the capture, which is none of ours")
        if at + size > len(data):
            return
        yield kind, at, at + size
        at += size


def option(data: Data, at: int, end: int, wanted: int) -> bytes | None:
    """The value of the first option of this code between two offsets; None where there is none."""
    while at + _OPTION.size <= end:
        code, size = _OPTION.unpack_from(data, at)
        if code == wanted:
            return bytes(data[at + 4 : at + 4 + size])
        if code == _END_OF_OPTIONS:
            return None
        at += 4 + (size + 3) // 4 * 4
    return None


def packet_fields(data: Data, start: int) -> tuple[int, int, int]:
    """(interface, ns since the epoch, size of the frame) of the packet block that starts there."""
    _, _, interface, high, low, size, _ = BLOCK.unpack_from(data, start)
    return interface, high << 32 | low, size


def packet_option(data: Data, start: int, end: int, wanted: int) -> bytes | None:
    """An option of a packet block; they follow the frame, which is filled up to 32 bits."""
    size = packet_fields(data, start)[2]
    return option(data, start + BLOCK.size + (size + 3) // 4 * 4, end - 4, wanted)


def read_packets(data: memoryview) -> Iterator[tuple[int, int, memoryview]]:
    """(interface, ns since the epoch, frame) of each packet."""
    for kind, start, _ in blocks(data):
        if kind == PACKET_BLOCK:
            interface, time, size = packet_fields(data, start)
            yield interface, time, data[start + BLOCK.size : start + BLOCK.size + size]


@dataclass(frozen=True, slots=True)
class Captured:
    """One packet of a capture. `number` counts from 1, as Wireshark does; `time` is the wall clock in ns."""

    number: int
    node: str
    time: int
    packet: int
    frame: bytes


class Capture:
    """A capture file, indexed: packet ids and times are at hand, frames are read when asked for.

    `complete` is False where the last block was cut short, or one contradicts itself: what comes then is left out.
    """

    def __init__(self, path: Path) -> None:
        """LabFailure where the file can't be read or is no capture of this lab."""
        self.name = path.name
        self.complete = False
        self.nodes: list[str] = []
        self.packets = array("Q")
        self.times = array("Q")
        self._interfaces = array("H")
        self._offsets = array("Q")
        self._sizes = array("I")
        try:
            with path.open("rb") as file:
                self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as failure:
            raise LabFailure(f"{path}: no capture to read: {failure.strerror}") from failure
        except ValueError as failure:  # there is no map of nothing
            raise LabFailure(f"{path}: no capture to read: the file is empty") from failure
        try:
            self._index()
        except (error, UnicodeDecodeError) as failure:
            raise LabFailure(f"{path}: not a capture of this lab, or damaged") from failure

    def __len__(self) -> int:
        return len(self.packets)

    def __getitem__(self, index: int) -> Captured:
        return Captured(
            index + 1,
            self.nodes[self._interfaces[index]],
            self.times[index],
            self.packets[index],
            self.frame(index),
        )

    def __iter__(self) -> Iterator[Captured]:
        return (self[index] for index in range(len(self)))

    def node(self, index: int) -> str:
        return self.nodes[self._interfaces[index]]

    def frame(self, index: int) -> bytes:
        at = self._offsets[index]
        return self._data[at : at + self._sizes[index]]

    def _index(self) -> None:
        data, behind = self._data, 0
        with suppress(LabFailure):
            for kind, start, end in blocks(data):
                if kind == PACKET_BLOCK:
                    self._index_packet(start, end)
                elif kind == _INTERFACE:
                    self.nodes.append(_present(option(data, start + 16, end - 4, _NAME)).decode())
                elif kind == _SECTION and start:
                    raise error("a second section")
                behind = end
        self.complete = behind == len(data)

    def _index_packet(self, start: int, end: int) -> None:
        interface, time, size = packet_fields(self._data, start)
        self.packets.append(_ID.unpack(_present(packet_option(self._data, start, end, PACKET_ID)))[0])
        self.times.append(time)
        self._interfaces.append(interface)
        self._offsets.append(start + BLOCK.size)
        self._sizes.append(size)


def _present(value: bytes | None) -> bytes:
    if value is None:
        raise error("an option is missing")
    return value
