"""The netem of each path, in the kernel: placed, changed, taken away, and its counters read back.

The netem of path a->b hangs in a class of the HTB root on b's port, behind a filter on a's MAC. A path without faults
has no filter, so its frames pass untouched. Faults are changed in place, so there is no moment without one.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator, Sequence
from struct import Struct

from faultlab.engines.netem import messages
from faultlab.engines.netem.messages import HTB_HANDLE, Counters
from faultlab.engines.netem.switch import port
from faultlab.kernel import netlink
from faultlab.network.topology import Node, PathEnds

_HEADER = Struct("=IHHII")
_ERROR, _DONE = 2, 3
_NETEM_FIRST = 0x100
"""Handles of our own: 0x100 + the source's number, and none that the kernel would pick (from 0x8000)."""
_FIXED_OPTIONS = 24
_TCA_NETEM_PRNG_SEED = 14


class Qdiscs:
    """Call it in the namespace of the bridge; it touches nothing but what it made."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._nodes = nodes
        self._ports = [socket.if_nametoindex(port(number)) for number in range(len(nodes))]
        self._there: set[PathEnds] = set()
        self._claimed: set[PathEnds] = set()
        self._gone: dict[PathEnds, Counters] = {}

    def set(self, ends: PathEnds, options: bytes) -> None:
        """Let netem with these options have the path's frames from now on. OSError where the kernel refuses."""
        self._sweep(ends)
        index, classid, handle = self._place(ends)
        if ends in self._there:
            netlink.send([messages.change_netem(index, classid, handle, options)])
        else:
            netlink.send([messages.htb_class(index, classid)])
            try:
                netlink.send([messages.new_netem(index, classid, handle, options)])
            except OSError:
                netlink.send([messages.drop_class(index, classid)])
                raise
            self._there.add(ends)
        if ends not in self._claimed:
            netlink.send([messages.claim(index, ends[0] + 1, self._nodes[ends[0]].mac, classid)])
            self._claimed.add(ends)

    def clear(self, ends: PathEnds) -> None:
        """Let the path's frames pass from now on; what waits in its netem still leaves in its time."""
        if ends in self._claimed:
            netlink.send([messages.unclaim(self._ports[ends[1]], ends[0] + 1)])
            self._claimed.remove(ends)

    def counters(self) -> dict[PathEnds, Counters]:
        """What each path's netem counted, all in all; paths that never had one are absent."""
        found = dict(self._gone)
        by_place = {self._place(ends)[::2]: ends for ends in self._there}
        for index, handle, fields in _list_qdiscs():
            ends = by_place.get((index, handle))
            if ends is not None:
                found[ends] = _sum(found.get(ends), messages.counters(fields))
        return found

    def seeded(self, ends: PathEnds) -> bool:
        """Whether the kernel took the seed (since 6.6): only then does it say which one it uses."""
        place = self._place(ends)[::2]
        fields = next(fields for index, handle, fields in _list_qdiscs() if (index, handle) == place)
        return _TCA_NETEM_PRNG_SEED in messages.options_of(fields, _FIXED_OPTIONS)

    def _place(self, ends: PathEnds) -> tuple[int, int, int]:
        source, target = ends
        return self._ports[target], HTB_HANDLE + source + 1, (_NETEM_FIRST + source) << 16

    def _sweep(self, but: PathEnds) -> None:
        """Take away what has no filter any more and nothing in it: some kernels let a netem that duplicates have no
        other beside it on the device."""
        idle = self._there - self._claimed - {but}
        if not idle:
            return
        counted = self.counters()
        for ends in idle:
            if not counted[ends].waiting:
                index, classid, _ = self._place(ends)
                netlink.send([messages.drop_class(index, classid)])
                self._there.remove(ends)
                self._gone[ends] = counted[ends]


def _sum(one: Counters | None, other: Counters) -> Counters:
    if one is None:
        return other
    return Counters(one.sent + other.sent, one.dropped + other.dropped, other.waiting)


def _list_qdiscs() -> Iterator[tuple[int, int, dict[int, bytes]]]:
    for message in _dump(messages.list_qdiscs()):
        yield messages.parse_qdisc(message)


def _dump(request: bytes) -> Iterator[bytes]:
    """The messages that answer a dump request."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as channel:
        channel.bind((0, 0))
        channel.send(request)
        while True:
            data = channel.recv(1 << 18)
            while data:
                size, kind, _, _, _ = _HEADER.unpack_from(data)
                if kind == _DONE:
                    return
                if kind == _ERROR:
                    number = -int.from_bytes(data[16:20], "little", signed=True)
                    raise OSError(number or errno.EPROTO, f"netlink: {os.strerror(number)}")
                yield data[:size]
                data = data[(size + 3) & ~3 :]
