"""Kernel netem as the supervisor's engine: a bridge, a veth pair for each node, one process that faults and records."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

from faultlab.engines.interface import Cable, Fork
from faultlab.engines.netem import process, switch
from faultlab.engines.netem.support import check, prove
from faultlab.engines.netem.translate import translate
from faultlab.engines.worker import Worker
from faultlab.errors import LabFailure, UsageError
from faultlab.faults import Fault
from faultlab.network.plan import Plan

INFER_SECONDS = 300.0
"""What reading the captures of a long run and inferring its ledger may take."""


class NetemEngine:
    """See `faultlab.engines.interface.LinkEngine`."""

    name = "netem"
    cable = "namespace"

    @staticmethod
    def check_host() -> None:
        check()

    @staticmethod
    def check_faults(path: str, faults: Sequence[Fault]) -> None:
        translate(path, faults)

    def __init__(self) -> None:
        self._worker: Worker | None = None

    def connect(self, cables: Sequence[Cable], plan: Plan) -> None:
        """UsageError where the plan asks for what netem can't do; MissingCapability where the kernel has no netem."""
        if plan.forced_drops is not None:
            raise UsageError("engine netem can't repeat the drops of a recorded run; use --engine wire")
        switch.build(cables)
        prove(switch.port(0))

    def start(self, plan: Plan, fork: Fork) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        config = {
            "lab": plan.name,
            "nodes": [vars(node) for node in plan.nodes],
            "control": theirs.fileno(),
            "seed": plan.seed,
            "evidence": plan.evidence if plan.record else None,
        }
        fork("netem", lambda: process.main(config), (theirs.fileno(),))
        theirs.close()
        self._worker = Worker("netem process", ours)

    def order(self, order: dict[str, Any]) -> dict[str, Any]:
        return self._running().ask(order)

    def stop(self) -> dict[str, Any]:
        return self._running().ask({"do": "stop"}, INFER_SECONDS)

    def _running(self) -> Worker:
        if self._worker is None:
            raise LabFailure("the netem process is not running")
        return self._worker
