"""TCP options of single packets: window scale (RFC 7323, 2) and selective acknowledgements (RFC 2018, RFC 2883)."""

from __future__ import annotations

from collections.abc import Iterator

from faultlab.network.packets import HALF, MASK

_END, _NOTHING, _SCALE, _SACK = 0, 1, 3, 5
_MAX_SCALE = 14  # RFC 7323, 2.3


def tcp_options(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(kind, value) of each option, up to the first that does not fit (RFC 9293, 3.1)."""
    at = 0
    while at < len(data) and data[at] != _END:
        if data[at] == _NOTHING:
            at += 1
            continue
        size = data[at + 1] if at + 1 < len(data) else 0
        if size < 2 or at + size > len(data):
            return
        yield data[at], data[at + 2 : at + size]
        at += size


def window_scale(data: bytes) -> int | None:
    """A SYN's shift count, at most 14; None without the option."""
    return next(
        (min(value[0], _MAX_SCALE) for kind, value in tcp_options(data) if kind == _SCALE and len(value) == 1), None
    )


def sack_blocks(data: bytes) -> list[tuple[int, int]]:
    """(first number, number after the last) of each block that the receiver has, in the option's order."""
    words = [value for kind, value in tcp_options(data) if kind == _SACK and len(value) % 8 == 0]
    return [
        (int.from_bytes(value[at : at + 4]), int.from_bytes(value[at + 4 : at + 8]))
        for value in words
        for at in range(0, len(value), 8)
    ]


def reports_duplicate(blocks: list[tuple[int, int]], ack: int) -> bool:
    """Whether the first block is a D-SACK: bytes that had arrived before (RFC 2883, 4)."""
    if not blocks:
        return False
    first, end = blocks[0]
    if 0 < (ack - first) & MASK < HALF:
        return True
    return len(blocks) > 1 and (first - blocks[1][0]) & MASK < HALF and (blocks[1][1] - end) & MASK < HALF
