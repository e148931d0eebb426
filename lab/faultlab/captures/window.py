"""The part of a capture file that is at hand, and its bytes gathered by offset.

Read with pread(2), not mapped: a file that shrinks while it is read is no signal, and memory is bounded by `SIZE`.
"""

from __future__ import annotations

import os
import weakref
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faultlab.captures.columns import I64, U8

SIZE = 16 << 20
"""Bytes at hand, and the largest block that is read; real ones are far smaller."""


class OpenFile:
    """A file that is read by offset; closed when nobody reads it any more."""

    def __init__(self, path: Path) -> None:
        self._number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._number)

    def read(self, size: int, at: int) -> bytes:
        """Fewer bytes where the file ends before; memory for those only, or many small files would take a lot."""
        return os.pread(self._number, min(size, max(os.fstat(self._number).st_size - at, 0)), at)


class Window:
    """`data` are the bytes of the file from `start`; `full` says that the file may go on after them."""

    def __init__(self, file: OpenFile) -> None:
        self._file = file
        self.data = b""
        self.bytes: U8 = np.empty(0, np.uint8)
        self.start = 0
        self.full = True

    def load(self, start: int) -> None:
        self.data, self.bytes = b"", np.empty(0, np.uint8)  # given back first: never two of them in memory
        self.data = self._file.read(SIZE, start)
        self.bytes = np.frombuffer(self.data, np.uint8)
        self.start = start
        self.full = len(self.data) == SIZE

    @property
    def end(self) -> int:
        return self.start + len(self.data)


def gather(data: U8, at: I64, kind: np.dtype[Any]) -> NDArray[Any]:
    """What stands at each of the offsets, as `kind`; every one of them must lie in `data` whole.

    Plain bytes are copied and then looked at as `kind`: numpy copies records several times slower.
    """
    count = max(len(data) - kind.itemsize + 1, 0)
    rows: NDArray[Any] = np.ndarray((count,), np.dtype((np.void, kind.itemsize)), data, 0, (1,))
    return rows[at].view(kind)
