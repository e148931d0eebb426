"""The headers that are decoded, as numpy records: names, types and order of their fields on the wire."""

from __future__ import annotations

from typing import Any

import numpy as np


def _header(text: str) -> np.dtype[Any]:
    """Of `name type name type ...`; types are numpy's, big-endian."""
    words = text.split()
    return np.dtype([(name, f">{kind}") for name, kind in zip(words[::2], words[1::2], strict=True)])


IPV4_HEADER = _header(
    "version u1 service u1 bytes u2 id u2 fragment u2 ttl u1 protocol u1 checksum u2 source u4 target u4"
)
"""RFC 791, 3.1, without options; `version` has the header's length too, `fragment` the flags."""
IPV6_HEADER = _header(
    "version u1 flow V3 bytes u2 next u1 hops u1 source_high u8 source_low u8 target_high u8 target_low u8"
)
"""RFC 8200, 3."""
EXTENSION_HEADER = _header("next u1 size u1 fragment u2 id u4")
"""RFC 8200, 4; the last two are a fragment header's (4.5)."""
GRE_HEADER = _header("flags u2 type u2")
"""RFC 2784, 2.1; fields that the flags announce follow."""
TCP_HEADER = _header("source u2 target u2 seq u4 ack u4 flags u2 window u2 checksum u2 urgent u2")
"""RFC 9293, 3.1, without options; `flags` has the header's length too."""
UDP_HEADER = _header("source u2 target u2 bytes u2 checksum u2")
"""RFC 768."""
DNS_START = _header("id u2 flags u2")
"""RFC 1035, 4.1.1; four counts follow."""
