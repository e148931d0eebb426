"""What the kernel of the current network namespace dropped after a packet had come in. Light: sidecars import it."""

from __future__ import annotations

from pathlib import Path

COUNTERS = (
    "UdpRcvbufErrors",
    "UdpMemErrors",
    "UdpInCsumErrors",
    "TcpInCsumErrors",
    "TcpExtListenOverflows",
    "TcpExtTCPBacklogDrop",
    "TcpExtTCPReqQFullDrop",
    "TcpExtTCPRcvQDrop",
    "TcpExtTCPOFODrop",
    "TcpExtRcvPruned",
    "IpInDiscards",
    "IpReasmFails",
)
"""As nstat(8) names them, IPv4 and IPv6 together; none that the peer is told of by a packet (RST, ICMP error)."""


def counted() -> dict[str, int]:
    """Those of `COUNTERS` that are not zero (/proc/net/snmp, snmp6, netstat)."""
    counts: dict[str, int] = {}
    folder = Path("/proc/thread-self/net")
    for name in ("snmp", "netstat"):
        lines = _lines(folder / name)
        for names, values in zip(lines[::2], lines[1::2], strict=False):
            prefix = names[0].removesuffix(":")
            counts |= {prefix + one: int(value) for one, value in zip(names[1:], values[1:], strict=True)}
    for name, value in _lines(folder / "snmp6"):
        # Udp6RcvbufErrors; UdpLite6 is another protocol's.
        plain = name.replace("6", "", 1)
        counts[plain] = counts.get(plain, 0) + int(value)
    return {name: counts[name] for name in COUNTERS if counts.get(name)}


def _lines(file: Path) -> list[list[str]]:
    return [line.split() for line in file.read_text().splitlines()] if file.exists() else []
