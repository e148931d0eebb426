"""How packets were lost: how many, how sure that rate is, and whether in bursts."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np

from faultlab.captures.columns import I64, Flags

Z95 = 1.959963984540054
"""The normal distribution's quantile for 95% between both tails."""


@dataclass(frozen=True)
class Losses:
    """`sent` packets of which `lost` never arrived.

    `distances`: from each lost packet to the one lost before, in packets (RFC 3357, 4; without the first, which has
    none). `periods`: the length of each run of packets lost one after the other (RFC 3357, 6.3).
    """

    sent: int
    lost: int
    distances: I64
    periods: I64

    @property
    def rate(self) -> float:
        """Type-P-One-way-Packet-Loss-Ratio (RFC 7680, 4.1); 0 where nothing was sent."""
        return self.lost / self.sent if self.sent else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Where the rate of the path itself lies, with 95% confidence, if each packet's fate is its own."""
        return wilson(self.lost, self.sent)


def losses(lost: Flags) -> Losses:
    """Of packets in the order of sending: which of them were lost."""
    at = np.flatnonzero(lost)
    begins = np.flatnonzero(np.diff(at, prepend=-2) > 1)
    periods = np.diff(begins, append=len(at)) if len(at) else np.zeros(0, np.int64)
    return Losses(len(lost), len(at), np.diff(at), periods)


def wilson(count: int, total: int) -> tuple[float, float]:
    """A proportion's 95% score interval (E. B. Wilson, 1927, JASA 22, 209-212); (0, 1) where there is no sample."""
    if not total:
        return 0.0, 1.0
    share, spread = count / total, Z95 * Z95 / total
    middle = (share + spread / 2) / (1 + spread)
    half = Z95 / (1 + spread) * sqrt(share * (1 - share) / total + spread / total / 4)
    # At 0 and at 1 the bounds are exact, and rounding must not say otherwise.
    return (0.0 if count == 0 else middle - half), (1.0 if count == total else middle + half)
