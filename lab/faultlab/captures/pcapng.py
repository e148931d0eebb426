"""Reads pcapng: the IETF draft "PCAP Next Generation (pcapng) Capture File Format" (draft-ietf-opsawg-pcapng).

Sections of both byte orders, interfaces with their own clock resolution, enhanced, simple and obsolete packet blocks,
and name resolution. Other blocks are passed over and have no number; Wireshark counts custom blocks among its frames.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from faultlab.captures.columns import I64, U8, U64, Columns, Flags, address_text
from faultlab.captures.reader import NOTHING, Frames, Interface, Reader
from faultlab.captures.window import SIZE, OpenFile, gather

MAGIC = b"\x0a\x0d\x0d\x0a"
"""The type of a section header, which reads the same in both byte orders."""
Order = Literal["little", "big"]
ORDERS: dict[bytes, Order] = {b"\x4d\x3c\x2b\x1a": "little", b"\x1a\x2b\x3c\x4d": "big"}
_SECTION, _INTERFACE, _OBSOLETE, _SIMPLE, _NAMES, _ENHANCED = 0x0A0D0D0A, 1, 2, 3, 4, 6
_MAJOR = 1
_LEAST, _LEAST_SECTION, _LEAST_INTERFACE, _LEAST_PACKET, _LEAST_SIMPLE = 12, 28, 20, 32, 16
"""Sizes of blocks without options, names or frame."""
PACKET_HEAD, _SIMPLE_HEAD = 28, 12
_IF_NAME, _IF_DESCRIPTION, _IF_TSRESOL, _IF_TSOFFSET = 2, 3, 9, 14
COMMENT, PACKET_ID = 1, 5
_COMMENTS_SKIPPED = 4
_LAST = (1 << 63) - 1
_TICK, _OFFSET, _TOO_LATE, _LINK = range(4)  # of the table of interfaces


@dataclass(frozen=True, slots=True)
class _Clock:
    """An interface's: `per_second` ticks from `offset` seconds after the epoch."""

    per_second: int
    offset: int

    def time_ns(self, ticks: int) -> int:
        """Nanoseconds since the epoch; the nearest that 64 bits hold."""
        return max(-_LAST, min(_LAST, ticks * 1_000_000_000 // self.per_second + self.offset * 1_000_000_000))

    def plain(self) -> tuple[int, int, int]:
        """(nanoseconds in a tick, offset in ns, the first tick that 64 bits can not take); all 0 for other clocks."""
        tick, odd = divmod(1_000_000_000, self.per_second)
        offset = self.offset * 1_000_000_000
        return (0, 0, 0) if odd or abs(offset) > _LAST // 2 else (tick, offset, _LAST // 2 // tick)


class PcapngReader(Reader):
    def __init__(self, file: OpenFile) -> None:
        super().__init__(file, 0)
        self._use("little")
        self._new_section()

    def _new_section(self) -> None:
        """`first` is the number of the section's first interface; of its interfaces are the rest."""
        self._first = len(self.interfaces)
        self._clocks: list[_Clock] = []
        self._snap: list[int] = []
        self._table: NDArray[np.int64] = np.empty((0, 4), np.int64)

    def _use(self, order: Order) -> None:
        self._order = order
        sign = "<" if order == "little" else ">"
        self._start = struct.Struct(sign + "II")
        self._interface_head = struct.Struct(sign + "HxxI")
        self._word, self._half = np.dtype(sign + "u4"), np.dtype(sign + "u2")
        self._head = np.dtype([("kind", self._word), ("size", self._word)])
        names = ("kind", "size", "interface", "high", "low", "captured", "original")
        self._packet = np.dtype([(name, self._word) for name in names])

    def _walk(self, packets: int) -> Frames | None:
        base = self.window.start
        at = self.position - base
        if self.window.data[at : at + 4] == MAGIC:
            return self._section(at)
        starts, after = self._chain(at, packets)
        if not starts:
            return None
        where = np.array(starts, np.int64)
        heads = gather(self.window.bytes, where, self._head)
        kinds, sizes = heads["kind"].astype(np.int64), heads["size"].astype(np.int64)
        good = self._good(where, kinds, sizes)
        if good < len(starts):
            after = starts[good]
            self._damage(base + after, f"a block of {sizes[good]} bytes contradicts itself")
            where, kinds, sizes = where[:good], kinds[:good], sizes[:good]
        self.position = base + after
        known = self._first_interfaces(where, kinds, sizes)
        return self._frames(where, kinds, sizes, known)

    def _chain(self, at: int, blocks: int) -> tuple[list[int], int]:
        """Where blocks start that lie in the window whole, up to the next section, and where the next one would."""
        data, unpack = self.window.data, self._start.unpack_from
        starts: list[int] = []
        append = starts.append
        try:
            for _ in range(min(blocks, (len(data) - at) // _LEAST)):  # a size of 0 does not keep it here for long
                kind, size = unpack(data, at)
                if kind == _SECTION:
                    break
                append(at)
                at += size
        except struct.error:
            pass  # the window ends
        if starts and at > len(data):
            at = starts.pop()
        return starts, at

    def _good(self, where: I64, kinds: I64, sizes: I64) -> int:
        """How many blocks there are before the first whose lengths can't be right."""
        wrong = (sizes < _LEAST) | (sizes & 3 != 0) | ((kinds == _INTERFACE) & (sizes < _LEAST_INTERFACE))
        count = _before_first(wrong)
        ends = gather(self.window.bytes, where[:count] + sizes[:count] - 4, self._word)
        return _before_first(ends != sizes[:count])

    def _section(self, at: int) -> Frames | None:
        data, base = self.window.data, self.window.start
        if at + _LEAST > len(data):
            return None
        order = ORDERS.get(data[at + 8 : at + 12])
        if order is None:
            self._damage(base + at, "a section without a byte order")
            return None
        self._use(order)
        size = self._start.unpack_from(data, at)[1]
        if at + max(size, _LEAST_SECTION) > len(data):
            return None
        if size < _LEAST_SECTION or size % 4 or data[at + 4 : at + 8] != data[at + size - 4 : at + size]:
            self._damage(base + at, f"a section header of {size} bytes contradicts itself")
            return None
        major = int.from_bytes(data[at + 12 : at + 14], order)
        if major != _MAJOR:
            self._damage(base + at, f"a section of version {major}, only {_MAJOR} is known")
            return None
        self.position += size
        self._new_section()
        return NOTHING

    def _first_interfaces(self, where: I64, kinds: I64, sizes: I64) -> I64:
        """Takes in interfaces and names; gives how many interfaces the section had before each block."""
        before = len(self._clocks)
        for index in np.flatnonzero((kinds == _INTERFACE) | (kinds == _NAMES)).tolist():
            start, end = int(where[index]), int(where[index] + sizes[index]) - 4
            if kinds[index] == _INTERFACE:
                self._interface(start, end)
            else:
                self.names.update(self._name_records(start + 8, end))
        return before + np.cumsum(kinds == _INTERFACE)

    def _interface(self, start: int, end: int) -> None:
        data = self.window.data
        link_type, snap = self._interface_head.unpack_from(data, start + 8)
        name = description = b""
        per_second, offset = 1_000_000, 0
        for code, value in options(data, start + 16, end, self._order):
            if code == _IF_NAME:
                name = value
            elif code == _IF_DESCRIPTION:
                description = value
            elif code == _IF_TSRESOL and len(value) == 1:
                per_second = (2 if value[0] & 0x80 else 10) ** (value[0] & 0x7F)
            elif code == _IF_TSOFFSET and len(value) == 8:
                offset = int.from_bytes(value, self._order, signed=True)
        self.interfaces.append(Interface(_text(name), link_type, _text(description)))
        self._clocks.append(_Clock(per_second, offset))
        self._snap.append(snap)

    def _name_records(self, at: int, end: int) -> Iterator[tuple[str, str]]:
        """(address, its first name). Records of other addresses are passed over."""
        for code, value in options(self.window.data, at, end, self._order):
            size = {1: 4, 2: 16}.get(code, len(value))
            name = value[size:].split(b"\0")[0]
            if name and code == 1:
                yield address_text(4, 0, int.from_bytes(value[:4])), _text(name)
            elif name and code == 2:
                yield address_text(6, int.from_bytes(value[:8]), int.from_bytes(value[8:16])), _text(name)

    def _frames(self, where: I64, kinds: I64, sizes: I64, known: I64) -> Frames:
        """The packets among the blocks; `known` is how many interfaces there were for each block to name."""
        chosen = (kinds == _ENHANCED) | (kinds == _SIMPLE) | (kinds == _OBSOLETE)
        short = chosen & (sizes < np.where(kinds == _SIMPLE, _LEAST_SIMPLE, _LEAST_PACKET))
        self._say_all(where[short], "a packet block is smaller than its fields")
        chosen &= ~short
        if not chosen.any():
            return NOTHING
        if not chosen.all():
            where, kinds, sizes, known = where[chosen], kinds[chosen], sizes[chosen], known[chosen]
        head = self._heads(where, kinds, sizes)
        simple = kinds == _SIMPLE
        long = head["captured"] > sizes - np.where(simple, _LEAST_SIMPLE, _LEAST_PACKET)
        lost = head["interface"] >= known
        self._say_all(where[long], "a packet is larger than its block")
        self._say_all(where[lost & ~long], "a packet of an interface that the section does not have")
        if (right := ~(long | lost)).sum() < len(where):
            where, head, simple = where[right], head[right], simple[right]
        interface = head["interface"].astype(np.int64)
        table = self._interface_table()
        return Frames(
            where=where + np.where(simple, _SIMPLE_HEAD, PACKET_HEAD),
            time_ns=self._times(head, interface, simple, table),
            interface=(interface + self._first).astype(np.int32),
            link_type=table[interface, _LINK].astype(np.uint16),
            captured=head["captured"].astype(np.uint32),
            original=head["original"].astype(np.uint32),
        )

    def _heads(self, where: I64, kinds: I64, sizes: I64) -> NDArray[Any]:
        """The fields before the frame, as an enhanced packet block has them."""
        enhanced = kinds == _ENHANCED
        if enhanced.all():
            return gather(self.window.bytes, where, self._packet)
        heads = np.zeros(len(where), self._packet)
        long, simple, obsolete = kinds != _SIMPLE, kinds == _SIMPLE, kinds == _OBSOLETE
        heads[long] = gather(self.window.bytes, where[long], self._packet)
        # Two 16-bit fields stand in the place of the interface: its number, and a count of lost packets.
        heads["interface"][obsolete] = gather(self.window.bytes, where[obsolete] + 8, self._half)
        original = gather(self.window.bytes, where[simple] + 8, self._word)
        snap = self._snap[0] if self._snap else 0
        heads["original"][simple] = original
        heads["captured"][simple] = np.minimum(np.minimum(original, snap or SIZE), sizes[simple] - _LEAST_SIMPLE)
        return heads

    def _times(self, head: NDArray[Any], interface: I64, simple: Flags, table: I64) -> I64:
        ticks = head["high"].astype(np.uint64) << np.uint64(32) | head["low"].astype(np.uint64)
        clocks = table[interface]
        plain = ticks < clocks[:, _TOO_LATE].astype(np.uint64)
        times = ticks.astype(np.int64) * clocks[:, _TICK] + clocks[:, _OFFSET]
        for index in np.flatnonzero(~plain).tolist():
            times[index] = self._clocks[interface[index]].time_ns(int(ticks[index]))
        times[simple] = 0  # such a block has no time
        return times

    def _interface_table(self) -> I64:
        """For each interface: nanoseconds in a tick, offset, the first tick for which they do not hold, link type."""
        known = len(self._table)
        if known < len(self._clocks):
            types = [interface.link_type for interface in self.interfaces[self._first + known :]]
            new = [(*clock.plain(), kind) for clock, kind in zip(self._clocks[known:], types, strict=True)]
            self._table = np.concatenate((self._table, np.array(new, np.int64)))
        return self._table

    def _say_all(self, where: I64, text: str) -> None:
        for at in where.tolist():
            self._say(self.window.start + at, text)

    def _stuck(self, rest: int) -> None:
        at = self.position - self.window.start
        if rest >= _LEAST:
            size = self._start.unpack_from(self.window.data, at)[1]
            if size > SIZE or size < _LEAST or size % 4:
                self._damage(self.position, f"a block of {size} bytes")
                return
        self._rest = f"offset {self.position}: a block is cut short, the file has {rest} bytes of it"


def packet_order(head: bytes) -> Order | None:
    """The byte order of a block with a packet in it and options, by its first bytes; None for another block."""
    if head[:4] in (b"\x06\0\0\0", b"\x02\0\0\0"):
        return "little"
    return "big" if head[:4] in (b"\0\0\0\x06", b"\0\0\0\x02") else None


def options(data: bytes, at: int, end: int, order: Order) -> Iterator[tuple[int, bytes]]:
    """(code, value) of each option between two offsets; one that is longer than what holds it ends them."""
    while at + 4 <= end:
        code, size = int.from_bytes(data[at : at + 2], order), int.from_bytes(data[at + 2 : at + 4], order)
        if code == 0 or at + 4 + size > end:
            return
        yield code, data[at + 4 : at + 4 + size]
        at += 4 + (size + 3 & ~3)


def packet_ids(path: Path, columns: Columns) -> U64:
    """The ledger id that a lab's own captures give each packet (epb_packetid); 0 where it has none.

    Only little-endian pcapng has ids. Options follow the frame, which is filled up to 32 bits
    (draft-ietf-opsawg-pcapng, 3.5 and 4.3). A lab writes at most the comment before the id.
    """
    none = np.zeros(len(columns), np.uint64)
    data: U8 = np.memmap(path, np.uint8, mode="r") if len(columns) else np.zeros(0, np.uint8)
    if bytes(data[:4]) != MAGIC or ORDERS.get(bytes(data[8:12])) != "little":
        return none
    captured = columns.captured.astype(np.int64)
    at = columns.at + captured + (-captured & 3)
    for _ in range(_COMMENTS_SKIPPED):
        comment = _number(data, at, 2) == COMMENT
        if not comment.any():
            break
        size = _number(data, at + 2, 2).astype(np.int64)
        at = np.where(comment, at + 4 + size + (-size & 3), at)
    return np.where(_number(data, at, 4) == (8 << 16 | PACKET_ID), _number(data, at + 4, 8), none)


def _number(data: U8, at: I64, size: int) -> U64:
    """The little-endian numbers of `size` bytes at these places; 0 where the file ends before."""
    whole = at + size <= len(data)
    start = np.where(whole, at, 0)
    number = np.zeros(len(at), np.uint64)
    for byte in range(size):
        number |= data[start + byte].astype(np.uint64) << np.uint64(8 * byte)
    return np.where(whole, number, np.uint64(0))


def _before_first(wrong: Flags) -> int:
    return int(wrong.argmax()) if wrong.any() else len(wrong)


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace").rstrip("\0")
