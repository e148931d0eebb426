"""Reads pcap: the IETF draft "PCAP Capture File Format" (draft-ietf-opsawg-pcap), in both byte orders."""

from __future__ import annotations

import struct

import numpy as np

from faultlab.captures.reader import Frames, Interface, Reader
from faultlab.captures.window import OpenFile, gather

MAGICS = {
    b"\xd4\xc3\xb2\xa1": ("<", 1000),
    b"\xa1\xb2\xc3\xd4": (">", 1000),
    b"\x4d\x3c\xb2\xa1": ("<", 1),
    b"\xa1\xb2\x3c\x4d": (">", 1),
}
"""How a file begins: its byte order, and how many nanoseconds the second half of its times counts in."""
HEADER = 24
_MAJOR = 2
MAX_FRAME = 1 << 18
"""The largest frame that capture programs write (MAXIMUM_SNAPLEN of tcpdump(1)); a larger length is damage."""
_RECORD = 16


class PcapReader(Reader):
    def __init__(self, file: OpenFile, header: bytes) -> None:
        """`header`: the file's first 24 bytes."""
        super().__init__(file, HEADER)
        order, self._tick = MAGICS[header[:4]]
        major = struct.unpack_from(order + "H", header, 4)[0]
        if major != _MAJOR:
            self._damage(0, f"a file of version {major}, only {_MAJOR} is known")
        # The high half of the word is about checksums at the frames' end.
        self._link_type = struct.unpack_from(order + "I", header, 20)[0] & 0xFFFF
        self._captured = struct.Struct(order + "8xI")
        self._head = np.dtype([(name, order + "u4") for name in ("seconds", "part", "captured", "original")])
        self.interfaces.append(Interface("", self._link_type, ""))

    def _walk(self, packets: int) -> Frames | None:
        base = self.window.start
        starts, after = self._chain(self.position - base, packets)
        if not starts:
            return None
        at = np.array(starts, np.int64)
        heads = gather(self.window.bytes, at, self._head)
        wrong = np.flatnonzero(heads["captured"] > MAX_FRAME)
        if len(wrong):
            first = int(wrong[0])
            after = starts[first]
            self._too_large(base + after, int(heads["captured"][first]))
            at, heads = at[:first], heads[:first]
        self.position = base + after
        count = len(at)
        return Frames(
            where=at + _RECORD,
            time_ns=heads["seconds"].astype(np.int64) * 1_000_000_000 + heads["part"].astype(np.int64) * self._tick,
            interface=np.zeros(count, np.int32),
            link_type=np.full(count, self._link_type, np.uint16),
            captured=heads["captured"].astype(np.uint32),
            original=heads["original"].astype(np.uint32),
        )

    def _chain(self, at: int, packets: int) -> tuple[list[int], int]:
        """Where records start that lie in the window whole, and where the next one would."""
        data, unpack = self.window.data, self._captured.unpack_from
        starts: list[int] = []
        append = starts.append
        try:
            for _ in range(packets):
                (captured,) = unpack(data, at)
                append(at)
                at += _RECORD + captured
        except struct.error:
            pass  # the window ends
        if starts and at > len(data):
            at = starts.pop()
        return starts, at

    def _stuck(self, rest: int) -> None:
        if rest >= _RECORD:
            (captured,) = self._captured.unpack_from(self.window.data, self.position - self.window.start)
            if captured > MAX_FRAME:
                self._too_large(self.position, captured)
                return
        self._rest = f"offset {self.position}: a packet is cut short, the file has {rest} bytes of it"

    def _too_large(self, offset: int, captured: int) -> None:
        self._damage(offset, f"a packet of {captured} bytes is larger than any that is captured")
