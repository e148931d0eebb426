"""Nodes, their addresses, and the directed paths between them. Data and validation, no I/O."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product

from faultlab.errors import UsageError

NODE_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
DEFAULT_IPV4 = "10.77.0.0/24"
DEFAULT_IPV6 = "fd77:1ab::/64"
MAX_NODES = 100
MAX_NETWORKS = 256
EPHEMERAL_PORTS = range(49152, 65536)
"""Ports that a node's kernel picks (RFC 6335, 6): they differ from run to run."""
PathEnds = tuple[int, int]
"""(source, target): a path, by its nodes' numbers."""
Block = ipaddress.IPv4Network | ipaddress.IPv6Network
_NO_HOSTS: list[Block] = [
    ipaddress.ip_network(text) for text in ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3")
]
_NO_HOSTS += [ipaddress.ip_network(text) for text in ("::/8", "fe80::/10", "ff00::/8")]
"""Loopback, link-local, multicast and reserved: no block of a network's hosts (RFC 6890; RFC 4291, 2.4)."""


@dataclass(frozen=True)
class Node:
    """A host of the lab: its name, MAC and its one IPv4 and one IPv6 address."""

    name: str
    mac: str
    ipv4: str
    ipv6: str

    @property
    def mac_bytes(self) -> bytes:
        return bytes.fromhex(self.mac.replace(":", ""))


@dataclass(frozen=True, order=True)
class NetworkPath:
    """A directed pair of nodes, written `client->tcp-server`."""

    source: str
    target: str

    def __str__(self) -> str:
        return f"{self.source}->{self.target}"

    @property
    def back(self) -> NetworkPath:
        return NetworkPath(self.target, self.source)


def parse_paths(text: str, nodes: Sequence[str] | None = None) -> tuple[NetworkPath, ...]:
    """`a->b` is one path, `a<->b` both directions. UsageError names what is wrong; `nodes` are the names allowed."""
    match = re.fullmatch(r"\s*([^<>\s]+?)\s*(<?->)\s*([^<>\s]+)\s*", text)
    if not match:
        raise UsageError(f"path {text!r}: expected NODE->NODE or NODE<->NODE, such as 'client->tcp-server'")
    source, arrow, target = match.groups()
    for name in (source, target):
        if nodes is not None and name not in nodes:
            raise UsageError(f"path {text!r}: no node {name!r}; the nodes are {', '.join(nodes)}")
    if source == target:
        raise UsageError(f"path {text!r}: a path joins two different nodes")
    path = NetworkPath(source, target)
    return (path, path.back) if arrow == "<->" else (path,)


@dataclass(frozen=True)
class Network:
    """The lab's own address block: one IPv4 and one IPv6 network."""

    ipv4: ipaddress.IPv4Network = field(default_factory=lambda: ipaddress.IPv4Network(DEFAULT_IPV4))
    ipv6: ipaddress.IPv6Network = field(default_factory=lambda: ipaddress.IPv6Network(DEFAULT_IPV6))

    @classmethod
    def parse(cls, ipv4: str = DEFAULT_IPV4, ipv6: str = DEFAULT_IPV6) -> Network:
        """UsageError where a block can't be read or is too small for a lab."""
        try:
            network = cls(ipaddress.IPv4Network(ipv4), ipaddress.IPv6Network(ipv6))
        except ValueError as error:
            raise UsageError(f"network: {error}; expected blocks such as {DEFAULT_IPV4} and {DEFAULT_IPV6}") from error
        if network.ipv4.prefixlen > 28 or network.ipv6.prefixlen > 120:
            raise UsageError(f"network {ipv4}, {ipv6}: too small; expected /28 or wider, and /120 or wider for IPv6")
        blocks: list[Block] = [network.ipv4, network.ipv6]
        for block, special in product(blocks, _NO_HOSTS):
            if block.version == special.version and block.overlaps(special):
                raise UsageError(f"network {block}: overlaps {special}, which is no place for hosts; choose another")
        return network

    def nodes(self, names: Sequence[str]) -> tuple[Node, ...]:
        """Addresses from .2 upwards, in the order given; the same names always get the same addresses."""
        room = min(MAX_NODES, self.ipv4.num_addresses - 3)
        if len(names) > room:
            raise UsageError(f"network {self.ipv4}: room for {room} nodes, {len(names)} asked for")
        for name in names:
            if not NODE_NAME.fullmatch(name):
                raise UsageError(f"node {name!r}: expected a lower-case letter, then letters, digits or '-'")
        if len(set(names)) != len(names):
            raise UsageError(f"nodes {', '.join(names)}: each name may stand only once")
        return tuple(
            Node(name, f"02:1a:b0:00:00:{number:02x}", str(self.ipv4[number]), str(self.ipv6[number]))
            for number, name in enumerate(names, start=2)
        )


def free_networks(taken: Sequence[Block]) -> Iterator[Network]:
    """The usual blocks, then the next ones, where they overlap nothing that is taken (a default route takes none)."""
    usual = Network()
    for number in range(MAX_NETWORKS):
        ipv4 = ipaddress.IPv4Network((int(usual.ipv4.network_address) + (number << 8), usual.ipv4.prefixlen))
        ipv6 = ipaddress.IPv6Network((int(usual.ipv6.network_address) + (number << 64), usual.ipv6.prefixlen))
        if not any(one.prefixlen and one.overlaps(ipv4 if one.version == 4 else ipv6) for one in taken):
            yield Network(ipv4, ipv6)
