"""A capture of some nodes, taken out of the lab's two: what they sent and what they were handed, in one file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from struct import Struct

from faultlab.analysis.capture_tail import Seen
from faultlab.evidence.files import interface, name_resolution, section_header
from faultlab.network.topology import Node

_INTERFACE = Struct("<I")
_INTERFACE_AT = 8
"""Of a packet block: behind its type and its size."""


class NodeCapture:
    """pcapng with an interface for each chosen node and side, packet comments as they are, and all nodes' names."""

    def __init__(self, hosts: Sequence[Node], chosen: Sequence[str], sides: Sequence[str]) -> None:
        """`hosts` are all of the lab's, in its order; `chosen` are the names of those wanted."""
        self._hosts = hosts
        ends = [(side, number) for side in sides for number, host in enumerate(hosts) if host.name in chosen]
        self._number = {end: number for number, end in enumerate(ends)}

    def header(self) -> bytes:
        """What the file begins with."""
        names = [(self._hosts[node].name, side) for side, node in self._number]
        interfaces = [interface(name, f"{name}, as {side}") for name, side in names]
        return section_header() + b"".join(interfaces) + name_resolution(self._hosts)

    def blocks(self, batch: Iterable[Seen]) -> bytes:
        """Those packets of the batch that are of the chosen nodes and sides."""
        return b"".join(
            seen.block[:_INTERFACE_AT] + _INTERFACE.pack(number) + seen.block[_INTERFACE_AT + _INTERFACE.size :]
            for seen in batch
            if (number := self._number.get((seen.side, seen.node))) is not None
        )
