"""What this host can do, found by trying, and how to get what it lacks."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from faultlab.engines.registry import LINK_ENGINES
from faultlab.errors import LabError, MissingCapability
from faultlab.lab.lab import RUNTIMES, Lab
from faultlab.network import standard_lab

NODES = ("client", "udp-server")
CLOSED_PORT = 9


@dataclass(frozen=True)
class DoctorFinding:
    """One capability: whether it works here, what was seen, and the fix where it does not."""

    name: str
    works: bool
    seen: str
    fix: str | None = None


def examine() -> list[DoctorFinding]:
    """Each runtime with each engine, and toxiproxy: all tried, none guessed."""
    findings = []
    for runtime in RUNTIMES:
        for engine in LINK_ENGINES:
            findings.append(_tried(f"{runtime}/{engine}", lambda runtime=runtime, engine=engine: _try(runtime, engine)))  # type: ignore[misc]
    return [*findings, _tried("toxiproxy", _try_toxiproxy)]


def _tried(name: str, attempt: Callable[[], str]) -> DoctorFinding:
    try:
        return DoctorFinding(name, True, attempt())
    except MissingCapability as error:
        return DoctorFinding(name, False, error.what, error.fix)
    except LabError as error:
        return DoctorFinding(name, False, str(error), "see the files that the message names")


def _try(runtime: str, engine: str) -> str:
    with (
        tempfile.TemporaryDirectory() as folder,
        Lab.up(
            f"doctor-{os.getpid()}",
            runtime=runtime,
            engine=engine,
            nodes=NODES,
            publish=(),
            evidence=Path(folder),
        ) as lab,
    ):
        address = lab.status()["nodes"][NODES[1]]["ipv4"]
        # A closed port answers with a RST (RFC 9293, 3.5.2), so a refusal proves the way there and back.
        refused = (
            "import errno, socket; end = socket.socket(); end.settimeout(2); "
            f"raise SystemExit(end.connect_ex(({address!r}, {CLOSED_PORT})) != errno.ECONNREFUSED)"
        )
        status = lab.exec(NODES[0], [*lab.python(), "-c", refused]).returncode
        if status != 0 or lab.packets() < 2:
            raise MissingCapability(
                runtime, "the lab came up, but no packet crosses it", "report this, with its output"
            )
    return "a lab of two nodes came up, and its packets arrived"


def _try_toxiproxy() -> str:
    if standard_lab.find_toxiproxy() is None:
        raise MissingCapability("toxiproxy", "no toxiproxy server found", standard_lab.TOXIPROXY_HINT)
    return "toxiproxy server found (the Compose lab has its own)"
