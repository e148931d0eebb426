"""TCP conversations packet by packet, as captures: between 10.0.0.1:1000, which is `A`, and 10.0.0.2:80, `B`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from struct import Struct

from faultlab.captures.tcp import Analysis, analyse
from faultlab.captures.tcp_marks import Mark

_FLAGS = {"F": 0x01, "S": 0x02, "R": 0x04, "P": 0x08, "A": 0x10}
_TCP, _RECORD = Struct("!HHIIBBHHH"), Struct("<IIII")
_START_NS = 1_700_000_000 * 10**9


@dataclass(frozen=True)
class Segment:
    """`ms` after the capture's start; `flags` by their letters: `SA`. `host` tells conversations apart."""

    ms: float
    end: str
    flags: str
    seq: int
    ack: int
    size: int = 0
    window: int = 1000
    options: bytes = b""
    host: int = 0

    def frame(self) -> bytes:
        options = self.options + bytes(-len(self.options) % 4)
        ports = (1000, 80) if self.end == "A" else (80, 1000)
        flags = sum(_FLAGS[letter] for letter in self.flags)
        numbers = self.seq & 0xFFFFFFFF, self.ack & 0xFFFFFFFF
        head = _TCP.pack(*ports, *numbers, 5 + len(options) // 4 << 4, flags, self.window, 0, 0)
        tcp = head + options + b"x" * self.size
        a, b = bytes((10, 0, 0, 1)), bytes((10, 1 + (self.host >> 8), self.host & 255, 2))
        ends = a + b if self.end == "A" else b + a
        return bytes(12) + b"\x08\0\x45\0" + (20 + len(tcp)).to_bytes(2) + b"\0\0\0\0\x40\x06\0\0" + ends + tcp


def write(path: Path, segments: Iterable[Segment]) -> Path:
    """A pcap file with nanoseconds."""
    out = bytearray(bytes.fromhex("4d3cb2a1 0200 0400 00000000 00000000 00000400 01000000"))
    for segment in segments:
        frame, at = segment.frame(), _START_NS + round(segment.ms * 1e6)
        out += _RECORD.pack(at // 10**9, at % 10**9, len(frame), len(frame)) + frame
    path.write_bytes(out)
    return path


def analysed(folder: Path, *segments: Segment) -> Analysis:
    return analyse(write(folder / "conversation.pcap", segments))


def marks(folder: Path, *segments: Segment) -> list[Mark]:
    return [Mark(bits) for bits in analysed(folder, *segments).marked.marks.tolist()]
