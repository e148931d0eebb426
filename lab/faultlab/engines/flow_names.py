"""Which flow a frame belongs to, and what that flow is called: the same for every engine, and from run to run."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address

from faultlab.network.packets import Packet
from faultlab.network.topology import EPHEMERAL_PORTS, Node

CONVERSATION_LIMIT = 131_072
"""Conversations remembered by their number; the oldest is forgotten first."""
FRAGMENT_LIMIT = 256


class FlowNames:
    """Keys and labels of the flows between these nodes; remembers fragments and conversations, both bounded."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._owner = {bytes(address): node.name for node in nodes for address in _addresses(node)}
        self._conversations: dict[bytes, str] = {}
        self._opened: dict[str, int] = {}
        self._fragments: dict[tuple[bytes, bytes, int], bytes] = {}

    def key(self, frame: bytes) -> tuple[bytes, int]:
        """The flow's key for any frame, and where its payload starts. Fragments belong to their first one's flow."""
        packet = Packet.parse(frame)
        ports = packet.source_port.to_bytes(2, "big") + packet.target_port.to_bytes(2, "big")
        key = bytes((packet.protocol,)) + packet.source + packet.target + ports
        if packet.fragment:
            name = (packet.source, packet.target, packet.ip_id)
            if packet.fragment & 0x1FFF == 0:
                self._fragments[name] = key
                if len(self._fragments) > FRAGMENT_LIMIT:
                    del self._fragments[next(iter(self._fragments))]
            else:
                key = self._fragments.get(name, key)
        return key, packet.payload_at

    def label(self, key: bytes) -> str:
        """`tcp client:20000 -> tcp-server:8082`, the same from run to run.

        A port that the kernel picked differs each time, so it is written as `*k`: the k-th such conversation between
        these two services since the lab came up. Both directions carry the same name.
        """
        size = (len(key) - 5) // 2
        if size not in (4, 16):
            return f"protocol {key[0]}"
        ends = (
            (key[1 : 1 + size], int.from_bytes(key[-4:-2], "big")),
            (key[1 + size : 1 + 2 * size], int.from_bytes(key[-2:], "big")),
        )
        names = [self._owner.get(address, address.hex()) for address, _ in ends]
        ports = [port for _, port in ends]
        texts = [str(port) for port in ports]
        if any(port in EPHEMERAL_PORTS for port in ports):
            number = self._conversation(key[:1], ends, names)
            texts = [f"*{number}" if port in EPHEMERAL_PORTS else str(port) for port in ports]
        protocol = {6: "tcp", 17: "udp", 1: "icmp", 58: "icmpv6"}.get(key[0], f"protocol {key[0]}")
        family = "6" if size == 16 else ""
        return f"{protocol}{family} {names[0]}:{texts[0]} -> {names[1]}:{texts[1]}"

    def _conversation(
        self, protocol: bytes, ends: tuple[tuple[bytes, int], tuple[bytes, int]], names: list[str]
    ) -> str:
        key = protocol + b"".join(address + port.to_bytes(2, "big") for address, port in sorted(ends))
        number = self._conversations.get(key)
        if number is None:
            services = sorted(
                f"{name}:{'*' if port in EPHEMERAL_PORTS else port}/{len(address)}"
                for name, (address, port) in zip(names, ends, strict=True)
            )
            kind = f"{protocol[0]} {services}"
            self._opened[kind] = self._opened.get(kind, 0) + 1
            number = self._conversations[key] = str(self._opened[kind])
            if len(self._conversations) > CONVERSATION_LIMIT:
                del self._conversations[next(iter(self._conversations))]
        return number


def _addresses(node: Node) -> tuple[bytes, bytes]:
    return ip_address(node.ipv4).packed, ip_address(node.ipv6).packed
