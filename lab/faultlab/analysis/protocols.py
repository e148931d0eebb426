"""Protocols as people ask for them, by the numbers in IP headers (IANA). DNS is what has its port, over either."""

from __future__ import annotations

from faultlab.network.packets import ICMP, ICMPV6, TCP, UDP

PROTOCOLS = {"tcp": (TCP,), "udp": (UDP,), "dns": (TCP, UDP), "icmp": (ICMP, ICMPV6)}
DNS_PORT = 53
