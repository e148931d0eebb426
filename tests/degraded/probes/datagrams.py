# SPDX-License-Identifier: GPL-2.0-only
"""Packets made by hand with scapy, from inside a node, and what came back. A program of its own: scapy is GPL-2.0-only.

`python datagrams.py udp|udp-bad-checksum|ping ADDRESS MAC DEVICE` prints one JSON line: {"answer": TEXT or null}.
The MAC is needed because nobody in the lab answers ARP: its neighbours are static (docs/design.md).
"""

from __future__ import annotations

import json
import sys

from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw
from scapy.sendrecv import srp1

PORT = 41234
TIMEOUT_S = 2
TEXT = b"made by hand"


def packet(kind: str, address: str) -> Packet:
    match kind:
        case "udp":
            return IP(dst=address) / UDP(sport=40000, dport=PORT) / Raw(TEXT)
        case "udp-bad-checksum":
            right = IP(bytes(packet("udp", address)))[UDP].chksum
            # Zero would mean "no checksum" (RFC 768), so one bit is turned that leaves something else.
            wrong = right ^ (1 if right != 1 else 2)
            return IP(dst=address) / UDP(sport=40000, dport=PORT, chksum=wrong) / Raw(TEXT)
        case "ping":
            return IP(dst=address) / ICMP(id=7, seq=1) / Raw(TEXT)
    raise SystemExit(f"unknown probe {kind!r}")


def main() -> None:
    kind, address, mac, device = sys.argv[1:]
    answer = srp1(Ether(dst=mac) / packet(kind, address), iface=device, timeout=TIMEOUT_S, verbose=False)
    print(json.dumps({"answer": None if answer is None else bytes(answer[Raw].load).decode()}))


if __name__ == "__main__":
    main()
