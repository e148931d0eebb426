"""What a Compose project is told, and whose it is: no engine needed."""

from __future__ import annotations

import io
import ipaddress
import os
import socket
import subprocess
import sys
import tarfile
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from faultlab.errors import LabFailure
from faultlab.network.topology import Network, free_networks
from faultlab.runtimes.compose import project
from faultlab.runtimes.compose import runtime as compose
from faultlab.runtimes.compose.project import HOLDER_LABEL, PROJECT_LABEL, Project


class Reset(yaml.SafeLoader):
    """Reads Compose's own tag as the word it is."""


Reset.add_constructor("!reset", lambda loader, node: "reset")


def test_the_overlay_waits_for_nothing_and_labels_everything() -> None:
    labels = {HOLDER_LABEL: "host/1/2"}
    text = project.overlay(
        {"client": {"ports": None}, "tcp-server": {}, "hub": {"environment": {"A": "b"}}}, labels, {}
    )
    found = yaml.load(text, Reset)
    client, server, hub = (found["services"][name] for name in ("client", "tcp-server", "hub"))
    assert client["ports"] == client["depends_on"] == "reset"
    assert "depends_on" not in server
    assert hub["environment"] == {"A": "b"}
    parts = [client, server, hub, found["networks"]["lab"], found["volumes"]["evidence"], found["volumes"]["meeting"]]
    assert [part["labels"] for part in parts] == [labels] * 6


def test_settings_name_every_address() -> None:
    network = Network.parse("10.9.0.0/24", "fd09::/64")
    values = project.settings(network.nodes(("client", "tcp-server")), network, 3, "echo")
    assert values["LAB_IPV4"] == "10.9.0.0/24"
    assert (values["LAB_TCP_SERVER_IPV4"], values["LAB_TCP_SERVER_IPV6"]) == ("10.9.0.3", "fd09::3")
    assert (values["LAB_SEED"], values["LAB_UDP_MODE"]) == ("3", "echo")


@pytest.mark.parametrize(
    ("taken", "first"),
    [
        ([], "10.77.0.0/24"),
        (["0.0.0.0/0", "::/0"], "10.77.0.0/24"),
        (["10.77.0.0/24"], "10.77.1.0/24"),
        (["fd77:1ab::/64", "10.77.1.128/25"], "10.77.2.0/24"),
    ],
)
def test_the_first_free_block(taken: list[str], first: str) -> None:
    found = next(free_networks([ipaddress.ip_network(one) for one in taken]))
    assert str(found.ipv4) == first


def test_no_free_block_is_none() -> None:
    assert next(free_networks([ipaddress.ip_network("10.0.0.0/8")]), None) is None


def test_evidence_stays_in_its_folder(tmp_path: Path) -> None:
    """Files by their bare names, whatever an archive says of places and links."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, data in (("./ledger.bin", b"one"), ("../../above", b"two"), ("/etc/passwd", b"three")):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    hub = SimpleNamespace(get_archive=lambda _: ([packed.getvalue()[:700], packed.getvalue()[700:]], {}))
    engine = SimpleNamespace(containers=SimpleNamespace(list=lambda **_: [], get=lambda _: hub))
    folder = tmp_path / "evidence"
    Project("p").collect(engine, folder)
    assert {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()} == {
        "ledger.bin": b"one",
        "above": b"two",
        "passwd": b"three",
    }
    assert [entry.name for entry in tmp_path.iterdir()] == ["evidence"]


class Engine:
    """Its lists, as the Docker SDK has them: containers have labels, networks and volumes keep them in attrs."""

    def __init__(self, *holders: str) -> None:
        things = [({PROJECT_LABEL: f"p{number}", HOLDER_LABEL: holder}) for number, holder in enumerate(holders)]
        self.containers = SimpleNamespace(list=lambda **_: [SimpleNamespace(labels=one) for one in things[:1]])
        rest: list[Any] = [SimpleNamespace(attrs={"Labels": one}) for one in things[1:]]
        self.networks = SimpleNamespace(list=lambda **_: rest)
        self.volumes = SimpleNamespace(list=lambda **_: rest)


def test_only_projects_of_this_hosts_dead_are_orphans() -> None:
    mine = project.holder(os.getpid())
    ended = subprocess.Popen([sys.executable, "-c", ""])
    dead = project.holder(ended.pid)
    ended.wait()
    assert project.orphans(Engine(mine)) == {}
    assert project.orphans(Engine(dead)) == {Project("p0"): None}
    assert project.orphans(Engine(mine, dead)) == {Project("p1"): None}
    assert project.orphans(Engine("another-host/1/5", mine)) == {}


def test_an_orphan_says_where_its_evidence_belongs() -> None:
    gone = Engine("")
    (thing,) = gone.containers.list()
    thing.labels |= {HOLDER_LABEL: f"{socket.gethostname()}/1/never", project.EVIDENCE_LABEL: "/runs/one"}
    assert project.orphans(gone) == {Project("p0"): Path("/runs/one")}


@pytest.mark.parametrize("saved", [True, False])
def test_the_evidence_of_a_dead_lab_is_saved_before_anything_is_removed(
    saved: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it can't be, nothing is removed: the next command tries again."""
    done: list[str] = []

    def collect(*_: object) -> None:
        done.append("collect")
        if not saved:
            raise LabFailure("the evidence can't be fetched")

    monkeypatch.setattr(Project, "_await_hub", lambda *_: None)
    monkeypatch.setattr(Project, "collect", collect)
    monkeypatch.setattr(Project, "remove", lambda *_: done.append("remove"))
    monkeypatch.setattr(compose, "orphans", lambda _: {Project("fault-lab-dead"): tmp_path})
    with nullcontext() if saved else pytest.raises(LabFailure, match="fault-lab-dead stays"):
        assert compose.sweep(None) == ["fault-lab-dead"]
    assert done == ["collect", "remove"][: 1 + saved]


def test_the_news_of_a_container_s_end_may_be_late() -> None:
    """A server that ends at once: its sidecar could not join it, and the engine still calls it running."""
    news = iter(["running", "running", "exited"])

    def get(name: str) -> SimpleNamespace:
        assert name == "fault-lab-x-server-1"
        return SimpleNamespace(attrs={"State": {"Status": next(news, "exited"), "ExitCode": 0}})

    client = SimpleNamespace(containers=SimpleNamespace(get=get))
    one = Project("fault-lab-x")
    assert one.state(client, "server", 20.0) == {"Status": "exited", "ExitCode": 0}
    news = iter(["running"] * 10)
    assert one.state(client, "server", 0.0)["Status"] == "running"
