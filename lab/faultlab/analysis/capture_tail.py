"""A capture of the lab's as it grows: its packets, from its bytes in whatever pieces they come."""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from faultlab.errors import LabFailure
from faultlab.evidence.files import BLOCK, find_option

PACKET_BLOCK = 6
_HEAD = Struct("<II")
_SMALLEST = 12
_COMMENT, _PACKET_ID = 1, 5


class Seen(NamedTuple):
    """A packet on one side of the network: `node` is its interface's number, `time_ns` counts from the epoch."""

    side: str
    node: int
    time_ns: int
    block: bytes
    """As it is in the file: an enhanced packet block of pcapng."""

    @property
    def frame(self) -> bytes:
        return self.block[BLOCK.size : BLOCK.size + self._size]

    @property
    def comment(self) -> str:
        """What was decided: `dropped: dropped by f1 (random 10%)`. Engine netem says it only at the end."""
        return self._option(_COMMENT).decode()

    @property
    def packet(self) -> int:
        """Its number in the ledger; 0 while engine netem has given it none."""
        return int.from_bytes(self._option(_PACKET_ID), "little")

    @property
    def _size(self) -> int:
        return int(BLOCK.unpack_from(self.block)[5])

    def _option(self, wanted: int) -> bytes:
        return find_option(self.block, BLOCK.size + (self._size + 3) // 4 * 4, len(self.block) - 4, wanted) or b""


class CaptureTail:
    """Takes a capture's bytes from the start of any of its blocks on, cut anywhere; `side` goes into what is seen."""

    def __init__(self, side: str) -> None:
        self._side = side
        self._rest = b""

    def feed(self, data: bytes) -> list[Seen]:
        """The packets that are whole with this piece. LabFailure where the file is none of the lab's."""
        data, at, found = self._rest + data, 0, []
        while at + _HEAD.size <= len(data):
            kind, total = _HEAD.unpack_from(data, at)
            if total < _SMALLEST or total % 4:
                raise LabFailure(f"a block of {total} bytes in the capture, which is none of ours")
            if at + total > len(data):
                break
            if kind == PACKET_BLOCK:
                _, _, node, high, low, _, _ = BLOCK.unpack_from(data, at)
                found.append(Seen(self._side, node, high << 32 | low, data[at : at + total]))
            at += total
        self._rest = data[at:]
        return found
