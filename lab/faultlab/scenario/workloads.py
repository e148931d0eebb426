"""What a scenario's applications do: numbered messages over TCP, datagrams over UDP, names asked of DNS.

Each is data, and knows the command line of its client (`python -m faultlab_services tcp-client ...`, docs/services.md).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, WithJsonSchema, field_validator, model_validator

from faultlab.network.standard_lab import DNS_PORT, NODES, OWN, TCP_PORTS, UDP_PORT
from faultlab.units import SIZES_BYTES, Bytes, Milliseconds, parse_quantity
from faultlab.validation import ScenarioModel, hint, shown

MAX_FRAME = {"raw": 65_536, "line": 65_536, "length2": 65_535, "length4": 65_536, "varint": 65_536}
"""Bytes of the largest message: the server's default limit, and what two bytes can say."""
MAX_DATAGRAM = 65_507
_SIZE = r"[0-9]+(?:\.[0-9]+)?\s*(?:B|kB|MB|KiB|MiB)"


def _size_range(value: Any, info: ValidationInfo) -> Any:
    """`100B`, `10B..2KiB`; from Python also 100 and (10, 2048), in bytes."""
    if isinstance(value, str):
        first, dots, last = value.partition("..")
        sizes = [
            parse_quantity(part, SIZES_BYTES, "100B or 10B..2KiB") for part in ((first, last) if dots else (first,))
        ]
        if any(size != int(size) for size in sizes):
            raise ValueError(f"{value!r} is no whole number of bytes")
        return int(sizes[0]), int(sizes[-1])
    if info.context and info.context.get("typed"):
        raise ValueError(f"found {shown(value)}; expected a size with its unit, such as 100B or 10B..2KiB")
    return (value, value) if isinstance(value, int) else value


SizeRange = Annotated[
    tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]],
    BeforeValidator(_size_range),
    WithJsonSchema({"type": "string", "pattern": rf"^{_SIZE}(\.\.{_SIZE})?$", "examples": ["100B", "10B..2KiB"]}),
]
Count = Annotated[int, Field(strict=True, ge=1, le=1_000_000)]
SourceNode = Annotated[str, Field(alias="from")]


def known_node(name: str) -> str:
    """The name itself. ValueError where it is none of the standard nodes."""
    if name not in NODES:
        raise ValueError(f"no node {name!r}; expected one of {', '.join(NODES)}{hint(name, NODES)}")
    return name


class _Workload(ScenarioModel):
    """What our own clients have: where from, where to (`NODE:PORT`), and over which IP."""

    kind: ClassVar[str]
    ports: ClassVar[dict[str, tuple[int, ...]]]
    to_own: ClassVar[bool] = True
    """Whether it may go to the user's own server."""

    source: SourceNode = "client"
    to: str

    @field_validator("source")
    @classmethod
    def _is_a_node(cls, source: str) -> str:
        return known_node(source)

    @field_validator("to")
    @classmethod
    def _is_served(cls, to: str) -> str:
        node, _, port = to.rpartition(":")
        if node == OWN and cls.to_own and re.fullmatch("[0-9]+", port):
            return to  # which port it has, the scenario knows
        if node not in cls.ports or not re.fullmatch("[0-9]+", port) or int(port) not in cls.ports[node]:
            served = [f"{name}:{number}" for name, numbers in cls.ports.items() for number in numbers]
            raise ValueError(
                f"found {to!r}, which serves no {cls.kind}; expected one of {', '.join(served)}{hint(to, served)}"
            )
        return to

    @model_validator(mode="after")
    def _goes_somewhere(self) -> _Workload:
        if self.source == self.target:
            raise ValueError(f"goes from {self.source!r} to itself; expected two different nodes")
        return self

    @property
    def nodes(self) -> set[str]:
        """Those that it speaks of."""
        return {self.source, self.target}

    @property
    def target(self) -> str:
        return self.to.rpartition(":")[0]

    @property
    def port(self) -> int:
        return int(self.to.rpartition(":")[2])


class TcpWorkload(_Workload):
    """`messages` numbered messages on each of `connections` connections, each echoed by the server.

    `window` of them may be in flight on a connection; `pace_ms` lies between two sends; a connection that takes longer
    than `timeout_ms` to open, or to answer a message, is given up. Sizes in bytes. With `nagle` small segments wait for
    what is unacknowledged (RFC 9293, 3.7.4); `max_segment_bytes` is the most that the client puts into one.
    """

    kind: ClassVar[str] = "tcp"
    ports: ClassVar[dict[str, tuple[int, ...]]] = {
        node: tuple(TCP_PORTS.values()) for node in ("tcp-server", "toxiproxy")
    }

    framing: Literal["raw", "line", "length2", "length4", "varint"]
    messages: Count
    size_bytes: Annotated[SizeRange, Field(alias="size")] = (100, 100)
    connections: Annotated[int, Field(strict=True, ge=1, le=500)] = 1
    window: Count = 1
    pace_ms: Milliseconds = 0.0
    timeout_ms: Annotated[Milliseconds, Field(gt=0)] = 30_000.0
    nagle: Annotated[bool, Field(strict=True)] = False
    max_segment_bytes: Annotated[Annotated[Bytes, Field(ge=88, le=32_767)] | None, Field(alias="max_segment")] = None
    family: Literal[4, 6] = 4

    @model_validator(mode="after")
    def _fits(self) -> TcpWorkload:
        spoken = {port: framing for framing, port in TCP_PORTS.items()}.get(self.port)
        if self.target != OWN and self.framing != spoken:
            elsewhere = f", or to: {self.target}:{TCP_PORTS[self.framing]}" if self.framing in TCP_PORTS else ""
            raise ValueError(
                f"port {self.port} speaks {spoken}, not {self.framing}; expected framing: {spoken}{elsewhere}"
            )
        _check_sizes(self.size_bytes, 1 if self.framing == "raw" else 0, MAX_FRAME[self.framing])
        return self

    def options(self, address: str, source_port: int) -> list[str]:
        """The client's options; `address` is where `to` is, as ADDRESS:PORT."""
        return [
            f"--to={address}",
            f"--framing={self.framing}",
            f"--messages={self.messages}",
            _size_option(self.size_bytes),
            f"--concurrency={self.connections}",
            f"--window={self.window}",
            _time_option("pace", self.pace_ms),
            _time_option("timeout", self.timeout_ms),
            _time_option("connect-timeout", self.timeout_ms),
            f"--source-port={source_port}",
            *(["--nagle"] if self.nagle else []),
            *([] if self.max_segment_bytes is None else [f"--max-segment={self.max_segment_bytes}"]),
        ]


class UdpWorkload(_Workload):
    """`messages` numbered datagrams. Without `retries` they leave at their pace, whatever comes back; `timeout_ms` is
    how long to wait after the last. With `retries` each waits for its answer that long, and is sent again that often.

    The server acknowledges (`ack`) or returns each datagram (`echo`). Sizes in bytes.
    """

    kind: ClassVar[str] = "udp"
    ports: ClassVar[dict[str, tuple[int, ...]]] = {"udp-server": (UDP_PORT,)}

    messages: Count
    size_bytes: Annotated[SizeRange, Field(alias="size")] = (100, 100)
    pace_ms: Milliseconds = 1.0
    timeout_ms: Annotated[Milliseconds, Field(gt=0)] = 2_000.0
    retries: Annotated[int, Field(strict=True, ge=0, le=100)] | None = None
    mode: Literal["ack", "echo"] = "ack"
    family: Literal[4, 6] = 4

    @model_validator(mode="after")
    def _fits(self) -> UdpWorkload:
        _check_sizes(self.size_bytes, 0, MAX_DATAGRAM)
        return self

    def options(self, address: str, source_port: int) -> list[str]:
        """The client's options; `address` is where `to` is, as ADDRESS:PORT."""
        return [
            f"--to={address}",
            f"--mode={self.mode}",
            f"--messages={self.messages}",
            _size_option(self.size_bytes),
            _time_option("pace", self.pace_ms),
            _time_option("timeout", self.timeout_ms),
            *([] if self.retries is None else [f"--retries={self.retries}"]),
            f"--source-port={source_port}",
        ]


DnsName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?$", max_length=253)]


class DnsWorkload(_Workload):
    """Names turned into addresses: by getaddrinfo (`lookup`) or by a resolver that speaks DNS itself (`resolve`).

    `count` of them in all, taking `names` in turn (default: each once), `concurrency` at a time and `pace_ms` apart.
    `timeout_ms` is that of one attempt for `resolve`, which tries `retries` more times; of the whole for `lookup`,
    where the C library retries, in a pool of `threads` (default: asyncio's own). Every `job_every_ms` that pool gets a
    job that has nothing to do with names, to see how long it has to wait.
    """

    kind: ClassVar[str] = "dns"
    ports: ClassVar[dict[str, tuple[int, ...]]] = {"dns-server": (DNS_PORT,)}
    to_own: ClassVar[bool] = False

    to: str = f"dns-server:{DNS_PORT}"
    how: Literal["lookup", "resolve"]
    names: Annotated[tuple[DnsName, ...], Field(min_length=1, max_length=1000)] = NODES
    count: Annotated[int, Field(strict=True, ge=1, le=1000)] | None = None
    timeout_ms: Annotated[Milliseconds, Field(gt=0)] = 2_000.0
    retries: Annotated[int, Field(strict=True, ge=0, le=9)] | None = None
    concurrency: Annotated[int, Field(strict=True, ge=1, le=100)] = 1
    pace_ms: Milliseconds = 0.0
    threads: Annotated[int, Field(strict=True, ge=1, le=100)] | None = None
    job_every_ms: Annotated[Milliseconds, Field(gt=0)] | None = None
    family: Literal[4, 6, "both"] = "both"

    @model_validator(mode="after")
    def _fits(self) -> DnsWorkload:
        if self.how == "lookup" and self.retries is not None:
            raise ValueError("retries goes with how: resolve; for lookup the C library decides; leave it out")
        if self.how == "resolve" and self.threads is not None and self.job_every_ms is None:
            raise ValueError("threads goes with how: lookup, or job_every; resolve needs none; leave it out")
        return self

    @property
    def messages(self) -> int:
        """How many names are asked for in all."""
        return self.count if self.count is not None else len(self.names)

    def options(self, address: str, source_port: int) -> list[str]:
        """The client's options; `address` is the DNS server's, as ADDRESS:PORT (`lookup` takes resolv.conf's)."""
        options = [
            f"--how={self.how}",
            f"--names={','.join(self.names)}",
            f"--count={self.messages}",
            f"--family={self.family}",
            _time_option("timeout", self.timeout_ms),
            f"--concurrency={self.concurrency}",
            _time_option("pace", self.pace_ms),
        ]
        options += [] if self.threads is None else [f"--pool-size={self.threads}"]
        options += [] if self.job_every_ms is None else [_time_option("job-every", self.job_every_ms)]
        if self.how == "lookup":
            return options
        retries = [] if self.retries is None else [f"--retries={self.retries}"]
        return [*options, *retries, f"--server={address}", f"--source-port={source_port}"]


class CommandWorkload(ScenarioModel):
    """The user's own client, run once; what it proves, its exit status says. `{NODE}` is that node's IPv4 address."""

    kind: ClassVar[str] = "command"

    source: SourceNode = "client"
    run: Annotated[tuple[str, ...], Field(min_length=1)]

    @field_validator("source")
    @classmethod
    def _is_a_node(cls, source: str) -> str:
        return known_node(source)

    @field_validator("run")
    @classmethod
    def _names_nodes(cls, run: tuple[str, ...]) -> tuple[str, ...]:
        for word in run:
            for name in re.findall(PLACE, word):
                if name not in (*NODES, OWN):
                    raise ValueError(f"{word!r}: no node {name!r}; expected one of {', '.join((*NODES, OWN))}")
        return run

    @property
    def nodes(self) -> set[str]:
        """Those that it speaks of."""
        return {self.source, *(name for word in self.run for name in re.findall(PLACE, word))}

    def argv(self, addresses: Mapping[str, str]) -> list[str]:
        """With the nodes' addresses in their places."""
        return [re.sub(PLACE, lambda found: addresses[found[1]], word) for word in self.run]


PLACE = r"\{([a-z][a-z0-9-]*)\}"
Workload = TcpWorkload | UdpWorkload | DnsWorkload | CommandWorkload


def _check_sizes(sizes: tuple[int, int], least: int, most: int) -> None:
    if sizes[0] > sizes[1]:
        raise ValueError(f"size {sizes[0]}B..{sizes[1]}B: expected the smaller one first")
    if sizes[0] < least or sizes[1] > most:
        raise ValueError(f"size {sizes[0]}B..{sizes[1]}B: expected {least}B to {most}B")


def _size_option(sizes: tuple[int, int]) -> str:
    return f"--size={sizes[0]}B..{sizes[1]}B"


def _time_option(name: str, milliseconds: float) -> str:
    # Never in exponent form, which the client would not read.
    return f"--{name}={milliseconds:.6f}".rstrip("0").rstrip(".") + "ms"
