"""The standard lab: its nodes, the servers on them, and what is published on the host's loopback."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from faultlab.network.plan import Service
from faultlab.network.topology import Node

NODES = ("client", "tcp-server", "udp-server", "dns-server", "toxiproxy")
OWN = "server"
"""The node of the user's own server, in a lab that has one."""
TCP_PORTS = {"raw": 8080, "line": 8081, "length2": 8082}
UDP_PORT = 41234
DNS_PORT = 53
TOXIPROXY_API = 8474
PORTS: dict[str, tuple[str, ...]] = {
    "dns-server": (f"udp/{DNS_PORT}", f"tcp/{DNS_PORT}"),
    "tcp-server": tuple(f"tcp/{port}" for port in TCP_PORTS.values()),
    "udp-server": (f"udp/{UDP_PORT}",),
    "toxiproxy": tuple(f"tcp/{port}" for port in (TOXIPROXY_API, *TCP_PORTS.values())),
}
"""What must listen before a server counts as up."""
Publish = tuple[str, int, str, str, int]
"""(protocol, wished port on 127.0.0.1, node that relays, node that serves, its port)"""
PUBLISHED: tuple[Publish, ...] = (
    ("tcp", 8080, "client", "tcp-server", 8080),
    ("tcp", 8081, "client", "tcp-server", 8081),
    ("tcp", 8082, "client", "tcp-server", 8082),
    ("udp", 41234, "client", "udp-server", 41234),
    ("udp", 10053, "client", "dns-server", 53),
    ("tcp", 10053, "client", "dns-server", 53),
)
CONTROL: tuple[Publish, ...] = (("tcp", 8474, "toxiproxy", "localhost", TOXIPROXY_API),)
"""toxiproxy's API, for those who ask for it: every user of this host can then set its toxics.

It is relayed from inside its own node, so that control never crosses a faulted path.
"""

TOXIPROXY_HINT = "install Go (1.23 or newer) and run `make toxiproxy`, or set LAB_TOXIPROXY to the server's binary"


def find_toxiproxy() -> str | None:
    """The toxiproxy server: $LAB_TOXIPROXY, the checkout's own build, or one on the PATH."""
    asked = os.environ.get("LAB_TOXIPROXY")
    if asked is not None:
        return asked if os.access(asked, os.X_OK) else None
    built = Path(__file__).resolve().parents[3] / ".build" / "bin" / "toxiproxy-server"
    return str(built) if os.access(built, os.X_OK) else shutil.which("toxiproxy-server")


def services(nodes: Sequence[Node], evidence: Path, seed: int, udp_mode: str = "ack") -> tuple[Service, ...]:
    """The servers for those of the standard nodes that are in `nodes`; a node of another name gets none."""
    found = []
    by_name = {node.name: node for node in nodes}
    if "dns-server" in by_name:
        records = evidence / "dns-records.json"
        records.write_text(json.dumps({node.name: [node.ipv4, node.ipv6] for node in nodes}) + "\n")
        argv = ("dns-server", "--port", str(DNS_PORT), "--zone", "lab.", "--records", str(records), "--seed", str(seed))
        found.append(_server("dns-server", argv))
    if "tcp-server" in by_name:
        found.append(_server("tcp-server", ("tcp-server",)))
    if "udp-server" in by_name:
        mode = ("udp-server", "--port", str(UDP_PORT), "--mode", udp_mode)
        found.append(_server("udp-server", mode))
    toxiproxy = find_toxiproxy()
    if "toxiproxy" in by_name and "tcp-server" in by_name and toxiproxy is not None:
        found.append(_toxiproxy(toxiproxy, by_name["tcp-server"], evidence, seed))
    return tuple(found)


def _server(name: str, argv: tuple[str, ...]) -> Service:
    command = (sys.executable, "-P", "-m", "faultlab_services", *argv, "--journal", f"{{run}}/journal-{name}.jsonl")
    return Service(name, name, command, PORTS[name])


def _toxiproxy(binary: str, server: Node, evidence: Path, seed: int) -> Service:
    """The real server, with a proxy in front of each TCP listener at the same port."""
    proxies = [
        {"name": f"tcp-{framing}", "listen": f"[::]:{port}", "upstream": f"{server.ipv4}:{port}", "enabled": True}
        for framing, port in TCP_PORTS.items()
    ]
    config = evidence / "toxiproxy.json"
    config.write_text(json.dumps(proxies) + "\n")
    argv = (binary, "-host", "127.0.0.1", "-port", str(TOXIPROXY_API), "-config", str(config), "-seed", str(seed))
    return Service("toxiproxy", "toxiproxy", argv, PORTS["toxiproxy"])
