"""A capture's times with what a frame can have waited unseen (`faultlab.evidence.gaps`), of many packets at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from faultlab.captures.columns import I32, I64
from faultlab.evidence.gaps import Gaps


def earliest(gaps: Gaps, time_ns: I64, source: I32, nodes: Sequence[str]) -> I64:
    """When each packet can have been sent; `source` is an index into `nodes`."""
    first = _earliest(gaps.spans(), time_ns)
    for number, name in enumerate(nodes):
        own = gaps.spans(name)
        if own:
            of_node = source == number
            first[of_node] = np.minimum(first[of_node], _earliest(own, time_ns[of_node]))
    return first


def latest(gaps: Gaps, time_ns: I64) -> I64:
    """When each packet can have been handed over."""
    spans = gaps.spans()
    if not spans:
        return time_ns
    begins, ends = np.array(spans, np.int64).T
    at = np.searchsorted(begins, time_ns, side="right") - 1
    return np.where(at >= 0, np.maximum(time_ns, ends[at]), time_ns)


def _earliest(spans: Sequence[tuple[int, int]], time_ns: I64) -> I64:
    if not spans:
        return time_ns.copy()
    begins, ends = np.array(spans, np.int64).T
    at = np.searchsorted(ends, time_ns)
    return np.where(at < len(ends), np.minimum(time_ns, begins[np.minimum(at, len(ends) - 1)]), time_ns)
