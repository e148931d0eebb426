"""The matrix: every subject (a protocol, a client, a way there) under every condition (a fault, or faults together).

Each cell is a scenario of its own, text and all, so that `lab replay` and an editor can have it. Of what a cell
proves nothing hangs on a machine's speed: faults have their time, applications have their pace, and the clients go on
for more than a second after the last fault is gone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import yaml

from faultlab.errors import UsageError
from faultlab.network.standard_lab import TCP_PORTS
from faultlab.scenario.model import Scenario, parse_scenario
from faultlab.validation import hint

PREFIX = "matrix"
BEGIN, SPAN = "300ms", "1200ms"
"""Faults come when the conversation has begun, and are gone well before it ends."""
CUT = "700ms"
"""How long nothing passes at all: TCP's own pauses double each time it hears nothing (RFC 6298, 5.5)."""
FIRST_CONNECTION = {"source_port": 20_000}
Fields = dict[str, Any]


@dataclass(frozen=True)
class MatrixSubject:
    """Who talks to whom, and what must hold when the network is bad for a while and then good again."""

    name: str
    about: str
    kind: str
    workload: Fields
    server: str
    checks: tuple[Any, ...]


@dataclass(frozen=True)
class Condition:
    """What happens to the network: `faults` on the path both ways, unless an entry names its own way.

    `on` is `both`, `there` or `back`. `checks` stand in the place of the subject's own where the connection can't
    survive. For a kind of workload, or a subject, `instead` holds other faults and `workload` what changes there.
    `without` names subjects to which it can't happen.
    """

    name: str
    about: str
    faults: tuple[Fields, ...]
    checks: tuple[Any, ...] | None = None
    kinds: tuple[str, ...] = ("tcp", "udp", "dns")
    instead: Mapping[str, tuple[Fields, ...]] = field(default_factory=dict)
    workload: Mapping[str, Fields] = field(default_factory=dict)
    without: tuple[str, ...] = ()


@dataclass(frozen=True)
class MatrixCell:
    """One subject under one condition."""

    subject: str
    condition: str
    scenario: Scenario


def _tcp(name: str, framing: str, server: str) -> MatrixSubject:
    # Six connections, 40 messages a second each, for three seconds: some 300 in the faults' time.
    talk = {"connections": 6, "messages": 120, "size": "10B..300B", "pace": "25ms", "window": 120}
    to = f"{server}:{TCP_PORTS[framing]}"
    frames = () if framing == "raw" else ("framing",)
    way = "" if server == "tcp-server" else " through toxiproxy"
    about = f"TCP{way}, {framing} framing" if frames else f"TCP{way}, no framing"
    checks = ("reliability", "ordering", *frames, "healed")
    return MatrixSubject(name, about, "tcp", {"to": to, "framing": framing, **talk}, server, checks)


def _udp(name: str, about: str, more: Fields, *checks: Any) -> MatrixSubject:
    talk = {"to": "udp-server:41234", "size": "20B..1KiB", "mode": "echo"}
    return MatrixSubject(name, about, "udp", talk | more, "udp-server", checks)


def _dns(name: str, about: str, more: Fields) -> MatrixSubject:
    talk = {"count": 300, "pace": "10ms", "concurrency": 90, "names": ["client", "tcp-server", "udp-server"]}
    return MatrixSubject(name, about, "dns", talk | more, "dns-server", ("dns", "healed"))


SUBJECTS = (
    _tcp("tcp-raw", "raw", "tcp-server"),
    _tcp("tcp-line", "line", "tcp-server"),
    _tcp("tcp-length2", "length2", "tcp-server"),
    _udp("udp-bare", "UDP, sent once", {"messages": 600, "pace": "5ms", "timeout": "1s"}, "udp_accounting", "healed"),
    _udp(
        "udp-retry",
        "UDP, sent again until answered",
        {"messages": 600, "pace": "5ms", "timeout": "30ms", "retries": 100},
        {"udp_accounting": {"all_answered": True}},
        "healed",
    ),
    _dns("dns-lookup", "getaddrinfo", {"how": "lookup", "threads": 90, "timeout": "20s"}),
    _dns("dns-resolve", "our own resolver", {"how": "resolve", "timeout": "1s", "retries": 9}),
    _tcp("proxy-raw", "raw", "toxiproxy"),
    _tcp("proxy-line", "line", "toxiproxy"),
    _tcp("proxy-length2", "length2", "toxiproxy"),
)
"""Not seen: below 1e-8 for each cell, see docs/matrix.md."""


def _one(name: str, about: str, on: str = "both", span: str | None = SPAN, **faults: Any) -> Condition:
    """Faults that begin and end together."""
    return Condition(name, about, (_entry(on, span, **faults),))


def _entry(on: str = "both", span: str | None = SPAN, **faults: Any) -> Fields:
    kinds = {kind.replace("_", "-"): value for kind, value in faults.items()}
    return {"on": on, "at": BEGIN} | ({} if span is None else {"for": span}) | kinds


LOST = ("reported",)
"""The connection goes down with its fault; what must hold is that nothing is lost in silence."""
JITTER = {"delay": "30ms", "jitter": "15ms"}
BURSTS = {"enter_percent": "30%", "leave_percent": "60%"}
NARROW = {
    "tcp": _entry("back", rate={"rate": "40kbit", "limit_packets": 20}),
    "udp-bare": _entry("back", rate={"rate": "100kbit", "limit_packets": 50}),
    "udp-retry": _entry("back", rate={"rate": "100kbit", "limit_packets": 10}),
    "dns": _entry("back", rate={"rate": "4kbit", "limit_packets": 3}),
}
"""Narrow enough for an eighth of the traffic to queue; with a short queue, which is empty soon after."""
QUEUED = {"udp-bare": {"timeout": "5s"}, "udp-retry": {"size": "1200B"}}
ONE_IN_FLIGHT = ("udp-retry",)
"""Stop and wait: there is nothing that a datagram could overtake."""

CONDITIONS = (
    _one("latency", "30 ms each way", latency="30ms"),
    _one("jitter", "30 ms, give or take 15 ms, each way", latency=JITTER),
    _one("loss", "every fifth packet lost", loss="20%"),
    _one("burst-loss", "a third lost, in bursts", burst_loss=BURSTS),
    Condition(
        "drop",
        "chosen packets lost",
        (_entry("there", drop={"data": True, "which": [5, 6, 7, 20]}),),
        instead={"dns": (_entry("there", drop={"payload": "udp-server"}),)},
    ),
    _one("duplicate", "every fifth packet doubled", duplicate="20%"),
    Condition(
        "reorder",
        "a quarter of the packets overtake others",
        (_entry(latency="60ms", reorder="25%"),),
        without=ONE_IN_FLIGHT,
    ),
    _one("corrupt", "a bit flipped in every fifth packet", corrupt="20%"),
    Condition(
        "rate",
        "a narrow way back, which queues",
        (),
        instead={whose: (entry,) for whose, entry in NARROW.items()},
        workload=QUEUED,
    ),
    _one("partition", "cut, both ways", "both", CUT, partition=True),
    _one("asymmetric-partition", "cut, the way back only", "back", CUT, partition=True),
    Condition(
        "blackhole",
        "large packets vanish",
        (_entry("there", CUT, blackhole="1200B"),),
        instead={"dns": (_entry("back", CUT, blackhole="68B"),)},
        workload={
            "tcp": {"size": "1400B", "messages": 100, "connections": 3},
            "udp": {"size": "1400B"},
        },
    ),
    _one("flap", "down for 150 ms of every 350 ms", "there", flap={"up": "200ms", "down": "150ms"}),
    Condition(
        "flap-under-load",
        "down for 150 ms of every 350 ms, with the path full",
        (_entry("there", flap={"up": "200ms", "down": "150ms"}),),
        workload={
            "tcp": {"size": "4KiB", "messages": 200, "pace": "15ms", "window": 200, "connections": 3},
            "udp": {"size": "1400B", "messages": 1000, "pace": "3ms"},
            "dns": {"count": 600, "pace": "5ms"},
        },
    ),
    Condition(
        "reset",
        "a forged RST on one connection",
        # It has no end, as it is the connection's: on a busy machine the twentieth segment takes its time.
        (_entry("there", None, reset={"nth": [20], "match": FIRST_CONNECTION}),),
        LOST,
        kinds=("tcp",),
    ),
    Condition(
        "rebind",
        "a NAT gives the flow another port",
        (_entry("there", None, rebind={"after": 30}),),
        None,
        instead={
            "tcp": (_entry("there", None, rebind={"after": 30, "match": FIRST_CONNECTION}),),
            "dns": (_entry("there", None, rebind=0),),
        },
    ),
    _one("loss-latency", "a fifth lost, the rest 30 ms late", latency="30ms", loss="20%"),
    Condition(
        "reorder-jitter",
        "overtaking, and late by 60 ms give or take 30 ms",
        (_entry(latency={"delay": "60ms", "jitter": "30ms"}, reorder="25%"),),
        without=ONE_IN_FLIGHT,
    ),
    Condition(
        "burst-loss-rate",
        "bursts of losses, and a narrow way back",
        (),
        instead={whose: (_entry(burst_loss=BURSTS), entry) for whose, entry in NARROW.items()},
        workload=QUEUED,
    ),
    Condition(
        "duplicate-reorder",
        "doubled and overtaking",
        (_entry(latency="60ms", duplicate="20%", reorder="25%"),),
        without=ONE_IN_FLIGHT,
    ),
)

TOXIC_SPAN = "3s"
"""Longer than an engine's: the runner sets and removes a toxic by HTTP calls, which take their time on a busy host."""
ONE_STREAM = {"connections": 1, "size": "1KiB", "messages": 225, "pace": "20ms", "window": 225}
SHORT = {"connections": 1, "size": "1KiB", "messages": 40, "pace": "20ms", "window": 40, "timeout": "3s"}


def _toxic(name: str, about: str, toxic: Fields, *, ends: bool = False, span: bool = False) -> Condition:
    """A toxic on the one connection of the workload; `ends` where the connection ends with it."""
    time = {"at": BEGIN, "for": TOXIC_SPAN} if span else {}
    entry = {"on": "proxy"} | time | {"toxic": {"type": name, **toxic}}
    kept = None if span else ("reliability", "ordering")
    return Condition(
        f"toxic-{name.replace('_', '-')}",
        about,
        (entry,),
        LOST if ends else kept,
        kinds=("proxy",),
        workload={"tcp": SHORT if ends else ONE_STREAM},
    )


TOXICS = (
    _toxic("latency", "toxiproxy holds each chunk for 50 ms", {"stream": "upstream", "latency": "50ms"}, span=True),
    _toxic("bandwidth", "toxiproxy lets 80 kbit/s through", {"stream": "upstream", "rate": "80kbit"}, span=True),
    _toxic("slicer", "toxiproxy cuts the stream into slices", {"stream": "upstream", "average_size": "50B"}, span=True),
    _toxic("slow_close", "toxiproxy passes the end on late", {"stream": "upstream", "delay": "300ms"}),
    _toxic("timeout", "toxiproxy swallows all, then closes", {"stream": "upstream", "timeout": "400ms"}, ends=True),
    _toxic("reset_peer", "toxiproxy resets the connection", {"timeout": "100ms"}, ends=True),
    _toxic("limit_data", "toxiproxy closes after 8,000 bytes", {"stream": "upstream", "bytes": "8000B"}, ends=True),
)


def cells(pattern: str = PREFIX) -> list[MatrixCell]:
    """Those meant by `matrix`, `matrix/SUBJECT` or `matrix/SUBJECT/CONDITION`, in which `*` stands for anything.

    UsageError where it means none.
    """
    if pattern.count("/") > 2:
        raise UsageError(f"{pattern!r}: expected {PREFIX}, {PREFIX}/SUBJECT or {PREFIX}/SUBJECT/CONDITION")
    subjects, conditions = [one.name for one in SUBJECTS], [one.name for one in (*CONDITIONS, *TOXICS)]
    parts = [*pattern.split("/"), "*", "*"][1:3]
    for part, known, what in zip(parts, (subjects, conditions), ("subject", "condition"), strict=True):
        if not any(fnmatchcase(one, part) for one in known):
            raise UsageError(f"{pattern!r}: no {what} {part!r}{hint(part, known)}; expected one of {', '.join(known)}")
    found = list(_all(*parts))
    if not found:
        raise UsageError(f"{pattern!r}: {parts[1]} is nothing that happens to {parts[0]}")
    return found


def _all(subjects: str, conditions: str) -> Iterator[MatrixCell]:
    for subject in SUBJECTS:
        for condition in (*CONDITIONS, *TOXICS):
            meant = fnmatchcase(subject.name, subjects) and fnmatchcase(condition.name, conditions)
            kinds = {subject.kind} | ({"proxy"} if subject.server == "toxiproxy" else set())
            if meant and kinds & set(condition.kinds) and subject.name not in condition.without:
                yield MatrixCell(subject.name, condition.name, _scenario(subject, condition))


def _scenario(subject: MatrixSubject, condition: Condition) -> Scenario:
    entries = condition.instead.get(subject.name, condition.instead.get(subject.kind, condition.faults))
    changed = condition.workload.get(subject.name, condition.workload.get(subject.kind, {}))
    lasting = any("for" not in entry for entry in entries)
    checks = condition.checks or subject.checks
    if lasting and condition.checks is None:
        # A fault that stays to the end heals nothing, and takes a connection with it.
        checks = LOST if subject.kind == "tcp" else tuple(check for check in checks if check != "healed")
    text = {
        "about": f"{subject.about}; {condition.about}.",
        "workload": [{subject.kind: subject.workload | changed}],
        "faults": [entry | {"on": _place(subject, entry["on"])} for entry in entries],
        "checks": list(checks),
    }
    name = f"{subject.name}-{condition.name}"
    return parse_scenario(yaml.safe_dump(text, sort_keys=False, width=120), name)


def _place(subject: MatrixSubject, on: str) -> str:
    if on == "proxy":
        return str(subject.workload["to"])
    return {
        "both": f"client<->{subject.server}",
        "there": f"client->{subject.server}",
        "back": f"{subject.server}->client",
    }[on]
