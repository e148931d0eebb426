# SPDX-License-Identifier: GPL-2.0-only
"""`python -m dissect LINKTYPE < frame`; exit status 2 where scapy knows no such link layer."""

from __future__ import annotations

import sys

from scapy.all import IP, IPv6, conf, hexdump

RAW_IP = {101, 228, 229}
"""Link types without a link layer: the first four bits are the IP version."""


def main() -> None:
    link_type, frame = int(sys.argv[1]), sys.stdin.buffer.read()
    if link_type in RAW_IP:
        layer = IPv6 if frame[:1] and frame[0] >> 4 == 6 else IP
    elif link_type in conf.l2types.num2layer:
        layer = conf.l2types.num2layer[link_type]
    else:
        print(f"scapy knows no link type {link_type}", file=sys.stderr)
        sys.exit(2)
    print(layer(frame).show(dump=True).rstrip())
    print(hexdump(frame, dump=True))


if __name__ == "__main__":
    main()
