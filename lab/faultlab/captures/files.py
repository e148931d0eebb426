"""A capture file, pcap or pcapng, from anywhere: its packets in columns, and single ones as bytes.

    file = CaptureFile(Path("some.pcapng"))
    for columns in file.batches():
        print(columns.time_ns, file.frame(columns, 0), file.problems)

Memory is bounded by `window.SIZE` and the size of a batch, whatever the file's size and whatever it says of itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from faultlab.captures import pcap, pcapng
from faultlab.captures.columns import Columns
from faultlab.captures.decode import decode
from faultlab.captures.reader import Interface, Reader
from faultlab.captures.window import SIZE, OpenFile
from faultlab.errors import UsageError

BATCH = 1 << 16


class CaptureFile:
    """Reading goes on from where it stopped with `more`, so a file that is still being written can be followed."""

    def __init__(self, path: Path) -> None:
        """UsageError where the file can't be read or is no capture."""
        self.path = path
        if path.is_fifo():
            raise UsageError(f"{path}: is a pipe, and a capture is read by offset; write it to a file first")
        try:
            self._file = OpenFile(path)
            self._start = self._file.read(pcap.HEADER, 0)
        except OSError as failure:
            raise UsageError(f"{path}: no capture to read: {failure.strerror}") from failure
        self._reader = self._reading()

    @property
    def interfaces(self) -> list[Interface]:
        """Where packets were captured, as far as the file was read; of all sections, one after another."""
        return self._reader.interfaces

    @property
    def names(self) -> dict[str, str]:
        """The names of addresses that the file gives, as far as it was read: `{"10.77.0.2": "client"}`."""
        return self._reader.names

    @property
    def problems(self) -> list[str]:
        """What could not be read, as far as was tried, each with its offset in the file."""
        return self._reader.problems

    def batches(self, packets: int = BATCH) -> Iterator[Columns]:
        """All packets from the first on, at most `packets` at a time."""
        self._reader = self._reading()
        return self.more(packets)

    def more(self, packets: int = BATCH) -> Iterator[Columns]:
        """The packets after the last that was given: all, or in a file that is being written those that came since."""
        return _columns(self._reader, packets)

    def frame(self, columns: Columns, index: int) -> bytes:
        """What was captured of a packet."""
        return self._file.read(int(columns.captured[index]), int(columns.at[index]))

    def comment(self, columns: Columns, index: int) -> str | None:
        """A packet's first comment."""
        for code, value, _ in self._options(columns, index):
            if code == pcapng.COMMENT:
                return value.decode("utf-8", "replace")
        return None

    def packet_id(self, columns: Columns, index: int) -> int | None:
        """The number that the capturer gave the packet: in our captures, its number in the ledger."""
        for code, value, order in self._options(columns, index):
            if code == pcapng.PACKET_ID and len(value) == 8:
                return int.from_bytes(value, order)
        return None

    def _options(self, columns: Columns, index: int) -> Iterator[tuple[int, bytes, pcapng.Order]]:
        """(code, value, byte order) of a packet's options. A pcap file has none."""
        if isinstance(self._reader, pcapng.PcapngReader):
            start = int(columns.at[index]) - pcapng.PACKET_HEAD
            head = self._file.read(8, start)
            order = pcapng.packet_order(head)
            if order is not None:
                block = self._file.read(min(int.from_bytes(head[4:], order), SIZE), start)
                at = pcapng.PACKET_HEAD + (int(columns.captured[index]) + 3 & ~3)
                for code, value in pcapng.options(block, at, len(block) - 4, order):
                    yield code, value, order

    def _reading(self) -> Reader:
        start = self._start
        if start[:4] in pcap.MAGICS and len(start) == pcap.HEADER:
            return pcap.PcapReader(self._file, start)
        if start[:4] == pcapng.MAGIC and start[8:12] in pcapng.ORDERS:
            return pcapng.PcapngReader(self._file)
        raise UsageError(f"{self.path}: {_why_foreign(start)}")


def _columns(reader: Reader, packets: int) -> Iterator[Columns]:
    while (frames := reader.step(packets)) is not None:
        if len(frames):
            yield decode(reader.window, frames, reader.count + 1)
            reader.count += len(frames)


def _why_foreign(start: bytes) -> str:
    if not start:
        return "is empty; a capture begins with its format's header"
    if start[:2] == b"\x1f\x8b":
        return "is compressed; gunzip it first"
    if start[:4] in pcap.MAGICS or (pcapng.MAGIC.startswith(start[:4]) and len(start) < 12):
        return "ends within its format's header"
    return "is no capture in pcap or pcapng format"
