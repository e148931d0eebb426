"""What a runtime and an engine say to each other: node namespaces, the plan of a lab, the seam for engines."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from lab.runtimes import linux
from lab.topology import Node

KEEP = b"keep"
"""Said down the lifeline: the lab outlives the program that wanted it."""


@dataclass(frozen=True)
class Service:
    """A program of the lab: the node it lives on, its command, and the ports that must listen before it counts as up.

    `ports` are such as `tcp/8080` and `udp/53`. `argv` may hold `{run}`, replaced by the evidence folder.

    A guest's ports must be reached by other nodes, over each of the IP versions `families` or, where that is empty,
    over any; for None whoever listens will do. It has `within_s` to come up; None is the runtime's usual time.
    """

    node: str
    name: str
    argv: tuple[str, ...]
    ports: tuple[str, ...]
    families: tuple[int, ...] | None = None
    within_s: float | None = None

    def reach(self, nodes: Sequence[Node]) -> list[list[str]]:
        """At which addresses it must be reached: at one of each group."""
        if self.families is None:
            return []
        node = next(node for node in nodes if node.name == self.node)
        addresses = {4: node.ipv4, 6: node.ipv6}
        return [[addresses[family]] for family in self.families] or [[node.ipv4, node.ipv6]]

    def not_up(self, why: Mapping[str, str], seconds: float) -> str:
        """That it did not come up, for people; `why` as `lab.runtimes.listening.troubles` says it."""
        text = f"{self.name} {'; '.join(why.values())} ({seconds:.1f} s after its start)"
        if self.families is not None and any("does not listen" in one for one in why.values()):
            text += f"; a {self.name} that needs longer says so: ready: {{within: 60s}}"
        return text


@dataclass(frozen=True)
class Guest:
    """A server of the user's own, in a node of its own: a command, an image, or a service of a Compose file.

    `ports` as those of a `Service`. A runtime takes the way that it can hold, and refuses a guest that has none: with a
    command and an image, namespaces run the command as it is, containers run it in the image. `families` and `within_s`
    as those of a `Service`.
    """

    node: str
    ports: tuple[str, ...]
    argv: tuple[str, ...] = ()
    image: str | None = None
    compose_file: str | None = None
    service: str | None = None
    families: tuple[int, ...] = (4,)
    within_s: float = 20.0


@dataclass(frozen=True)
class Publication:
    """A port of 127.0.0.1 on the host, relayed from inside node `via` to `host`:`port`."""

    protocol: str
    host_port: int
    via: str
    host: str
    port: int
    fd: int


@dataclass(frozen=True)
class Plan:
    """All that a supervisor needs to stand a lab up, as JSON over a pipe."""

    name: str
    engine: str
    seed: int
    nodes: tuple[Node, ...]
    ipv4_prefix: int
    ipv6_prefix: int
    services: tuple[Service, ...]
    publications: tuple[Publication, ...]
    control: int
    lifeline: int
    evidence: str | None
    record: bool = True
    resolver: str | None = None
    forced_drops: str | None = None
    trust: bool = False
    """Whether the nodes' programs may do on the host what its user may."""
    sockets: tuple[str, ...] = ()
    """The host's own Unix sockets, out of the nodes' reach (`lab.runtimes.isolation`)."""
    notes: tuple[str, ...] = field(default=())

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Plan:
        data = json.loads(text)
        data["nodes"] = tuple(Node(**node) for node in data["nodes"])
        data["services"] = tuple(
            Service(**{**one, **{name: tuple(value) for name, value in one.items() if isinstance(value, list)}})
            for one in data["services"]
        )
        data["publications"] = tuple(Publication(**one) for one in data["publications"])
        data["sockets"] = tuple(data["sockets"])
        data["notes"] = tuple(data["notes"])
        return cls(**data)


@dataclass(frozen=True)
class NodeSpace:
    """A node's network namespace, held open by its descriptor."""

    node: Node
    fd: int

    def inside(self) -> AbstractContextManager[None]:
        return linux.inside(self.fd)


@dataclass(frozen=True)
class Cable:
    """A node's link, as its engine asked for it: the descriptor of a TAP device or of the node's network namespace.

    `device` is what the link is called in the node. See `lab.runtimes.cables`.
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
    """What it needs of each node: a name in `lab.runtimes.cables.CABLES`."""

    @staticmethod
    def check_host() -> None:
        """MissingCapability, with the fix, where this host lacks what the engine needs; asked before a lab starts."""

    @staticmethod
    def check_faults(path: str, faults: Sequence[Any]) -> None:
        """UsageError where the engine can't do one of these (`lab.faults.Fault`) on the path; asked before a run."""

    def connect(self, cables: Sequence[Cable], plan: Plan) -> None:
        """Take the nodes' cables: afterwards each node has its device, which the runtime brings up."""

    def start(self, plan: Plan, fork: Fork) -> None:
        """Start what carries and records the packets; returns when it is ready."""

    def order(self, order: dict[str, Any]) -> dict[str, Any]:
        """`set` and `show` faults, `note` something in the ledger, `flush` its files. LabError where it can't."""

    def stop(self) -> dict[str, Any]:
        """Finish: all evidence on disk. Returns what it counted: `strays` and `refused` frames."""
