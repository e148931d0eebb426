# SPDX-License-Identifier: GPL-2.0-only
"""Datagrams made by hand with scapy, from inside a node, and whether they were answered. A program of its own: scapy is
GPL-2.0-only.

`python datagrams.py CASE ADDRESS MAC DEVICE` sends the case's packets, and then one that is as it should be from
another port: when that is answered, what was to come for the others has come. It prints {"answer": TEXT or null}.
The MAC is needed because nobody in the lab answers ARP: its neighbours are static (docs/architecture.md).
"""

from __future__ import annotations

import json
import struct
import sys
import time

from scapy.config import conf
from scapy.layers.inet import ICMP, IP, UDP, fragment
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

UDP_PORT, DNS_PORT = 41234, 53
OURS, CONTROL = 40_000, 40_001
WAIT_S = 5.0
TEXT = b"made by hand"
LONG = bytes(range(48, 88)) * 2
ASKED = b"\0\1\0\1"
"""Type A, class IN (RFC 1035, 3.2)."""


def datagram(payload: bytes, port: int = UDP_PORT, **fields: int) -> Packet:
    return UDP(sport=OURS, dport=port, **fields) / Raw(payload)


def checksum(address: str) -> int:
    return int(IP(bytes(IP(dst=address) / datagram(TEXT)))[UDP].chksum)


def fragments(address: str, number: int) -> list[Packet]:
    """`number` is the datagram's: fragments that are kept of another must not be taken for its own (RFC 6864)."""
    return list(fragment(IP(dst=address, id=number) / datagram(LONG), fragsize=32))


def overlapping(address: str) -> list[Packet]:
    """The second fragment begins 8 bytes before the first one ends, and says otherwise what is there."""
    first, second, *rest = fragments(address, 4)
    return [first, IP(dst=address, id=4, flags="MF", frag=3, proto=17) / Raw(b"another!" + bytes(second[Raw])), *rest]


def trailing(address: str) -> list[Packet]:
    """The length says `made`, and the IP packet goes on."""
    told = bytes(IP(dst=address) / datagram(b"made"))[20:]
    return [IP(dst=address, proto=17) / Raw(told + b" by hand")]


def question(name: bytes) -> Packet:
    return datagram(struct.pack("!6H", 4711, 0x0100, 1, 0, 0, 0) + name + ASKED, DNS_PORT)


def packets(case: str, address: str) -> list[Packet]:
    whole = IP(dst=address)
    match case:
        case "udp":
            return [whole / datagram(TEXT)]
        case "udp-bad-checksum":
            right = checksum(address)
            # Zero would mean "no checksum" (RFC 768), so one bit is turned that leaves something else.
            return [whole / datagram(TEXT, chksum=right ^ (1 if right != 1 else 2))]
        case "udp-no-checksum":
            return [whole / datagram(TEXT, chksum=0)]
        case "udp-length-too-long":
            return [whole / datagram(TEXT, len=100)]
        case "udp-length-below-a-header":
            return [whole / datagram(TEXT, len=7)]
        case "udp-length-too-short":
            return trailing(address)
        case "fragments":
            return fragments(address, 1)
        case "fragments-reversed":
            return fragments(address, 2)[::-1]
        case "fragments-overlapping":
            return overlapping(address)
        case "fragment-missing":
            return fragments(address, 3)[:-1]
        case "dns-loop":
            return [whole / question(b"\xc0\x0c")]
        case "dns-two-pointers":
            return [whole / question(b"\1a\xc0\x10\xc0\x0e")]
        case "dns-forward-pointer":
            return [whole / question(b"\xc0\x20")]
        case "ping":
            return [whole / ICMP(id=7, seq=1) / Raw(TEXT)]
    raise SystemExit(f"unknown case {case!r}")


def control(case: str, address: str) -> Packet:
    right = question(b"\6client\3lab\0") if case.startswith("dns") else datagram(TEXT)
    right[UDP].sport = CONTROL
    return IP(dst=address) / right


def said(case: str, answer: Packet) -> str:
    if case.startswith("dns"):
        return f"rcode {bytes(answer[UDP].payload)[3] & 15}"
    return bytes(answer[Raw].load).decode()


def main() -> None:
    case, address, mac, device = sys.argv[1:]
    sock = conf.L2socket(iface=device)
    for packet in (*packets(case, address), control(case, address)):
        sock.send(Ether(dst=mac) / packet)
    answer, over, end = None, False, time.monotonic() + WAIT_S
    while not over and (left := end - time.monotonic()) > 0:
        for ready in sock.select([sock], left):
            frame = ready.recv()
            if frame is None or IP not in frame or frame[IP].src != address or frame.dst == mac:
                continue
            if UDP in frame and ICMP not in frame:
                over = over or frame[UDP].dport == CONTROL
                answer = said(case, frame) if frame[UDP].dport == OURS else answer
            elif ICMP in frame and frame[ICMP].type == 0:
                answer = said(case, frame)
    if not over:
        raise SystemExit("the datagram that is as it should be was not answered")
    print(json.dumps({"answer": answer}))


if __name__ == "__main__":
    main()
