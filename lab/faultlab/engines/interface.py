"""What a runtime and an engine say to each other: cables, processes, and the orders of a link engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from faultlab.network.plan import Plan
from faultlab.network.topology import Node


@dataclass(frozen=True)
class Cable:
    """A node's link, as its engine asked for it: the descriptor of a TAP device or of the node's network namespace.

    `device` is what the link is called in the node. See `faultlab.kernel.node_device`.
    """

    node: Node
    device: str
    fd: int


Fork = Callable[[str, Callable[[], None], Sequence[int]], int]
"""Run a function of this program in a process of its own: (name, function, its descriptors) -> process id.

It lives in the lab's own network namespace, and its end does not go unnoticed.
"""


class LinkEngine(Protocol):
    """Joins the nodes and puts faults on the paths between them."""

    name: str
    cable: str
    """What it needs of each node: a name in `faultlab.kernel.node_device.CABLES`."""

    @staticmethod
    def check_host() -> None:
        """MissingCapability, with the fix, where this host lacks what the engine needs; asked before a lab starts."""

    @staticmethod
    def check_faults(path: str, faults: Sequence[Any]) -> None:
        """UsageError where the engine can't do one of these (`faultlab.faults.Fault`); asked before a run."""

    def connect(self, cables: Sequence[Cable], plan: Plan) -> None:
        """Take the nodes' cables: afterwards each node has its device, which the runtime brings up."""

    def start(self, plan: Plan, fork: Fork) -> None:
        """Start what carries and records the packets; returns when it is ready."""

    def order(self, order: dict[str, Any]) -> dict[str, Any]:
        """`set` and `show` faults, `note` something in the ledger, `flush` its files. LabError where it can't."""

    def stop(self) -> dict[str, Any]:
        """Finish: all evidence on disk. Returns what it counted: `strays` and `refused` frames."""
