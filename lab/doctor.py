"""What this host can do, found by trying, and how to get what it lacks."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import docker
import docker.errors

from lab import stack
from lab.engines.netem.support import check as check_netem
from lab.errors import LabError, MissingCapability
from lab.lab import Lab
from lab.runtimes import netns


@dataclass(frozen=True)
class Finding:
    """One capability: whether it works here, what was seen, and the fix where it does not."""

    name: str
    works: bool
    seen: str
    fix: str | None = None


def examine() -> list[Finding]:
    """Every runtime and engine, each tried."""
    return [
        _tried("netns", "namespaces and TUN device work", netns.check_host),
        _tried("wire", "a lab of two nodes came up, and its packets arrived", _try_wire),
        _tried("netem", "the kernel has sch_netem", check_netem),
        _tried("toxiproxy", "toxiproxy server found", _try_toxiproxy),
        _tried("docker", "a Docker engine answers", _try_docker),
    ]


def _tried(name: str, seen: str, attempt: Callable[[], None]) -> Finding:
    try:
        attempt()
    except MissingCapability as error:
        return Finding(name, False, error.what, error.fix)
    except LabError as error:
        return Finding(name, False, str(error), "see the files that the message names")
    return Finding(name, True, seen)


def _try_wire() -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        Lab.up(f"doctor-{os.getpid()}", nodes=("one", "two"), publish=(), evidence=Path(folder)) as lab,
    ):
        address = lab.status()["nodes"]["two"]["ipv4"]
        # A closed port answers with a RST (RFC 9293, 3.5.2), so a refusal proves the way there and back.
        refused = (
            "import errno, socket; end = socket.socket(); end.settimeout(2); "
            f"raise SystemExit(end.connect_ex(({address!r}, 9)) != errno.ECONNREFUSED)"
        )
        if lab.exec("one", ["python", "-c", refused]).returncode != 0:
            raise MissingCapability(
                "wire", "the lab came up, but no packet crosses it", "report this, with `lab doctor`"
            )


def _try_toxiproxy() -> None:
    if stack.find_toxiproxy() is None:
        raise MissingCapability("toxiproxy", "no toxiproxy server found", stack.TOXIPROXY_HINT)


def _try_docker() -> None:
    try:
        client = docker.from_env(timeout=5)
        try:
            client.ping()
        finally:
            client.close()
    except docker.errors.DockerException as error:
        fix = "start Docker, or go on without: the lab does not need it (the Compose runtime is being built)"
        raise MissingCapability("docker", f"no Docker engine answers ({_first_line(error)})", fix) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]
