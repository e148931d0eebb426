"""One lab's Compose project: what it is made of, how it is brought up, looked at, emptied and removed.

Containers, network and volumes are found by the label that Compose gives them, never by a fixed name. Everything goes
through the Docker API and the `docker` command line, so DOCKER_HOST and contexts mean what they always mean.
"""

from __future__ import annotations

import http.client
import io
import json
import os
import shutil
import socket
import subprocess
import tarfile
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import docker.errors
import requests
import urllib3.exceptions
import yaml

from faultlab.errors import LabError, LabFailure, of_system
from faultlab.network.topology import Network, Node
from faultlab.runtimes.children import for_owner

COMPOSE_FILE = Path(__file__).resolve().parents[4] / "compose" / "lab.yaml"
API_FILE = COMPOSE_FILE.with_name("toxiproxy-api.yaml")
PROJECT_LABEL = "com.docker.compose.project"
SERVICE_LABEL = "com.docker.compose.service"
HOLDER_LABEL = "fault-lab.holder"
EVIDENCE_LABEL = "fault-lab.evidence"
"""The folder of this host that the evidence belongs in, for whoever finds it when the supervisor is no more."""
HUB = "hub"
EVIDENCE = "/evidence"
WORK = "/work"
GONE_SECONDS = 30.0
_COMPOSE = ("docker", "compose")
NO_ANSWER = (
    docker.errors.DockerException,
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    ConnectionError,
)
"""What the SDK raises where the engine goes away, also in the middle of an answer."""
HUB_SECONDS = 10.0


def no_answer(error: Exception) -> LabError:
    """What the Docker SDK made of a request, as one line in the engine's own words or the system's."""
    if isinstance(error, docker.errors.APIError):
        words = error.explanation or (error.response.reason if error.response is not None else "no reason given")
        return LabFailure(f"the Docker engine refused: {' '.join(str(words).split())}")
    if isinstance(error, OSError) and not isinstance(error, NO_ANSWER):
        return of_system(error)
    cause: BaseException = error
    while cause.__context__ is not None:
        cause = cause.__context__
    words = getattr(cause, "strerror", None) or (str(cause).splitlines() or [type(cause).__name__])[0][:120]
    return LabFailure(f"the Docker engine gave no answer: {words}")


def plug_of(node: str) -> str:
    return f"{node}-plug"


@dataclass(frozen=True)
class Project:
    """A project by its name; nothing is kept but that."""

    name: str

    # -- up ------------------------------------------------------------------------------------------------------------

    def up_command(self, overlay: Path, services: Sequence[str], *, with_api: bool) -> list[str]:
        """`with_api`: toxiproxy's API is published too."""
        files = ["-f", str(COMPOSE_FILE), *(["-f", str(API_FILE)] if with_api else []), "-f", str(overlay)]
        return [*_COMPOSE, "-p", self.name, "--progress", "plain", *files, "up", "--detach", "--no-build",
                "--pull", "never", *services]  # fmt: skip

    def line_command(self, lab_name: str) -> list[str]:
        return [
            "docker",
            "exec",
            "-i",
            self.container(HUB),
            "python",
            "-P",
            "-m",
            "faultlab.runtimes.compose.hub_stdio",
            lab_name,
        ]

    def container(self, service: str) -> str:
        return f"{self.name}-{service}-1"

    # -- looking -------------------------------------------------------------------------------------------------------

    def ports(self, client: Any) -> dict[tuple[str, str, int], int]:
        """(service, protocol, port) -> the port on the Docker engine's 127.0.0.1."""
        found = {}
        for container in self._containers(client):
            for port, places in (container.ports or {}).items():
                number, _, protocol = port.partition("/")
                for place in places or ():
                    found[container.labels[SERVICE_LABEL], protocol, int(number)] = int(place["HostPort"])
        return found

    def ended(self, client: Any) -> list[tuple[str, int]]:
        """The services whose container runs no more, and its exit status."""
        gone = [one for one in self._containers(client) if one.status in ("exited", "dead")]
        return [(one.labels[SERVICE_LABEL], one.attrs["State"]["ExitCode"]) for one in gone]

    def output(self, client: Any, service: str, lines: int) -> bytes:
        """The last lines that a service's container wrote."""
        return bytes(client.containers.get(self.container(service)).logs(tail=lines))

    def state(self, client: Any, service: str, seconds: float) -> dict[str, Any]:
        """Docker's State of a container that has ended, or may soon: it is asked for as long as that one runs.

        A sidecar that joins a node which ended at once fails before the engine knows of the node's end.
        """
        deadline = time.monotonic() + seconds
        while True:
            state: dict[str, Any] = client.containers.get(self.container(service)).attrs["State"]
            if state["Status"] != "running" or time.monotonic() > deadline:
                return state
            time.sleep(0.05)

    def left(self, client: Any) -> list[str]:
        """What of this project is still there: containers, networks, volumes."""
        mine = {"label": f"{PROJECT_LABEL}={self.name}"}
        containers = [one.name for one in self._containers(client)]
        networks = [one.name for one in client.networks.list(filters=mine)]
        return [*containers, *networks, *(one.name for one in client.volumes.list(filters=mine))]

    def _containers(self, client: Any) -> list[Any]:
        mine = {"label": f"{PROJECT_LABEL}={self.name}"}
        return list(client.containers.list(all=True, filters=mine, ignore_removed=True))

    # -- evidence ------------------------------------------------------------------------------------------------------

    def give(self, client: Any, name: str, data: bytes) -> str:
        """Put a file beside the evidence, where the hub finds it; returns its path there."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o644
            archive.addfile(entry, io.BytesIO(data))
        client.containers.get(self.container(HUB)).put_archive(EVIDENCE, packed.getvalue())
        return f"{EVIDENCE}/{name}"

    def collect(self, client: Any, folder: Path) -> bool:
        """Evidence and every container's output into the folder; False where there is none, because there is no hub.

        LabFailure where it can't be fetched now: then it must not be removed.
        """
        try:
            (folder / "log").mkdir(parents=True, exist_ok=True)
            for container in self._containers(client):
                service = container.labels.get(SERVICE_LABEL, container.name)
                with open(folder / "log" / f"{service}.txt", "wb", opener=for_owner) as log:
                    log.write(container.logs())
            blocks, _ = client.containers.get(self.container(HUB)).get_archive(f"{EVIDENCE}/.")
            with tarfile.open(fileobj=_Stream(blocks), mode="r|") as archive:
                _files_into(archive, folder)
        except docker.errors.NotFound:
            return False
        except (*NO_ANSWER, OSError, tarfile.TarError) as error:
            why = error if isinstance(error, tarfile.TarError) else no_answer(error)
            raise LabFailure(f"the evidence of {self.name} can't be fetched into {folder}: {why}") from error
        return True

    def bury(self, client: Any, folder: Path, reason: str) -> None:
        """Do what a supervisor that is no more could not: save the evidence, say why the lab ended, remove everything.

        LabFailure where the evidence can't be fetched, and then nothing is removed; or where something stays.
        """
        self._await_hub(client)
        self.collect(client, folder)
        word = folder / "end.json"
        if not word.exists():
            word.write_text(json.dumps({"reason": reason}) + "\n")
        self.remove(client)

    def _await_hub(self, client: Any) -> None:
        """The hub ends by itself, its controller being gone, and writes its evidence out before."""
        deadline = time.monotonic() + HUB_SECONDS
        with suppress(docker.errors.NotFound):
            while client.containers.get(self.container(HUB)).status == "running" and time.monotonic() < deadline:
                time.sleep(0.05)

    # -- down ----------------------------------------------------------------------------------------------------------

    def stop(self, client: Any, services: Iterable[str], seconds: int) -> None:
        """SIGTERM to these, all at once; SIGKILL after so many seconds."""
        wanted = set(services)
        there = [one for one in self._containers(client) if one.labels.get(SERVICE_LABEL) in wanted]
        with ThreadPoolExecutor(max_workers=8) as pool:
            for one in [pool.submit(container.stop, timeout=seconds) for container in there]:
                try:
                    one.result()
                except docker.errors.NotFound:
                    continue  # it went by itself

    def _cut_off(self, client: Any) -> None:
        """Whatever else is on the project's networks leaves them: a container that somebody connected, or one that is
        gone and that the engine still counts. A network with an endpoint can't be removed."""
        for network in client.networks.list(filters={"label": f"{PROJECT_LABEL}={self.name}"}):
            with suppress(docker.errors.NotFound):
                network.reload()
                for endpoint in network.attrs["Containers"]:
                    network.disconnect(endpoint, force=True)

    def remove(self, client: Any) -> None:
        """Everything of the project, until nothing is left: a `docker compose up` that was cut off may still add to it.

        LabFailure where something stays.
        """
        deadline = time.monotonic() + GONE_SECONDS
        command = [*_COMPOSE, "-p", self.name, "down", "--volumes", "--timeout", "0", "--remove-orphans"]
        while True:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=_calm())
            left = self.left(client)
            if not left:
                return
            if time.monotonic() > deadline:
                words = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
                raise LabFailure(f"{', '.join(left)} can't be removed: {words}")
            self._cut_off(client)
            time.sleep(0.1)


def _files_into(archive: tarfile.TarFile, folder: Path) -> None:
    """Its files alone, by their bare names: none can lead elsewhere. (Debian 12's Python has no tar filters.)

    Each has its name once it is whole: two may save the same evidence, and the first then removes it under the other.
    """
    for entry in archive:
        content = archive.extractfile(entry) if entry.isfile() else None
        if content is not None:
            target = folder / Path(entry.name).name
            part = target.with_name(f".{target.name}.{os.getpid()}")
            try:
                with content, open(part, "wb", opener=for_owner) as file:
                    shutil.copyfileobj(content, file)
                part.replace(target)
            finally:
                part.unlink(missing_ok=True)


def overlay(
    services: Mapping[str, Mapping[str, Any]], labels: Mapping[str, str], named: Mapping[str, Mapping[str, Any]]
) -> str:
    """What a driven lab adds to compose/lab.yaml: labels, and no waiting for health, because the lab looks for itself.

    `services` maps each service to further settings of it; None takes one away. `named` are volumes, secrets and
    configs of a service of the user's own.
    """
    lines = ["services:"]
    for name, settings in services.items():
        facts = {"healthcheck": {"disable": True}, **settings, "labels": {**settings.get("labels", {}), **labels}}
        lines += [f"  {name}:", "    depends_on: !reset {}"] if name in ("client", "toxiproxy") else [f"  {name}:"]
        lines += [
            f"    {key}: {_tag(value)}{json.dumps([] if value is None else value)}" for key, value in facts.items()
        ]
    lines += ["networks:", f"  lab: {{labels: {json.dumps(labels)}}}"]
    volumes = {"evidence": {}, "meeting": {}, **named.get("volumes", {})}
    lines += ["volumes:", *(f"  {name}: {json.dumps({**made, 'labels': labels})}" for name, made in volumes.items())]
    for kind in ("secrets", "configs"):
        lines += [f"{kind}: {json.dumps(named[kind])}"] if kind in named else []
    return "\n".join(lines) + "\n"


def _tag(value: Any) -> str:
    return "!reset " if value is None else ""


def with_folder(folder: str) -> dict[str, Any]:
    """A service's settings for seeing a folder of this host, for reading, as its own working directory."""
    mount = {"type": "bind", "source": folder, "target": WORK, "read_only": True}
    return {"volumes": [mount], "working_dir": WORK}


def as_node(service: Mapping[str, Any], node: Node) -> dict[str, Any]:
    """A service of the user's own as a node of the lab: its place in the network, a network stack like others'."""
    addresses = {"ipv4_address": node.ipv4, "ipv6_address": node.ipv6}
    sysctls = {**service.get("sysctls", {}), **_template("x-node")["sysctls"]}
    return {**service, "networks": {"lab": addresses}, "sysctls": sysctls, "pull_policy": "never"}


def plug_for(name: str) -> dict[str, Any]:
    """The plug of a node that compose/lab.yaml does not know."""
    plug = {key: value for key, value in _template("x-plug").items() if key not in ("build", "profiles")}
    return {
        **plug,
        "network_mode": f"service:{name}",
        "command": ["python", "-P", "-m", "faultlab.runtimes.compose.plug", name],
    }


def relaying(node: str, relay: str) -> dict[str, Any]:
    """Settings of a node whose program relays ports: one more of them, published on any port of the host's."""
    command = yaml.safe_load(COMPOSE_FILE.read_text())["services"][node]["command"]
    protocol, _, port = relay.partition("=")[0].partition("/")
    return {"command": [*command, relay], "ports": [f"127.0.0.1::{port}/{protocol}"]}


def limits() -> str:
    """What holds in each node, in words."""
    node = _template("x-node")
    return f"{node['mem_limit']} of memory and {node['pids_limit']} processes for each node, by Docker"


def _template(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load(COMPOSE_FILE.read_text())[name])


def settings(nodes: Sequence[Node], network: Network, seed: int, udp_mode: str) -> dict[str, str]:
    """The variables of compose/lab.yaml."""
    values = {"LAB_IPV4": str(network.ipv4), "LAB_IPV6": str(network.ipv6)}
    values |= {"LAB_SEED": str(seed), "LAB_UDP_MODE": udp_mode}
    for node in nodes:
        name = node.name.upper().replace("-", "_")
        values |= {f"LAB_{name}_IPV4": node.ipv4, f"LAB_{name}_IPV6": node.ipv6}
    return values


def _calm() -> dict[str, str]:
    return {**os.environ, "COMPOSE_PROGRESS": "plain", "COMPOSE_IGNORE_ORPHANS": "true"}


class _Stream(io.RawIOBase):
    """Blocks of bytes as a file to read from."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks = iter(blocks)
        self._rest = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        parts, have = [self._rest], len(self._rest)
        while size < 0 or have < size:
            block = next(self._blocks, None)
            if block is None:
                break
            parts.append(block)
            have += len(block)
        data = b"".join(parts)
        size = len(data) if size < 0 else size
        self._rest = data[size:]
        return data[:size]


# -- labs whose supervisor is gone -------------------------------------------------------------------------------------


def holder(pid: int) -> str:
    """This process in a way that no later one on any host is called."""
    return f"{socket.gethostname()}/{pid}/{_started(pid)}"


def orphans(client: Any) -> dict[Project, Path | None]:
    """Projects of this host's labs whose supervisor is no more, and the folder that the evidence of each belongs in."""
    marked = {"label": HOLDER_LABEL}
    things = [*client.containers.list(all=True, filters=marked, ignore_removed=True)]
    things += [*client.networks.list(filters=marked), *client.volumes.list(filters=marked)]
    found: dict[Project, Path | None] = {}
    for one in things:
        labels = one.labels if hasattr(one, "labels") else one.attrs.get("Labels") or {}
        host, _, process = labels[HOLDER_LABEL].partition("/")
        pid, _, started = process.partition("/")
        if host == socket.gethostname() and _started(int(pid)) != started and PROJECT_LABEL in labels:
            folder = labels.get(EVIDENCE_LABEL)
            found[Project(labels[PROJECT_LABEL])] = Path(folder) if folder else None
    return found


def _started(pid: int) -> str:
    """When a process started, in clock ticks since boot; empty where it is gone or a zombie (/proc/pid/stat)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if fields[0] == "Z" else fields[19]
