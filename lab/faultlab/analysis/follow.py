"""The packets of a lab that runs, as they come: of both captures, in the order of their times.

Whoever holds the lab says when to look and how far the files are whole (`Lab.flush`). All are whole up to the same
moment, so what is in a later batch is later, and it is enough to sort each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from os import SEEK_END
from pathlib import Path

from faultlab.analysis.capture_tail import CaptureTail, Seen
from faultlab.errors import LabFailure

SIDES = ("sent", "delivered")
_PIECE = 1 << 20


class Growing:
    """A file that something else appends to. LabFailure where it is not there."""

    def __init__(self, path: Path) -> None:
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise LabFailure(f"{path}: no evidence to read: {error.strerror}") from error

    def skip(self, size: int | None) -> None:
        """Go on behind the first `size` bytes (None: all there is)."""
        self._file.seek(*((0, SEEK_END) if size is None else (size,)))

    def read(self, size: int | None = None) -> Iterator[bytes]:
        """What is new, in pieces of at most 1 MiB, up to the first `size` bytes of the file (None: all there is)."""
        while size is None or self._file.tell() < size:
            piece = self._file.read(_PIECE if size is None else min(_PIECE, size - self._file.tell()))
            if not piece:
                return
            yield piece


def follow(
    folder: Path, moments: Iterable[Mapping[str, int | None]], sides: Sequence[str] = SIDES
) -> Iterator[list[Seen]]:
    """A batch for each of `moments`, which say how many bytes of each file are there, as `Lab.flush` has it.

    What was there at the first moment is passed over, so the first batch is empty. None is all there is, when the lab
    has ended.
    """
    files = {f"{side}.pcapng": (Growing(folder / f"{side}.pcapng"), CaptureTail(side)) for side in sides}
    begun = False
    for written in moments:
        for name, (file, _) in files.items():
            if not begun:
                file.skip(written[name])
        begun = True
        yield _in_order(seen for name, (file, tail) in files.items() for seen in _new(file, tail, written[name]))


def _new(file: Growing, tail: CaptureTail, size: int | None) -> Iterator[Seen]:
    for piece in file.read(size):
        yield from tail.feed(piece)


def _in_order(batch: Iterable[Seen]) -> list[Seen]:
    """Of the same time, what was sent comes before what was delivered: they may be one packet."""
    return sorted(batch, key=lambda seen: seen.time_ns)
