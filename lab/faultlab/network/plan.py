"""The plan of a lab: all that a supervisor needs to stand the lab up."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from faultlab.network.topology import Node


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
        """That it did not come up, for people; `why` as `faultlab.runtimes.listening.troubles` says it."""
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
    """The host's own Unix sockets, out of the nodes' reach (`faultlab.runtimes.isolation`)."""
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
