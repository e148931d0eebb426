"""The Docker engine that can't be had, or stops answering: each in one line, with what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import docker
import docker.errors
import pytest
import requests
from faultlab.errors import LabFailure, MissingCapability, Unwritten, UsageError
from faultlab.runtimes.compose import runtime as compose
from faultlab.runtimes.compose.hub import plan_of
from faultlab.runtimes.compose.project import no_answer


class UnknownHost(Exception):
    """As paramiko's SSHException, which is none of the SDK's errors."""


def test_an_unknown_host_key_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: Any) -> None:
        raise UnknownHost("Server 'build-host' not found in known_hosts\nand sixty lines more")

    monkeypatch.setattr(docker, "from_env", refuse)
    monkeypatch.setenv("DOCKER_HOST", "ssh://build-host")
    with pytest.raises(MissingCapability) as caught:
        compose.engine()
    said = str(caught.value)
    assert "Server 'build-host' not found in known_hosts" in said and "\n" not in said
    assert said.endswith("Fix: log in to it with ssh once and accept its key (ssh HOST true)")


DOCKER = """#!/bin/sh
[ "$1 $2 $3" = "context inspect elsewhere" ] && echo unix:///var/run/elsewhere.sock
"""
"""The command, which knows one context."""


def test_a_context_is_found_where_docker_has_no_config_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "docker").write_text(DOCKER)
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "config"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DOCKER_HOST", "")
    asked = []

    class Client:
        def ping(self) -> None:
            asked.append(compose.os.environ["DOCKER_HOST"])

    monkeypatch.setattr(docker, "from_env", lambda **_: Client())
    monkeypatch.setenv("DOCKER_CONTEXT", "elsewhere")
    compose.engine()
    assert asked == ["unix:///var/run/elsewhere.sock"]
    monkeypatch.setenv("DOCKER_HOST", "")
    monkeypatch.setenv("DOCKER_CONTEXT", "nobody")
    with pytest.raises(MissingCapability, match="there is no Docker context 'nobody'"):
        compose.engine()


def answered(status: int, message: str) -> docker.errors.APIError:
    response = requests.Response()
    response.status_code, response.reason, response.url = status, "Internal Server Error", "http+docker://localhost/v1"
    response._content = json.dumps({"message": message}).encode()
    return docker.errors.APIError("500 Server Error for http+docker://localhost/v1", response, message)


def test_what_the_engine_said_is_told_without_what_the_library_made_of_it() -> None:
    refused = no_answer(answered(500, "driver failed programming:\n no such device"))
    assert (type(refused), str(refused)) == (
        LabFailure, "the Docker engine refused: driver failed programming: no such device",
    )  # fmt: skip
    try:
        requests.get("http+docker://localhost/v1", timeout=1)
    except requests.RequestException as error:
        gone = str(no_answer(error))
    assert gone.startswith("the Docker engine gave no answer: ") and "\n" not in gone and "0x" not in gone
    assert isinstance(no_answer(OSError(28, "No space left on device", "runs/compose.yaml")), Unwritten)


@pytest.mark.parametrize("failure", [answered(404, "no such image"), requests.ConnectionError("reset")])
def test_an_engine_that_stops_answering_in_the_middle_is_the_lab_s_failure(
    failure: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Client:
        closed = False

        def close(self) -> None:
            self.closed = True

    client = Client()
    monkeypatch.setattr(compose, "engine", lambda: client)
    with pytest.raises(LabFailure, match="the Docker engine"), compose.talking():
        raise failure
    assert client.closed


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"LAB_NODES": "client=10.77.0.2"}, r"LAB_NODES: client=10.77.0.2: expected NAME=IPV4,IPV6"),
        ({"LAB_NODES": "client=10.77.0.2,"}, r"LAB_NODES: client=10.77.0.2,: expected NAME=IPV4,IPV6"),
        ({"LAB_NODES": "client"}, "LAB_NODES: client: expected"),
        ({"LAB_NODES": "client=fd77::2,10.77.0.2"}, "LAB_NODES: client=fd77::2,10.77.0.2: expected"),
        ({"LAB_NODES": "client=10.77.0.2,fd77::2", "LAB_SEED": "x"}, "LAB_SEED: found 'x'; expected a whole number"),
    ],
)
def test_a_compose_network_without_ipv6_is_refused_by_its_node(variables: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        plan_of(variables)
