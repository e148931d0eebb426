"""The wire as the supervisor's engine: a TAP device for each node, one process that holds them all."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lab.engines import links
from lab.engines.wire import loop
from lab.engines.worker import Worker
from lab.errors import LabFailure, MissingCapability
from lab.runtimes import linux
from lab.runtimes.base import NodeSpace, Plan, Spawner


class WireEngine:
    """See `lab.runtimes.base.LinkEngine`."""

    name = "wire"

    @staticmethod
    def check_host() -> None:
        if not os.access(linux.TUN_DEVICE, os.R_OK | os.W_OK):
            exists = Path(linux.TUN_DEVICE).exists()
            fix = f"sudo chmod 0666 {linux.TUN_DEVICE}" if exists else "sudo modprobe tun"
            raise MissingCapability("wire", f"{linux.TUN_DEVICE} is {'not open to you' if exists else 'missing'}", fix)

    def __init__(self) -> None:
        self._taps: list[int] = []
        self._spaces: Sequence[NodeSpace] = ()
        self._worker: Worker | None = None

    def connect(self, spaces: Sequence[NodeSpace], plan: Plan) -> None:
        self._spaces = spaces
        for space in spaces:
            with space.inside():
                self._taps.append(linux.open_tap("eth0"))
                links.address(space, plan)

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
        self._worker = Worker("wire", ours)

    def order(self, order: dict[str, Any]) -> dict[str, Any]:
        if self._worker is None:
            raise LabFailure("the wire is not running")
        return self._worker.ask(order)

    def stop(self) -> dict[str, Any]:
        counts = self.order({"do": "stop"})
        lost = {space.node.name: links.lost_before_engine(space) for space in self._spaces}
        return {**counts, "lost_before_wire": {name: count for name, count in lost.items() if count}}
