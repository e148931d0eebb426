"""The wire as the supervisor's engine: a TAP device for each node, one process that holds them all."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lab.engines.wire import loop
from lab.errors import LabFailure, UsageError
from lab.runtimes import linux, netlink
from lab.runtimes.base import NodeSpace, Plan, Spawner

QUEUE = 10_000
"""Frames a TAP holds while the wire is busy; what does not fit, the kernel drops and counts as `tx_dropped`."""
ANSWER_SECONDS = 10.0
_QUIET = {
    "ipv6/conf/eth0/addr_gen_mode": "1",  # no link-local address, so no multicast reports in the ledger
    "ipv6/conf/eth0/accept_ra": "0",
    "ipv6/conf/eth0/router_solicitations": "0",
    "ipv4/tcp_no_metrics_save": "1",  # one connection's fate must not tune the next
}


class WireEngine:
    """See `lab.runtimes.base.LinkEngine`."""

    name = "wire"

    def __init__(self) -> None:
        self._taps: list[int] = []
        self._spaces: Sequence[NodeSpace] = ()
        self._control: socket.socket | None = None

    def connect(self, spaces: Sequence[NodeSpace], plan: Plan) -> None:
        self._spaces = spaces
        for space in spaces:
            with space.inside():
                self._taps.append(linux.open_tap("eth0"))
                for name, value in _QUIET.items():
                    _set(name, value)
                netlink.send(_setup(space, plan))

    def start(self, plan: Plan, spawn: Spawner) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        config = {
            "lab": plan.name,
            "nodes": [vars(node) for node in plan.nodes],
            "taps": self._taps,
            "control": theirs.fileno(),
            "seed": plan.seed,
            "evidence": plan.evidence if plan.record else None,
            "forced_drops": plan.forced_drops,
        }
        spawn.fork("wire", lambda: loop.main(config), (*self._taps, theirs.fileno()))
        theirs.close()
        for fd in self._taps:
            os.close(fd)
        ours.settimeout(ANSWER_SECONDS)
        self._control = ours
        self._answer()

    def order(self, order: dict[str, Any]) -> dict[str, Any]:
        if self._control is None:
            raise LabFailure("the wire is not running")
        try:
            self._control.send(json.dumps(order).encode())
        except OSError as error:
            raise LabFailure(f"the wire is gone: {error}") from error
        answer = self._answer()
        if "error" in answer:
            raise UsageError(answer["error"])
        return answer

    def stop(self) -> dict[str, Any]:
        counts = self.order({"do": "stop"})
        lost = {space.node.name: _tx_dropped(space) for space in self._spaces}
        return {**counts, "lost_before_wire": {name: count for name, count in lost.items() if count}}

    def _answer(self) -> dict[str, Any]:
        assert self._control is not None
        try:
            data = self._control.recv(1 << 20)
        except TimeoutError as error:
            raise LabFailure(f"the wire gave no answer within {ANSWER_SECONDS:g} s") from error
        if not data:
            raise LabFailure("the wire ended")
        answer: dict[str, Any] = json.loads(data)
        return answer


def _setup(space: NodeSpace, plan: Plan) -> list[bytes]:
    lo, eth0 = 1, socket.if_nametoindex("eth0")
    node = space.node
    messages = [
        netlink.link(lo),
        netlink.link(eth0, mac=node.mac, queue=QUEUE),
        netlink.address(eth0, node.ipv4, plan.ipv4_prefix),
        netlink.address(eth0, node.ipv6, plan.ipv6_prefix),
    ]
    for other in plan.nodes:
        if other != node:
            messages += [netlink.neighbour(eth0, address, other.mac) for address in (other.ipv4, other.ipv6)]
    return messages


def _set(name: str, value: str) -> None:
    fd = os.open(f"/proc/sys/net/{name}", os.O_WRONLY)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)


def _tx_dropped(space: NodeSpace) -> int:
    """Frames that eth0's full queue lost before the wire could read them (proc_net_dev(5))."""
    with space.inside(), Path("/proc/thread-self/net/dev").open() as file:
        for line in file:
            name, _, counts = line.partition(":")
            if name.strip() == "eth0":
                return int(counts.split()[11])
    return 0
