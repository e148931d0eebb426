"""The compose runtime, seen from the host: nodes are containers of a Docker engine, wherever its context points.

Starts a lab's supervisor (`faultlab.runtimes.compose.supervisor`), chooses its network, runs commands in its nodes.
"""

from __future__ import annotations

import ipaddress
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import docker
import docker.errors
from docker.context import ContextAPI
from docker.context.config import get_current_context_name

from faultlab.errors import LabFailure, MissingCapability, NetworkTaken, UsageError, reason
from faultlab.kernel import syscalls
from faultlab.network import standard_lab
from faultlab.network.plan import Guest, Plan, Service
from faultlab.network.topology import Block, Network, Node, free_networks
from faultlab.runtimes import control
from faultlab.runtimes.compose import images
from faultlab.runtimes.compose.compose_file import OwnService, read_service
from faultlab.runtimes.compose.project import COMPOSE_FILE, NO_ANSWER, no_answer, orphans
from faultlab.runtimes.isolation import MOST_PROCESSES
from faultlab.runtimes.launch import Standing, Wish, supervise
from faultlab.runtimes.netns import runtime as netns

NAME = "compose"
PYTHON: tuple[str, ...] = ("python", "-P")
KERNEL_IS_OURS = False
TOKEN = "LAB_TOKEN"
READY_SECONDS = 180.0
_ENGINE_SECONDS = 10
_HERE = "http+docker://localhost"
"""What the Docker SDK calls an engine behind a Unix socket."""


def check_host() -> None:
    """MissingCapability where no Docker engine answers, Compose v2 is missing, or our images are missing or old."""
    if not COMPOSE_FILE.exists():
        raise MissingCapability("docker", "the Compose files are not installed", "run the lab from its checkout")
    with talking() as client:
        for name in images.NAMES:
            _check_image(client, name)
    found = shutil.which("docker") and subprocess.run(
        ["docker", "compose", "version", "--short"], capture_output=True, text=True
    )
    if not found or found.returncode != 0 or int(found.stdout.lstrip("v").split(".")[0]) < 2:
        raise MissingCapability(
            "docker", "the command `docker compose` (v2) is missing", "install docker's command and its compose plugin"
        )


def engine() -> Any:
    """A client of the Docker engine that DOCKER_HOST or the context names. MissingCapability where none answers."""
    _follow_context()
    try:
        client = docker.from_env(timeout=_ENGINE_SECONDS)
        client.ping()
    except Exception as error:
        words, fix = _why_none_answers(error)
        raise MissingCapability("docker", f"no Docker engine answers ({words})", fix) from error
    return client


@contextmanager
def talking() -> Iterator[Any]:
    """A client of the engine for a while. LabFailure where the engine refuses, or stops answering meanwhile."""
    client = engine()
    try:
        yield client
    except NO_ANSWER as error:
        raise no_answer(error) from error
    finally:
        client.close()


def _follow_context() -> None:
    """The SDK takes the default engine for a context that is not there, and the docker command refuses it.

    Where docker has no config file, the SDK looks for contexts in the working folder; then the command is asked.
    """
    name = os.environ.get("DOCKER_CONTEXT") or get_current_context_name()
    if os.environ.get("DOCKER_HOST") or ContextAPI.get_context(name) is not None:
        return
    ask = ["docker", "context", "inspect", name, "--format", "{{.Endpoints.docker.Host}}"]
    found = subprocess.run(ask, capture_output=True, text=True) if shutil.which("docker") else None
    if found is None or found.returncode != 0:
        raise MissingCapability(
            "docker", f"there is no Docker context {name!r}", "choose one that `docker context ls` names"
        )
    os.environ["DOCKER_HOST"] = found.stdout.strip()


def _why_none_answers(error: BaseException) -> tuple[str, str]:
    """What the system said, below what the libraries made of it; and the fix."""
    while error.__context__ is not None:
        error = error.__context__
    if isinstance(error, NameError):  # the SDK's own, where it could not import paramiko
        return "an engine behind ssh:// needs paramiko", ".venv/bin/pip install paramiko"
    if isinstance(error, PermissionError):
        return "permission denied", "sudo usermod -aG docker $USER and log in again; or go on without Docker"
    if "known_hosts" in str(error):
        fix = "log in to it with ssh once and accept its key (ssh HOST true)"
        return (
            f"the key of the host behind DOCKER_HOST or the context is not known: {str(error).splitlines()[0][:120]}",
            fix,
        )
    words = getattr(error, "strerror", None) or (str(error).splitlines() or [type(error).__name__])[0][:120]
    return words, "start Docker, or name its engine with DOCKER_HOST or `docker context use`; or go on without it"


def _check_image(client: Any, name: str) -> None:
    try:
        source = client.images.get(name).labels.get(images.LABEL)
    except docker.errors.ImageNotFound as error:
        raise MissingCapability("images", f"the Docker engine has no image {name}", "make images") from error
    if source != images.source():
        raise MissingCapability("images", f"image {name} is of other sources than this checkout's", "make images")


def stand_up(wish: Wish, progress: Callable[[str], None]) -> Standing:
    """See `faultlab.runtimes.launch.Runtime`."""
    if wish.trust:
        raise UsageError("--trust is for runtime netns; in containers Docker isolates, so leave it out")
    with talking() as client:
        try:
            sweep(client)
        except LabFailure as error:  # an earlier lab's: this one can stand beside it
            progress(str(error))
        plan = _plan(wish)
        guest = None if wish.guest is None else _guest(wish.guest, client)
        for told in guest.told if guest is not None else ():
            progress(told)
            plan = replace(plan, notes=(*plan.notes, told))
        # The client sees the folder that the lab is started from, where the engine's files are this host's.
        work = str(Path.cwd()) if client.api.base_url == _HERE else None
        blocks = iter([wish.network]) if wish.network is not None else free_networks(taken(client))
    busy = None
    for network in blocks:
        try:
            return _stand_up(replace(plan, nodes=_nodes(network, wish.nodes)), network, work, guest, wish, progress)
        except NetworkTaken as error:
            if wish.network is not None:
                raise
            busy = error  # somebody else's lab took it just now
    raise UsageError("no address block is free for the lab; choose one with --network and --network6") from busy


def _stand_up(
    plan: Plan,
    network: Network,
    work: str | None,
    guest: OwnService | None,
    wish: Wish,
    progress: Callable[[str], None],
) -> Standing:
    outside = [one for one in wish.publish if one[2] in wish.nodes]
    order = {
        "project": f"fault-lab-{wish.name}-{uuid4().hex[:8]}",
        "network": [str(network.ipv4), str(network.ipv6)],
        "all_nodes": [vars(node) for node in network.nodes((*standard_lab.NODES, standard_lab.OWN))],
        "guest": None
        if guest is None
        else {"node": plan.services[-1].node, "settings": guest.settings, "named": guest.named},
        "udp_mode": wish.udp_mode,
        "work": work,
        "publish": outside,
        "forced_drops": str(wish.forced_drops) if wish.forced_drops else None,
    }

    def text(control_fd: int, lifeline_fd: int) -> str:
        full = replace(plan, control=control_fd, lifeline=lifeline_fd)
        return json.dumps({"plan": full.to_json(), **order})

    return supervise(
        "faultlab.runtimes.compose.supervisor", wish.name, text, [], wish.evidence, progress,
        READY_SECONDS + (wish.guest.within_s if wish.guest is not None else 0.0),
    )  # fmt: skip


def _guest(guest: Guest, client: Any) -> OwnService:
    """As a Compose service. UsageError where it can live in no container, MissingCapability without its image.

    It may use half of the engine's memory, where its Compose file sets no limit; an image gains no privileges.
    """
    if guest.compose_file is not None:
        file = Path(guest.compose_file).resolve()
        if not file.is_file():
            raise UsageError(f"{guest.node}: there is no Compose file {guest.compose_file}")
        own = read_service(file, guest.service or "")
        fix = f"docker compose -f {guest.compose_file} build {guest.service}, or docker pull {own.settings['image']}"
    elif guest.image is not None:
        own = OwnService({"image": _literal(guest.image), "security_opt": ["no-new-privileges"]})
        fix = f"docker pull {guest.image}, or docker build -t {guest.image} ."
    else:
        raise UsageError(f"{guest.node} is a command; expected image or compose for runtime compose; use netns")
    image = own.settings["image"].replace("$$", "$")
    try:
        client.images.get(image)
    except docker.errors.ImageNotFound as error:
        raise MissingCapability("images", f"{guest.node}: the Docker engine has no image {image}", fix) from error
    except docker.errors.APIError as error:
        raise UsageError(f"{guest.node}: {image!r} is no image: {error.explanation}") from error
    limits = {"mem_limit": client.info()["MemTotal"] // 2, "pids_limit": MOST_PROCESSES}
    return replace(
        own, settings=limits | own.settings | ({"command": [_literal(one) for one in guest.argv]} if guest.argv else {})
    )


def _literal(word: str) -> str:
    """For a Compose file, in which `$` begins a variable."""
    return word.replace("$", "$$")


def _plan(wish: Wish) -> Plan:
    known = (*standard_lab.NODES, *([wish.guest.node] if wish.guest is not None else ()))
    unknown = [name for name in wish.nodes if name not in known]
    if unknown:
        raise UsageError(f"runtime compose has no node {unknown[0]!r}; its nodes are {', '.join(known)}")
    ports = standard_lab.PORTS | ({wish.guest.node: wish.guest.ports} if wish.guest is not None else {})
    services = [Service(name, name, (), one) for name, one in ports.items() if name in wish.nodes]
    if (guest := wish.guest) is not None:
        services[-1] = replace(services[-1], families=guest.families, within_s=guest.within_s)
    return Plan(
        name=wish.name,
        engine=wish.engine,
        seed=wish.seed,
        nodes=(),
        ipv4_prefix=0,
        ipv6_prefix=0,
        services=tuple(services),
        publications=(),
        control=-1,
        lifeline=-1,
        evidence=str(wish.evidence),
        record=wish.record,
        notes=wish.notes,
    )


def _nodes(network: Network, names: Sequence[str]) -> tuple[Node, ...]:
    return tuple(node for node in network.nodes((*standard_lab.NODES, standard_lab.OWN)) if node.name in names)


def taken(client: Any) -> list[Block]:
    blocks = [ipaddress.ip_network(text) for one in client.networks.list() for text in _subnets(one)]
    return [*blocks, *netns.host_routes()]


def _subnets(network: Any) -> list[str]:
    return [one["Subnet"] for one in (network.attrs.get("IPAM") or {}).get("Config") or () if one.get("Subnet")]


def sweep(client: Any) -> list[str]:
    """Save the evidence and remove the rest of this host's labs whose supervisor is no more; returns their projects.

    LabFailure where the evidence of one can't be saved: that one stays.
    """
    removed, stay = [], []
    for project, folder in orphans(client).items():
        try:
            if folder is None:  # made by an older version, which did not say where
                project.remove(client)
            else:
                project.bury(client, folder, "the lab's supervisor was killed, so the lab ended")
            removed.append(project.name)
        except (LabFailure, *NO_ANSWER) as error:
            stay.append(
                f"{project.name} stays: {error}; to give its evidence up: docker compose -p {project.name} down -v"
            )
    if stay:
        raise LabFailure("; ".join(stay))
    return removed


def popen(name: str, node: str, argv: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
    """Start a command in a node's container. It ends with the lab, or with this process.

    The child is a stand-in for the command: it holds a connection to the lab's supervisor, runs `docker exec`, passes
    SIGTERM and SIGHUP on through the supervisor and ends with the command's status. When the stand-in is gone, the
    supervisor ends the command, which `docker exec` alone would leave running.
    """
    container = control.ask(name, {"do": "enter", "node": node})[0]["container"]
    token = uuid4().hex
    words = ["docker", "exec", "--interactive", "--env", f"{TOKEN}={token}"]
    if options.get("stdin") is None and sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty():
        words.append("--tty")
    for key, value in (options.pop("env", None) or {}).items():
        words += ["--env", f"{key}={value}"]
    if (directory := options.pop("cwd", None)) is not None:
        words += ["--workdir", str(directory)]
    hold = {"do": "hold", "container": container, "token": token}

    def stand_in() -> None:
        channel = control.connect(name)
        channel.send(json.dumps(hold).encode())
        child = os.fork()
        if child:
            _stand_in_for(child, channel)
        syscalls.die_with_parent(signal.SIGKILL)

    try:
        return subprocess.Popen([*words, container, *argv], preexec_fn=stand_in, **options)
    except (OSError, subprocess.SubprocessError) as error:
        raise LabFailure(f"can't run {argv[0]!r} in {node}: {reason(error)}") from error


def _stand_in_for(child: int, channel: Any) -> None:
    """Be the command's stand-in: have signals passed on to it, end as it ends. Never returns."""
    os.dup2(channel.fileno(), 3)
    os.closerange(4, 1024)
    channel.detach()
    channel = socket.socket(fileno=3)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: channel.send(json.dumps({"signal": received}).encode()))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to `docker exec` itself
    while True:
        _, status = os.waitpid(child, 0)
        channel.send(json.dumps({"ended": True}).encode())
        code = os.waitstatus_to_exitcode(status)
        os._exit(code if code >= 0 else 128 - code)
