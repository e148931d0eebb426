"""Who sent a packet and for whom it is, as small numbers: addresses have a node's name, or stand for themselves."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from faultlab.captures.columns import I32, I64, Columns, address_text

NOBODY = "?"
"""The name of whoever sent a frame that is not IP, or where the header is cut off."""


class Hosts:
    """`names` grows with each host that is met; a host's number is its place in them."""

    def __init__(self, known: Mapping[str, str]) -> None:
        """`known` are names by address, as text."""
        self.names: list[str] = []
        self._known = dict(known)
        self._numbers: dict[str, int] = {}
        for name in self._known.values():
            self._number(name)

    def learn(self, names: Mapping[str, str]) -> None:
        """Names that a capture brings along; what was known before stays."""
        self._known = {**names, **self._known}

    def path(self, path: str) -> tuple[int, int]:
        """The numbers of both nodes of `client->tcp-server`."""
        source, _, target = path.partition("->")
        return self._number(source), self._number(target)

    def ends(self, columns: Columns) -> tuple[I32, I32]:
        """Source and target of each packet, by its IP addresses."""
        version = np.concatenate((columns.ip, columns.ip)).astype(np.uint64)
        high = np.concatenate((columns.source_high, columns.target_high))
        low = np.concatenate((columns.source_low, columns.target_low))
        first, inverse = distinct(version, high, low)
        numbers = [self._host(int(version[at]), int(high[at]), int(low[at])) for at in first]
        both = np.array(numbers, np.int32)[inverse] if numbers else np.zeros(0, np.int32)
        return both[: len(columns)], both[len(columns) :]

    def _host(self, version: int, high: int, low: int) -> int:
        text = address_text(version, high, low) or NOBODY
        return self._number(self._known.get(text, text))

    def _number(self, name: str) -> int:
        if name not in self._numbers:
            self._numbers[name] = len(self.names)
            self.names.append(name)
        return self._numbers[name]


def distinct(*columns: NDArray[np.generic]) -> tuple[I64, I64]:
    """Groups of rows that are equal in all columns: the index of each group's first row, and each row's group.

    Groups are in no particular order. O(n log n), and no row is ever a Python object.
    """
    group = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        values, inverse = np.unique(column, return_inverse=True)
        # Both are below n, so that their product fits into 64 bits for every n that fits into memory.
        group = np.unique(group * len(values) + inverse, return_inverse=True)[1].astype(np.int64)
    return np.unique(group, return_index=True)[1].astype(np.int64), group
