"""A service of a Compose file of the user's: what the lab takes of it, what it tells, what it refuses by name.

The files are as `docker compose config --format json` prints them; no engine needed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from faultlab.errors import UsageError
from faultlab.network.topology import Node
from faultlab.runtimes.compose import project
from faultlab.runtimes.compose.compose_file import taken

FILE = Path("/theirs/compose.yaml")


def take(service: dict[str, Any], **top: Any) -> Any:
    return taken({"services": {"web": {"image": "web", **service}, "db": {"image": "db"}}, **top}, FILE, "web")


@pytest.mark.parametrize(
    ("service", "told"),
    [
        (
            {"sysctls": {"net.ipv6.conf.all.disable_ipv6": "1"}},
            "sysctls.net.ipv6.conf.all.disable_ipv6: each",
        ),
        ({"links": ["db"]}, "links: the service comes alone"),
        ({"external_links": ["db"]}, "external_links: the service comes alone"),
        ({"volumes_from": ["db"]}, "volumes_from: the service comes alone"),
        ({"network_mode": "host"}, "network_mode: its network is the lab's"),
        ({"pid": "service:db"}, "pid: the service comes alone"),
        ({"ipc": "container:db"}, "ipc: the service comes alone"),
        ({"scale": 2}, "scale: a node is one container"),
        ({"deploy": {"replicas": 3}}, "deploy.replicas: a node is one container"),
        ({"image": None, "build": {"context": "."}}, "build: the lab builds no images"),
        (
            {"volumes": [{"type": "volume", "source": "data", "target": "/data"}]},
            "volumes: data is external, and what a lab has is its own",
        ),
        ({"secrets": [{"source": "key", "target": "/k"}]}, "secrets: key is external"),
        ({"configs": [{"source": "conf", "target": "/c"}]}, "configs: conf is external"),
    ],
)
def test_what_does_not_work_is_refused_by_name(service: dict[str, Any], told: str) -> None:
    external = {"external": True, "name": "x"}
    with pytest.raises(UsageError) as caught:
        take(service, volumes={"data": external}, secrets={"key": external}, configs={"conf": external})
    assert str(caught.value).startswith(f"{FILE}: services.web.{told}")
    assert "\n" not in str(caught.value)


def test_a_service_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(UsageError, match=r"there is no service 'nope'; its services: db, web"):
        taken({"services": {"web": {}, "db": {}}}, FILE, "nope")


def test_what_works_comes_along_under_names_that_are_none_of_the_labs() -> None:
    own = take(
        {
            "command": None,
            "environment": {"MODE": "a", "ABSENT": None},
            "scale": 1,
            "volumes": [
                {"type": "volume", "source": "evidence", "target": "/data"},
                {"type": "volume", "target": "/nameless"},
                {"type": "bind", "source": "/theirs/x", "target": "/x"},
            ],
            "secrets": [{"source": "key", "target": "/run/secrets/key"}],
            "sysctls": {"net.core.somaxconn": "1024"},
            "labels": {"theirs": "1"},
            "healthcheck": {"test": "x"},
            "ports": [{"target": 80}],
            "depends_on": {"db": {}},
        },
        volumes={"evidence": {"name": "theirs_evidence", "driver": "local"}},
        secrets={"key": {"name": "theirs_key", "file": "/theirs/key"}},
    )
    assert own.told == (
        "web comes without its ports, depends_on",
        "web comes without ABSENT in its environment, which is not set here",
    )
    assert own.named == {
        "volumes": {"own-evidence": {"driver": "local"}},
        "secrets": {"own-key": {"file": "/theirs/key"}},
    }
    node = Node("server", "02:1a:b0:00:00:07", "10.77.0.7", "fd77:1ab::7")
    text = project.overlay({"server": project.as_node(own.settings, node)}, {"whose": "lab"}, own.named)
    found = yaml.safe_load(text)
    server = found["services"]["server"]
    assert [one.get("source") for one in server["volumes"]] == ["own-evidence", None, "/theirs/x"]
    assert found["volumes"]["own-evidence"] == {"driver": "local", "labels": {"whose": "lab"}}
    assert found["secrets"] == {"own-key": {"file": "/theirs/key"}}
    assert server["secrets"][0]["source"] == "own-key"
    assert server["environment"] == {"MODE": "a"}
    assert server["labels"] == {"theirs": "1", "whose": "lab"}
    assert server["sysctls"]["net.core.somaxconn"] == "1024"
    assert "net.ipv4.tcp_no_metrics_save" in server["sysctls"]
    assert server["healthcheck"] == {"disable": True}
    assert server["networks"] == {"lab": {"ipv4_address": "10.77.0.7", "ipv6_address": "fd77:1ab::7"}}
    assert not {"ports", "depends_on", "scale", "command"} & server.keys()
