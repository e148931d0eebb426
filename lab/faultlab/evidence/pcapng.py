"""Reads the captures that a lab writes (pcapng, little-endian, nanoseconds), without holding their frames in memory.

A last block that was cut short is left out, and `complete` says so.
"""

from __future__ import annotations

import mmap
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from struct import Struct, error

from faultlab.errors import LabFailure
from faultlab.evidence.files import find_option

_HEAD = Struct("<II")
_PACKET = Struct("<IIIII")
_ID = Struct("<Q")
_SECTION, _INTERFACE, _ENHANCED = 0x0A0D0D0A, 1, 6
_NAME, _PACKET_ID = 2, 5


@dataclass(frozen=True, slots=True)
class Captured:
    """One packet of a capture. `number` counts from 1, as Wireshark does; `time` is the wall clock in ns."""

    number: int
    node: str
    time: int
    packet: int
    frame: bytes


class Capture:
    """A capture file, indexed: packet ids and times are at hand, frames are read when asked for."""

    def __init__(self, path: Path) -> None:
        """LabFailure where the file can't be read or is no capture of this lab."""
        self.name = path.name
        self.complete = True
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
        data, at, end = self._data, 0, len(self._data)
        while at < end:
            if at + 12 > end:
                self.complete = False
                return
            kind, size = _HEAD.unpack_from(data, at)
            if at + size > end or size < 12 or size % 4:
                self.complete = False
                return
            if kind == _ENHANCED:
                self._index_packet(at, size)
            elif kind == _INTERFACE:
                self.nodes.append(_text(data, at + 16, at + size - 4, _NAME))
            elif kind == _SECTION and at:
                raise error("a second section")
            at += size

    def _index_packet(self, at: int, size: int) -> None:
        interface, high, low, captured, _ = _PACKET.unpack_from(self._data, at + 8)
        options = at + 28 + (captured + 3) // 4 * 4
        value = _option(self._data, options, at + size - 4, _PACKET_ID)
        self.packets.append(_ID.unpack(value)[0])
        self.times.append(high << 32 | low)
        self._interfaces.append(interface)
        self._offsets.append(at + 28)
        self._sizes.append(captured)


def _option(data: mmap.mmap, at: int, end: int, wanted: int) -> bytes:
    value = find_option(data, at, end, wanted)
    if value is None:
        raise error(f"no option {wanted}")
    return value


def _text(data: mmap.mmap, at: int, end: int, wanted: int) -> str:
    return _option(data, at, end, wanted).decode()
