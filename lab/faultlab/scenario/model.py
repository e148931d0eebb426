"""Scenario files: a workload, faults over time, checks. Data and validation; nothing is started here.

A scenario that can't be meant is a UsageError of one line: `FILE:LINE: field: what was found; what was expected`.
docs/scenarios.md tells the format, docs/scenario.schema.json helps editors.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, SerializeAsAny, Tag, ValidationError, model_validator

from faultlab.checks import CHECKS
from faultlab.errors import UsageError
from faultlab.faults import KINDS, Fault, Match, check_composition, fault_from_yaml
from faultlab.faults.toxics import AnyToxic
from faultlab.network.plan import Guest
from faultlab.network.standard_lab import NODES, OWN, TCP_PORTS
from faultlab.network.topology import NetworkPath, parse_paths
from faultlab.scenario.workloads import CommandWorkload, DnsWorkload, TcpWorkload, UdpWorkload, Workload
from faultlab.units import Milliseconds
from faultlab.validation import Misplaced, ScenarioModel, Where, hint, problems, refuse_unknown, shown
from faultlab.yaml_file import YamlFile, dotted, parse_yaml, read_yaml

__all__ = [
    "CommandWorkload",
    "DnsWorkload",
    "FaultEntry",
    "OwnServer",
    "PlacedFault",
    "PlacedToxic",
    "Scenario",
    "TcpWorkload",
    "ToxicEntry",
    "UdpWorkload",
    "Workload",
    "find_scenario",
    "load_scenario",
    "parse_scenario",
    "shipped",
]

FOREVER = float("inf")
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
NAMES = "expected lower-case letters, digits and '-', at most 40"


@dataclass(frozen=True)
class PlacedFault:
    """One fault on one directed path, in ms from the start of the workloads; `for_ms` None is until the end."""

    path: NetworkPath
    fault: Fault
    at_ms: float
    for_ms: float | None

    @property
    def until_ms(self) -> float:
        return FOREVER if self.for_ms is None else self.at_ms + self.for_ms

    def beside(self, placed: Iterable[PlacedFault]) -> list[Fault]:
        """Those of `placed` that are on its path when it begins, itself among them."""
        return [one.fault for one in placed if one.path == self.path and one.at_ms <= self.at_ms < one.until_ms]


@dataclass(frozen=True)
class PlacedToxic:
    """One toxic on the proxy that listens on `port`; times as those of a fault."""

    port: int
    toxic: AnyToxic
    at_ms: float
    for_ms: float | None


class _Timed(ScenarioModel):
    at_ms: Milliseconds = 0.0
    for_ms: Annotated[Milliseconds, Field(gt=0)] | None = None


class FaultEntry(_Timed):
    """Faults on a path: `{on: client->tcp-server, loss: 10%}`. In a file each kind of fault is a field."""

    on: str
    faults: Annotated[tuple[SerializeAsAny[Fault], ...], Field(min_length=1)]

    @model_validator(mode="before")
    @classmethod
    def _gather_kinds(cls, value: Any) -> Any:
        if not isinstance(value, Mapping) or "faults" in value:
            return value
        kinds = [name for name in value if name in KINDS]
        rest = {name: one for name, one in value.items() if name not in KINDS}
        for name in rest:
            if name not in ("on", "at", "for"):
                known = (*KINDS, "toxic", "on", "at", "for")
                raise Misplaced((name,), f"no such fault or field; expected {', '.join(known)}{hint(name, known)}")
        if not kinds:
            raise ValueError(f"names no fault; expected one of {', '.join(KINDS)}, such as loss: 5%")
        return rest | {"faults": tuple(_fault(kind, value[kind]) for kind in kinds)}

    @model_validator(mode="after")
    def _has_paths(self) -> FaultEntry:
        try:
            parse_paths(self.on, (*NODES, OWN))
        except UsageError as error:
            raise Misplaced(("on",), str(error)) from error
        return self

    def placed(self) -> Iterator[PlacedFault]:
        """One for each directed path and fault."""
        for path in parse_paths(self.on):
            for fault in self.faults:
                yield PlacedFault(path, fault, self.at_ms, self.for_ms)


def _fault(kind: str, value: Any) -> Fault:
    fault = KINDS[kind]
    if isinstance(value, Mapping):
        selectors = value if fault.short == "match" else value.get("match")
        if fault.short != "match":
            refuse_unknown(value, fault, (kind,))
        if isinstance(selectors, Mapping):
            refuse_unknown(selectors, Match, (kind,) if selectors is value else (kind, "match"))
    try:
        return fault_from_yaml(kind, value)
    except ValidationError as error:
        raise Misplaced((kind,), inner=error) from error
    except ValueError as error:
        raise Misplaced((kind,), str(error)) from error


class ToxicEntry(_Timed):
    """A toxic on a proxy: `{on: "toxiproxy:8082", toxic: {type: slicer, average_size: 3B}}`."""

    on: str
    toxic: AnyToxic

    @model_validator(mode="after")
    def _is_a_proxy(self) -> ToxicEntry:
        proxies = [f"toxiproxy:{port}" for port in TCP_PORTS.values()]
        if self.on not in proxies:
            raise Misplaced(("on",), f"found {self.on!r}, which is no proxy; expected one of {', '.join(proxies)}")
        return self

    def placed(self) -> PlacedToxic:
        return PlacedToxic(int(self.on.rpartition(":")[2]), self.toxic, self.at_ms, self.for_ms)


def _kind_of_entry(value: Any) -> str:
    toxic = "toxic" in value if isinstance(value, Mapping) else isinstance(value, ToxicEntry)
    return "(toxic)" if toxic else "(fault)"


AnyEntry = Annotated[
    Annotated[FaultEntry, Tag("(fault)")] | Annotated[ToxicEntry, Tag("(toxic)")], Discriminator(_kind_of_entry)
]


class Ready(ScenarioModel):
    """How long the user's own server may take from its start until it listens."""

    within_ms: Annotated[Milliseconds, Field(gt=0, le=600_000)] = 20_000.0


class OwnServer(ScenarioModel):
    """The user's own server, in the node `server`: a command (netns), an image or a Compose file's service (compose).

    With an image `command` is what to run in it. The lab is up when the server listens on its port, where other nodes
    reach it; `ready` says how long that may take.
    """

    port: Annotated[int, Field(strict=True, ge=1, le=65535)]
    protocol: Literal["tcp", "udp"] = "tcp"
    command: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    image: Annotated[str, Field(min_length=1)] | None = None
    compose: Annotated[str, Field(min_length=1)] | None = None
    service: Annotated[str, Field(min_length=1)] | None = None
    ready: Ready = Ready()

    @model_validator(mode="after")
    def _is_one_thing(self) -> OwnServer:
        if self.image is not None and self.compose is not None:
            raise ValueError("image and compose are two servers; expected one; drop the other")
        if (self.compose is None) != (self.service is None):
            raise ValueError("compose names a file and service the one in it; expected both or neither")
        if self.command is None and self.image is None and self.compose is None:
            raise ValueError("names no server; expected command, image, or compose with service")
        return self

    def guest(self, families: tuple[int, ...] = (4,)) -> Guest:
        """As a runtime takes it; `families` are the IP versions that it must be reached over, () for any."""
        return Guest(
            OWN,
            (f"{self.protocol}/{self.port}",),
            self.command or (),
            self.image,
            self.compose,
            self.service,
            families,
            self.ready.within_ms / 1e3,
        )


WORKLOADS: dict[str, type[Workload]] = {
    one.kind: one for one in (TcpWorkload, UdpWorkload, DnsWorkload, CommandWorkload)
}


def _kind_of_workload(value: Any) -> str | None:
    if isinstance(value, Mapping):
        return next(iter(value)) if len(value) == 1 else None
    return getattr(value, "kind", None)


def _fields_of(value: Any) -> Any:
    """`{tcp: {...}}` -> `{...}`"""
    return next(iter(value.values())) if isinstance(value, Mapping) else value


AnyWorkload = Annotated[
    Annotated[TcpWorkload, BeforeValidator(_fields_of), Tag("tcp")]
    | Annotated[UdpWorkload, BeforeValidator(_fields_of), Tag("udp")]
    | Annotated[DnsWorkload, BeforeValidator(_fields_of), Tag("dns")]
    | Annotated[CommandWorkload, BeforeValidator(_fields_of), Tag("command")],
    Discriminator(
        _kind_of_workload,
        custom_error_type="workload",
        custom_error_message="expected tcp, udp, dns or command with its fields, such as tcp: {framing: line, ...}",
    ),
]

NamedCheck = tuple[str, dict[str, Any]]
"""Name and options, as `faultlab.checks.run_check` takes them."""
ALWAYS = ("fault_seen", "finished", "ledger")
"""Checks of every run: proof that the faults were there, and that ledger and captures tell the same story."""
CHOICE = tuple(name for name in CHECKS if name not in ALWAYS)
"""Checks that a scenario may ask for."""


def _check(value: Any) -> NamedCheck:
    """`ordering`, or `{handshake: {at_least: 1s}}`; options are checked here, so that a bad one starts nothing."""
    if isinstance(value, str):
        value = {value: {}}
    if isinstance(value, tuple):
        value = dict([value])
    if not isinstance(value, Mapping) or len(value) != 1:
        raise ValueError(f"found {shown(value)}; expected a check's name, or one name with its options")
    name, options = next(iter(value.items()))
    if name in ALWAYS:
        raise ValueError(f"{name} runs for every scenario; leave it out")
    if name not in CHOICE:
        raise ValueError(f"no check {name!r}; expected one of {', '.join(CHOICE)}{hint(name, CHOICE)}")
    if not isinstance(options, Mapping):
        raise Misplaced((name,), f"found {shown(options)}; expected the check's options, such as {{name: value}}")
    model = CHECKS[name].options
    refuse_unknown(options, model, (name,))
    try:
        model.model_validate(dict(options), context={"typed": True})
    except ValidationError as error:
        raise Misplaced((name,), inner=error) from error
    return name, dict(options)


class Scenario(ScenarioModel):
    """One experiment. `workloads` run at once, from time 0; `timeout_ms` ends those that don't end by themselves.

    `engine` names the one that the scenario needs, where it needs a certain one. `source` is the text it came from.
    """

    name: str
    about: Annotated[str, Field(min_length=1)]
    seed: Annotated[int, Field(strict=True, ge=0, lt=2**63)] | None = None
    engine: Literal["any", "wire", "netem"] = "any"
    timeout_ms: Annotated[Milliseconds, Field(gt=0)] = 60_000.0
    server: OwnServer | None = None
    workloads: Annotated[tuple[AnyWorkload, ...], Field(alias="workload", min_length=1, max_length=20)]
    entries: Annotated[tuple[AnyEntry, ...], Field(alias="faults", max_length=100)] = ()
    checks: Annotated[tuple[Annotated[NamedCheck, BeforeValidator(_check)], ...], Field(min_length=1, max_length=20)]
    source: Annotated[str, Field(exclude=True)] = ""

    @model_validator(mode="after")
    def _makes_sense(self) -> Scenario:
        if not NAME.fullmatch(self.name):
            raise Misplaced(("name",), f"found {shown(self.name)}; {NAMES}")
        modes = {one.mode for one in self.workloads if isinstance(one, UdpWorkload) and one.target != OWN}
        if len(modes) > 1:
            raise Misplaced(("workload",), "UDP workloads ask for mode ack and echo; expected one, the server has one")
        targets = {one.to for one in self.workloads if not isinstance(one, CommandWorkload)}
        for number, entry in enumerate(self.entries):
            if isinstance(entry, ToxicEntry) and entry.on not in targets:
                raise Misplaced(("faults", number, "on"), f"no workload goes to {entry.on}; expected one; add it")
            if entry.at_ms >= self.timeout_ms:
                raise Misplaced(
                    ("faults", number, "at"),
                    f"{entry.at_ms:g}ms, when the scenario is over ({self.timeout_ms:g}ms); expected an earlier time, "
                    "or a longer timeout",
                )
        self._check_own()
        self._refuse_clashes()
        return self

    def _check_own(self) -> None:
        """Who speaks of the node `server` needs one, and a client of ours must know its port."""
        port = self.server.port if self.server is not None else None
        add = f"the scenario has no {OWN}; add one, such as {OWN}: {{command: [./my-server], port: 9000}}"
        for number, one in enumerate(self.workloads):
            if isinstance(one, CommandWorkload):
                if port is None and OWN in one.nodes:
                    raise Misplaced(("workload", number, one.kind, "run"), add)
            elif one.target == OWN and one.port != port:
                expected = add if port is None else f"expected {OWN}:{port}, where the server listens"
                raise Misplaced(("workload", number, one.kind, "to"), f"found {one.to!r}; {expected}")
        for number, entry in enumerate(self.entries):
            if port is None and isinstance(entry, FaultEntry) and OWN in re.split("<?->", entry.on.replace(" ", "")):
                raise Misplaced(("faults", number, "on"), add)

    def _refuse_clashes(self) -> None:
        """At each moment at which a fault begins, the faults that then stand on its path must get along."""
        placed = [(number, one) for number, entry in enumerate(self.entries) for one in _faults_of(entry)]
        for number, one in placed:
            try:
                check_composition(one.beside(other for _, other in placed))
            except UsageError as error:
                raise Misplaced(("faults", number), f"{error} ({one.path}, at {one.at_ms:g}ms)") from error

    def guest(self) -> Guest | None:
        """The user's own server, to be reached as the workloads will: at its IPv4 address where they have that."""
        if self.server is None:
            return None
        mine = [one for one in self.workloads if OWN in one.nodes]
        families = {4 if isinstance(one, CommandWorkload) else one.family for one in mine}
        return self.server.guest(tuple(sorted(family for family in families if family != "both")))

    def placed(self) -> tuple[PlacedFault, ...]:
        """Every fault, on each directed path, in the order of the file."""
        return tuple(chain.from_iterable(_faults_of(entry) for entry in self.entries))

    def toxics(self) -> tuple[PlacedToxic, ...]:
        """Every toxic, in the order of the file."""
        return tuple(entry.placed() for entry in self.entries if isinstance(entry, ToxicEntry))


def _faults_of(entry: FaultEntry | ToxicEntry) -> Iterator[PlacedFault]:
    return entry.placed() if isinstance(entry, FaultEntry) else iter(())


def load_scenario(path: Path) -> Scenario:
    """UsageError, one line with file, line and field, for the first problem of the file; it counts the others."""
    return _scenario(read_yaml(path), path.stem)


def parse_scenario(text: str, name: str) -> Scenario:
    """As `load_scenario`, of a text; `name` is the scenario's where the text has none."""
    return _scenario(parse_yaml(text, name), name)


def _scenario(file: YamlFile, name: str) -> Scenario:
    if not isinstance(file.data, dict):
        raise UsageError(f"{file.name}:1: found {shown(file.data)}; expected a scenario's fields, such as name: value")
    if "source" in file.data:
        raise UsageError(_line(file, ("source",), "no such field; remove it"))
    if "name" not in file.data and not NAME.fullmatch(name):
        raise UsageError(
            f"{file.name}:1: name: missing, and the file's own, {shown(name)}, can't stand for it; {NAMES}; add it"
        )
    fields = {"name": name, **file.data, "source": file.text}
    try:
        return Scenario.model_validate(fields, context={"typed": True})
    except ValidationError as error:
        raise UsageError(_first_problem(file, error)) from error


def _first_problem(file: YamlFile, error: ValidationError) -> str:
    found = sorted(problems(error), key=lambda problem: file.locate(problem[0])[1])
    where, text = found[0]
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return _line(file, where, text) + more


def _line(file: YamlFile, where: Where, text: str) -> str:
    place, line = file.locate(where)
    # A field that is missing stands nowhere: it is named all the same.
    absent = (where[-1],) if text.startswith("missing") else ()
    name = dotted((*place, *absent))
    return f"{file.name}:{line}: {name + ': ' if name else ''}{text}"


def shipped() -> dict[str, Path]:
    """The scenarios that come with the lab, by name."""
    folder = resources.files("faultlab.scenario") / "shipped"
    files = sorted(Path(str(entry)) for entry in folder.iterdir() if entry.name.endswith(".yaml"))
    return {file.stem: file for file in files}


def find_scenario(name_or_path: str) -> Path:
    """The file of a shipped scenario, or a file of the user's own. UsageError where it is neither."""
    known = shipped()
    if name_or_path in known:
        return known[name_or_path]
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml") or "/" in name_or_path:
        return path
    raise UsageError(
        f"no scenario {name_or_path!r}{hint(name_or_path, known)}; "
        "expected one that `lab scenarios` lists, or a .yaml file"
    )
