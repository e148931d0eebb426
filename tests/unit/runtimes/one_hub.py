"""A hub whose engine joins nothing and says what it is told: `python -m tests.unit.runtimes.one_hub FOLDER NAME`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from faultlab.engines.interface import Cable, Fork, LinkEngine
from faultlab.errors import UsageError
from faultlab.network.plan import Plan
from faultlab.runtimes.compose import hub


class Parrot:
    """The engine. Its process does nothing until it is stopped."""

    name = "parrot"
    cable = "string"

    def __init__(self) -> None:
        self._until, self._stop = os.pipe()

    @staticmethod
    def check_host() -> None: ...

    @staticmethod
    def check_faults(path: str, faults: Sequence[Any]) -> None: ...

    def connect(self, cables: Sequence[Cable], plan: Plan) -> None:
        self.nodes = [(cable.node.name, os.fstat(cable.fd).st_ino) for cable in cables]

    def start(self, plan: Plan, fork: Fork) -> None:
        fork(self.name, lambda: _wait(self._until), (self._until,))

    def order(self, order: dict[str, Any]) -> dict[str, Any]:
        if order["do"] == "set":
            raise UsageError("this engine does nothing")
        return {"faults": {}, "nodes": self.nodes}

    def stop(self) -> dict[str, Any]:
        os.close(self._stop)
        return {"strays": 0}


def _wait(end: int) -> None:
    os.read(end, 1)


def _parrot(name: str) -> LinkEngine:
    return Parrot()


def main() -> None:
    folder = Path(sys.argv[1])
    hub.MEETING_POINT = str(folder / "hub")
    hub.READY = folder / "ready"
    hub.UP_SECONDS = float(os.environ.get("UP_SECONDS", "20"))
    hub.PLUG_SECONDS = float(os.environ.get("PLUG_SECONDS", "10"))
    hub.LOG = folder / "log"
    hub.link_engine = _parrot
    hub.main({"LAB_NAME": sys.argv[2]})


if __name__ == "__main__":
    main()
