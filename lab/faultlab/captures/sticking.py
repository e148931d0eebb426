"""Sticking: TCP carries bytes, not messages (RFC 9293, 2.2), so a segment may hold parts of several messages."""

from __future__ import annotations

import numpy as np

from faultlab.captures.columns import I64


def messages_in(offsets: I64, sizes: I64, ends: I64) -> I64:
    """Of how many messages each segment holds a part. More than 1 is sticking.

    `offsets` and `sizes` are the segments' in their byte stream (`Analysis.segments`, `Columns.payload`); `ends` are
    the offsets after the last byte of each message, sorted. What follows the last of them is one message, not whole.
    """
    first = np.searchsorted(ends, offsets, side="right")
    last = np.searchsorted(ends, offsets + sizes - 1, side="right")
    return np.where(sizes > 0, last - first + 1, 0)
