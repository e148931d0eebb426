"""The wire as the supervisor's engine: a TAP device for each node, one process that holds them all."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from faultlab.engines.interface import Cable, Fork
from faultlab.engines.wire import loop
from faultlab.engines.worker import Worker
from faultlab.errors import LabFailure, MissingCapability
from faultlab.faults import Fault
from faultlab.kernel import syscalls
from faultlab.network.plan import Plan


class WireEngine:
    """See `faultlab.engines.interface.LinkEngine`."""

    name = "wire"
    cable = "tap"

    @staticmethod
    def check_host() -> None:
        if not os.access(syscalls.TUN_DEVICE, os.R_OK | os.W_OK):
            exists = Path(syscalls.TUN_DEVICE).exists()
            fix = f"sudo chmod 0666 {syscalls.TUN_DEVICE}" if exists else "sudo modprobe tun"
            raise MissingCapability(
                "wire", f"{syscalls.TUN_DEVICE} is {'not open to you' if exists else 'missing'}", fix
            )

    @staticmethod
    def check_faults(path: str, faults: Sequence[Fault]) -> None:
        """It can do them all."""

    def __init__(self) -> None:
        self._taps: list[int] = []
        self._worker: Worker | None = None

    def connect(self, cables: Sequence[Cable], plan: Plan) -> None:
        self._taps = [cable.fd for cable in cables]

    def start(self, plan: Plan, fork: Fork) -> None:
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
        fork("wire", lambda: loop.main(config), (*self._taps, theirs.fileno()))
        theirs.close()
        for fd in self._taps:
            os.close(fd)
        self._worker = Worker("wire", ours)

    def order(self, order: dict[str, Any]) -> dict[str, Any]:
        if self._worker is None:
            raise LabFailure("the wire is not running")
        return self._worker.ask(order)

    def stop(self) -> dict[str, Any]:
        return self.order({"do": "stop"})
