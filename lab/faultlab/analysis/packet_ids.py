"""The ledger ids that a lab's own captures carry with each packet (pcapng's option epb_packetid)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from faultlab.captures.columns import I64, U8, U64, Columns

_SECTION = bytes.fromhex("0a0d0d0a")
_COMMENT, _PACKET_ID = 1, 5
_COMMENTS_SKIPPED = 4


def packet_ids(path: Path, columns: Columns) -> U64:
    """One for each packet; 0 where it has none, as in every file that is not little-endian pcapng.

    Options follow the frame, which is filled up to 32 bits (draft-ietf-opsawg-pcapng, 3.5 and 4.3). A lab writes at
    most the comment before the id.
    """
    none = np.zeros(len(columns), np.uint64)
    data: U8 = np.memmap(path, np.uint8, mode="r") if len(columns) else np.zeros(0, np.uint8)
    if bytes(data[:4]) != _SECTION or bytes(data[8:12]) != bytes.fromhex("4d3c2b1a"):
        return none
    captured = columns.captured.astype(np.int64)
    at = columns.at + captured + (-captured & 3)
    for _ in range(_COMMENTS_SKIPPED):
        comment = _number(data, at, 2) == _COMMENT
        if not comment.any():
            break
        size = _number(data, at + 2, 2).astype(np.int64)
        at = np.where(comment, at + 4 + size + (-size & 3), at)
    return np.where(_number(data, at, 4) == (8 << 16 | _PACKET_ID), _number(data, at + 4, 8), none)


def _number(data: U8, at: I64, size: int) -> U64:
    """The little-endian numbers of `size` bytes at these places; 0 where the file ends before."""
    whole = at + size <= len(data)
    start = np.where(whole, at, 0)
    number = np.zeros(len(at), np.uint64)
    for byte in range(size):
        number |= data[start + byte].astype(np.uint64) << np.uint64(8 * byte)
    return np.where(whole, number, np.uint64(0))
