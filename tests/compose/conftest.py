"""The stack as plain Docker Compose brings it up, without the lab's own command: pytest-docker drives it."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from faultlab.network.topology import free_networks
from faultlab.runtimes.compose import project
from faultlab.runtimes.compose import runtime as compose

from tests.support.capabilities import missing, needs_compose

HERE = Path(__file__).resolve().parent
PROBES = HERE.parent / "degraded" / "probes"


@pytest.fixture(scope="session")
def compose_host() -> None:
    """This host has a Docker engine with our images, or the test is left out, saying why."""
    needs_compose()


@pytest.fixture(scope="session")
def engine(compose_host: None) -> Iterator[Any]:
    client = docker.from_env(timeout=60)
    yield client
    client.close()


@pytest.fixture(scope="session")
def docker_compose_project_name() -> str:
    return f"fault-lab-tests-{os.getpid()}"


@pytest.fixture(scope="session")
def docker_compose_file() -> list[str]:
    return [str(project.COMPOSE_FILE), str(project.API_FILE), str(HERE / "probe.yaml")]


@pytest.fixture(scope="session")
def docker_setup() -> list[str]:
    return ["--profile faults --profile capture --profile probe up --detach --wait --no-build"]


@pytest.fixture(scope="session")
def docker_cleanup() -> list[str]:
    return ["--profile '*' down --volumes --timeout 1"]


@pytest.fixture(scope="session")
def settings(compose_host: None) -> Iterator[None]:
    """The variables of the Compose files: a free address block, and where scapy and the probes are."""
    scapy = importlib.util.find_spec("scapy")
    if scapy is None or scapy.origin is None:
        missing("docker", "scapy is not installed: pip install '.[dev]'")
    client = docker.from_env(timeout=60)
    network = next(free_networks(compose.taken(client)))
    client.close()
    nodes = network.nodes(("client", "tcp-server", "udp-server", "dns-server", "toxiproxy"))
    values = project.settings(nodes, network, 7, "ack")
    values |= {"SCAPY": str(Path(scapy.origin).parent), "PROBES": str(PROBES)}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in values.items():
            patch.setenv(name, value)
        yield


class Stack:
    """The running stack, by its services."""

    def __init__(self, name: str, engine: Any) -> None:
        self.name = name
        self.engine = engine

    def container(self, service: str) -> Any:
        return self.engine.containers.get(f"{self.name}-{service}-1")

    def run(self, service: str, *argv: str) -> subprocess.CompletedProcess[str]:
        command = ["docker", "exec", f"{self.name}-{service}-1", *argv]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    def ok(self, service: str, *argv: str) -> str:
        done = self.run(service, *argv)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def fault(self, *words: str) -> Any:
        """`lab fault ...` in the hub, as a user of plain Compose says it."""
        return json.loads(self.ok("hub", "lab", "fault", *words, "--json"))


@pytest.fixture(scope="session")
def stack(settings: None, docker_services: Any, docker_compose_project_name: str, engine: Any) -> Stack:
    return Stack(docker_compose_project_name, engine)
