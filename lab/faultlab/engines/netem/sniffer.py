"""Sees every frame on the devices of a network namespace, with the kernel's own time for each.

A packet socket with a ring of memory shared with the kernel (packet(7); the kernel's
Documentation/networking/packet_mmap.rst, TPACKET_V2): no system call per frame, and room for bursts that a socket's
receive buffer would lose. An outgoing frame is seen as it leaves the qdisc, an incoming one before the bridge.
"""

from __future__ import annotations

import mmap
import socket
from collections.abc import Iterator
from struct import Struct, pack
from typing import NamedTuple

FRAME_ROOM = 2048
"""A slot of the ring: headers, and a frame of 1,514 bytes."""
BLOCK_SIZE = 1 << 17
BLOCKS = 256
SLOTS = BLOCKS * BLOCK_SIZE // FRAME_ROOM

_SOL_PACKET = 263
_PACKET_RX_RING, _PACKET_STATISTICS, _PACKET_VERSION = 5, 6, 10
_TPACKET_V2 = 1
_ALL_PROTOCOLS = 0x0003
_OURS = 1
_HEADER = Struct("=IIIHHII")
_ADDRESS_AT = 32
_ADDRESS = Struct("=HHiHBB")
_OUTGOING = 4
_STATISTICS = Struct("=II")
_TO_KERNEL = b"\0\0\0\0"


class Sighting(NamedTuple):
    """A frame on a device: `outgoing` towards its node, else coming from it. `wall` is ns since the epoch."""

    device: int
    outgoing: bool
    wall: int
    frame: bytes
    size: int
    """As it was on the device; `frame` is shorter where it did not fit the ring's slot."""


class Sniffer:
    """Sees frames from the moment it is made, on all devices of the network namespace it is made in."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL_PROTOCOLS))
        self._socket.setsockopt(_SOL_PACKET, _PACKET_VERSION, _TPACKET_V2)
        self._socket.setsockopt(_SOL_PACKET, _PACKET_RX_RING, pack("=4I", BLOCK_SIZE, BLOCKS, FRAME_ROOM, SLOTS))
        self._ring = mmap.mmap(self._socket.fileno(), BLOCKS * BLOCK_SIZE)
        self._slot = 0
        self._lost = 0

    def fileno(self) -> int:
        """To wait on: readable while there are sightings."""
        return self._socket.fileno()

    def read(self, at_most: int = SLOTS) -> Iterator[Sighting]:
        """What was seen and not read yet, in order."""
        ring = self._ring
        for _ in range(at_most):
            at = self._slot * FRAME_ROOM
            status, size, kept, frame_at, _, seconds, nanoseconds = _HEADER.unpack_from(ring, at)
            if not status & _OURS:
                return
            _, _, device, _, kind, _ = _ADDRESS.unpack_from(ring, at + _ADDRESS_AT)
            frame = ring[at + frame_at : at + frame_at + kept]
            ring[at : at + 4] = _TO_KERNEL
            self._slot = (self._slot + 1) % SLOTS
            yield Sighting(device, kind == _OUTGOING, seconds * 1_000_000_000 + nanoseconds, frame, size)

    @property
    def lost(self) -> int:
        """Frames that found the ring full, so far (PACKET_STATISTICS counts since it was last asked)."""
        _, dropped = _STATISTICS.unpack(self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, _STATISTICS.size))
        self._lost += dropped
        return self._lost

    def close(self) -> None:
        self._ring.close()
        self._socket.close()
