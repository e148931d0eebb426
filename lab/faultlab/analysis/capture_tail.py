"""A capture of the lab's as it grows: its packets, from its bytes in whatever pieces they come."""

from __future__ import annotations

from typing import NamedTuple

from faultlab.evidence.files import BLOCK, PACKET_BLOCK
from faultlab.evidence.pcapng import COMMENT, PACKET_ID, blocks, packet_fields, packet_option


class Seen(NamedTuple):
    """A packet on one side of the network: `node` is its interface's number, `time_ns` counts from the epoch."""

    side: str
    node: int
    time_ns: int
    block: bytes
    """As it is in the file: an enhanced packet block of pcapng."""

    @property
    def frame(self) -> bytes:
        return self.block[BLOCK.size : BLOCK.size + packet_fields(self.block, 0)[2]]

    @property
    def comment(self) -> str:
        """What was decided: `dropped: dropped by f1 (random 10%)`. Engine netem says it only at the end."""
        return self._option(COMMENT).decode()

    @property
    def packet(self) -> int:
        """Its number in the ledger; 0 while engine netem has given it none."""
        return int.from_bytes(self._option(PACKET_ID), "little")

    def _option(self, wanted: int) -> bytes:
        return packet_option(self.block, 0, len(self.block), wanted) or b""


class CaptureTail:
    """Takes a capture's bytes from the start of any of its blocks on, cut anywhere; `side` goes into what is seen."""

    def __init__(self, side: str) -> None:
        self._side = side
        self._rest = b""

    def feed(self, data: bytes) -> list[Seen]:
        """The packets that are whole with this piece. LabFailure where the file is none of the lab's."""
        data, behind, found = self._rest + data, 0, []
        for kind, start, behind in blocks(data):
            if kind == PACKET_BLOCK:
                node, time, _ = packet_fields(data, start)
                found.append(Seen(self._side, node, time, data[start:behind]))
        self._rest = data[behind:]
        return found
