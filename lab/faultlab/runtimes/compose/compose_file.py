"""A service of the user's own Compose file as a part of a lab: read by Compose itself, refused where it can't be one.

`docker compose config` reads the file as `docker compose up` would: `.env`, `env_file`, `extends`, `include`, profiles.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from faultlab.errors import UsageError

_ALONE = "the service comes alone, without the others of its file"
REFUSED = {
    "links": _ALONE,
    "external_links": _ALONE,
    "volumes_from": _ALONE,
    "network_mode": "its network is the lab's",
    "provider": "a node is a container",
    "models": _ALONE,
    "scale": "a node is one container",
}
"""Fields that the lab can't give a service, and why."""
LEFT_OUT = ("ports", "networks", "depends_on")
"""What the lab has of its own or does without; who has written such a field is told."""
_OURS = ("build", "container_name", "expose", "healthcheck", "profiles", "pull_policy", "restart", "deploy", "scale")
"""The same of fields that no one can miss."""
_SHARED = ("pid", "ipc", "uts", "userns_mode", "cgroup")
KINDS = ("volumes", "secrets", "configs")
_UNSET = re.compile(r'The \\*"([A-Za-z_][A-Za-z0-9_]*)\\*" variable is not set')


@dataclass(frozen=True)
class OwnService:
    """A service's settings, whole; what they name of the file (`volumes`, ...); `told` is for the user to know."""

    settings: dict[str, Any]
    named: dict[str, dict[str, Any]] = field(default_factory=dict)
    told: tuple[str, ...] = ()


def read_service(file: Path, service: str) -> OwnService:
    """UsageError, one line with file, service, field and reason, where Compose or the lab can't do as the file says."""
    text, unset = _config(file)
    if unset and (used := _used(file, service, unset)):
        raise UsageError(
            f"{file}: services.{service}: variable {used[0]} is not set and has no default; "
            f"set it in {file.parent / '.env'} or the environment, or give a default: ${{{used[0]}:-}}"
        )
    return taken(json.loads(text), file, service)


def taken(config: Mapping[str, Any], file: Path, service: str) -> OwnService:
    """What the lab takes of a file as `docker compose config --format json` prints it. UsageError as `read_service`."""
    services = config.get("services") or {}
    if service not in services:
        known = ", ".join(sorted(services)) or "none"
        raise UsageError(f"{file}: there is no service {service!r}; its services: {known}")
    found = {name: value for name, value in deepcopy(services[service]).items() if value not in (None, [], {})}

    def refuse(name: str, why: str) -> UsageError:
        return UsageError(f"{file}: services.{service}.{name}: {why}; leave it out")

    for name, why in REFUSED.items():
        if name in found and (name, found[name]) != ("scale", 1):
            raise refuse(name, why)
    for name, value in (found.get("sysctls") or {}).items():
        if name.endswith(".disable_ipv6") and str(value) != "0":
            raise refuse(f"sysctls.{name}", "each node of a lab has IPv6")
    if (found.get("deploy") or {}).get("replicas", 1) != 1:
        raise refuse("deploy.replicas", REFUSED["scale"])
    for name in _SHARED:
        if str(found.get(name, "")).startswith(("service:", "container:")):
            raise refuse(name, _ALONE)
    if "image" not in found:
        raise UsageError(
            f"{file}: services.{service}.build: the lab builds no images; "
            f"give the image a name (image: ...) and build it: docker compose -f {file} build {service}"
        )
    left = [one for one in LEFT_OUT if one in found]
    told = [f"{service} comes without its {', '.join(left)}"] if left else []
    absent = [name for name, value in (found.get("environment") or {}).items() if value is None]
    told += [f"{service} comes without {', '.join(absent)} in its environment, which is not set here"] if absent else []
    settings = {name: value for name, value in found.items() if name not in (*LEFT_OUT, *_OURS)}
    if "environment" in settings:
        settings["environment"] = {name: one for name, one in settings["environment"].items() if one is not None}
    named: dict[str, dict[str, Any]] = {kind: {} for kind in KINDS}
    for kind in KINDS:
        for use in settings.get(kind, ()):
            if "source" not in use or (kind == "volumes" and use["type"] != "volume"):
                continue  # a folder of the host, or a volume without a name
            made = dict((config.get(kind) or {}).get(use["source"]) or {})
            if made.pop("external", False):
                raise refuse(kind, f"{use['source']} is external, and what a lab has is its own")
            made.pop("name", None)  # the lab's own, new and empty, is called as the lab is
            use["source"] = f"own-{use['source']}"  # and as nothing of compose/lab.yaml
            named[kind][use["source"]] = made
    return OwnService(settings, {kind: made for kind, made in named.items() if made}, tuple(told))


def _config(file: Path) -> tuple[str, list[str]]:
    """The file as Compose understands it, as JSON, and the variables that it found unset."""
    done = _compose(file, "config", "--format", "json")
    if done.returncode != 0:
        words = done.stderr.strip().splitlines() or ["no reason given"]
        raise UsageError(f"{file}: {words[-1].strip()}")
    return done.stdout, sorted(set(_UNSET.findall(done.stderr)))


def _used(file: Path, service: str, names: Sequence[str]) -> list[str]:
    """Those of the variables that the service speaks of; without a definite answer, all of them."""
    done = _compose(file, "config", "--no-interpolate", "--format", "json")
    if done.returncode != 0:
        return list(names)
    text = json.dumps((json.loads(done.stdout).get("services") or {}).get(service))
    return [name for name in names if re.search(rf"\$\{{?{name}\b", text)]


def _compose(file: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = ["docker", "compose", "--profile", "*", "-p", "lab", "-f", str(file), *words]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
