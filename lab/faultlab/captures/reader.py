"""What the readers of both formats share: how they go through a file, and what they give.

A reader takes whole blocks only. What follows the last of them is "not yet": `step` can be called again when the file
has grown. Damage is the end: no length after it can be trusted.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from faultlab.captures.columns import I32, I64, U16, U32
from faultlab.captures.window import SIZE, OpenFile, Window

MAX_PROBLEMS = 20


@dataclass(frozen=True, slots=True)
class Interface:
    """Where packets were captured. `link_type` is a LINKTYPE_ value; name and description may be empty."""

    name: str
    link_type: int
    description: str


@dataclass(frozen=True, slots=True)
class Frames:
    """What a file says of some packets; `where` is the frame's offset in the window. Fields as in `Columns`."""

    where: I64
    time_ns: I64
    interface: I32
    link_type: U16
    captured: U32
    original: U32

    def __len__(self) -> int:
        return len(self.where)


NOTHING = Frames(*(np.empty(0, kind) for kind in ("i8", "i8", "i4", "u2", "u4", "u4")))


class Reader(ABC):
    """`position` is the offset of the first block that was not read; `count` the packets before it."""

    def __init__(self, file: OpenFile, position: int) -> None:
        self.window = Window(file)
        self.position = position
        self.count = 0
        self.interfaces: list[Interface] = []
        self.names: dict[str, str] = {}
        self._problems: list[str] = []
        self._unsaid = 0
        self._rest = ""
        self._damaged = False

    @property
    def problems(self) -> list[str]:
        """What could not be read, each with its offset in the file."""
        more = [f"and {self._unsaid} more"] if self._unsaid else []
        return self._problems + more + ([self._rest] if self._rest else [])

    def step(self, packets: int) -> Frames | None:
        """The next packets, at most so many, perhaps none; None where there is no whole block, for now or for good."""
        if self._damaged:
            return None
        self._rest = ""
        window = self.window
        if window.full and window.end - self.position < SIZE // 2:
            window.load(self.position)
        frames = self._walk(packets)
        if frames is None and not self._damaged:
            window.load(self.position)
            frames = self._walk(packets)
        if frames is None and not self._damaged and self.position < window.end:
            self._stuck(window.end - self.position)
        return frames

    @abstractmethod
    def _walk(self, packets: int) -> Frames | None:
        """The packets of the next blocks that are in the window whole; None where there are none. Moves `position`."""

    @abstractmethod
    def _stuck(self, rest: int) -> None:
        """The block at `position`, of which `rest` bytes are at hand, is not whole: say so, or that it is damaged."""

    def _say(self, offset: int, text: str) -> None:
        if len(self._problems) < MAX_PROBLEMS:
            self._problems.append(f"offset {offset}: {text}")
        else:
            self._unsaid += 1

    def _damage(self, offset: int, text: str) -> None:
        self._say(offset, f"{text}; nothing after it was read")
        self._damaged = True
