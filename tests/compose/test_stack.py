"""The Compose files: clean, small, without privilege; and faults, captures and name service in their stack."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from faultlab.evidence.ledger_reader import read_ledger
from faultlab.evidence.pcapng import read_packets
from faultlab.runtimes.compose import images, project
from toxiproxy import Toxiproxy

from tests.compose.conftest import Stack
from tests.conftest import RanOn
from tests.degraded.test_probes import DATAGRAMS

SERVERS = ("tcp-server", "udp-server", "dns-server", "toxiproxy", "client")
ADDRESS = 26  # of the source, in an Ethernet frame with IPv4
CLIENT = ("python", "-m", "faultlab_services")


@pytest.fixture(autouse=True)
def counted(ran_on: RanOn, compose_host: None) -> None:
    ran_on("compose", "wire")


@pytest.fixture
def calm(stack: Stack) -> Iterator[Stack]:
    """The stack without faults, before and after."""
    stack.fault("clear")
    yield stack
    stack.fault("clear")


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


# -- the files and the images ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", sorted(project.COMPOSE_FILE.parent.glob("*.yaml")), ids=lambda file: file.name)
def test_each_file_is_clean(file: Path) -> None:
    """Any other file adds to the first."""
    files = [f"--file={one}" for one in dict.fromkeys((project.COMPOSE_FILE, file))]
    command = ["docker", "compose", "--profile", "*", *files, "config", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("name", images.NAMES)
def test_no_image_has_a_compiler_or_runs_as_root(name: str, engine: Any) -> None:
    image = engine.images.get(name)
    assert image.attrs["Config"]["User"] not in ("", "0", "root", "0:0")
    tools = ("gcc", "cc", "g++", "clang", "tcc", "make", "ld", "as", "go", "rustc")
    if name != "fault-lab/toxiproxy":  # that one has no shell to ask: its files are listed instead
        look = f"for tool in {' '.join(tools)}; do command -v $tool && exit 1; done; exit 0"
        assert engine.containers.run(name, ["sh", "-c", look], remove=True) == b""
        return
    container = engine.containers.create(name)
    try:
        listing = subprocess.run(
            ["sh", "-c", f"docker export {container.id} | tar -t"], capture_output=True, text=True, check=True
        ).stdout.split()
    finally:
        container.remove()
    assert {Path(file).name for file in listing} & set(tools) == set()
    assert "toxiproxy" in listing


def test_services_have_no_privilege_and_sidecars_one(stack: Stack) -> None:
    wanted = {"hub": {"NET_ADMIN", "NET_RAW", "SYS_NICE"}, "client-probe": {"NET_RAW"}}
    for node in SERVERS:
        wanted |= {node: set(), f"{node}-plug": {"NET_ADMIN"}, f"{node}-capture": {"NET_RAW"}}
    for service, capabilities in wanted.items():
        facts = stack.container(service).attrs
        host, user = facts["HostConfig"], facts["Config"]["User"]
        assert {name.removeprefix("CAP_") for name in host["CapAdd"] or ()} == capabilities, service
        assert host["CapDrop"] == ["ALL"], service
        assert not host["Privileged"], service
        assert (user.split(":")[0] == "0") == (service not in SERVERS), service
        if service in SERVERS:
            assert host["ReadonlyRootfs"], service
            assert "no-new-privileges" in str(host["SecurityOpt"]), service
        if service != "client-probe":
            assert host["Memory"] > 0 and host["PidsLimit"] > 0, service


def test_ports_are_on_the_loopback_and_none_is_fixed(stack: Stack) -> None:
    places = [place for service in SERVERS for one in stack.container(service).ports.values() for place in one or ()]
    assert len(places) == 7
    assert {place["HostIp"] for place in places} == {"127.0.0.1"}
    asked = [stack.container(service).attrs["HostConfig"]["PortBindings"] for service in SERVERS]
    assert {place["HostPort"] for one in asked for bound in one.values() for place in bound} <= {"", "0"}


# -- what the stack does -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["4", "6"])
def test_a_fault_acts_and_is_gone_when_cleared(calm: Stack, family: str) -> None:
    """Both IP versions; a lost SYN-ACK costs TCP its first timer, a second (RFC 6298, 2.1)."""
    address = os.environ["LAB_TCP_SERVER_IPV4" if family == "4" else "LAB_TCP_SERVER_IPV6"]
    to = address if family == "4" else f"[{address}]"
    ask = (*CLIENT, "tcp-client", "--to", f"{to}:8082", "--framing", "length2", "--json")
    shown = calm.fault("set", "tcp-server->client", "--fault", "drop: {tcp: syn+ack, which: first}")
    assert list(shown["faults"]) == ["tcp-server->client"]
    assert json.loads(calm.ok("client", *ask))["seconds"] > 0.9
    assert calm.fault("clear")["faults"] == {}
    calm.ok("client", *ask)


def test_names_come_from_the_labs_own_server(calm: Stack) -> None:
    calm.ok("client", *CLIENT, "dns-client", "--how", "lookup", "--names", "tcp-server,udp-server")
    assert os.environ["LAB_DNS_SERVER_IPV4"] in calm.ok("client", "cat", "/etc/resolv.conf")
    calm.fault("set", "client->dns-server", "--loss", "100%")
    lost = calm.run("client", *CLIENT, "dns-client", "--how", "lookup", "--names", "tcp-server", "--timeout", "500ms")
    assert lost.returncode == 1


def test_toxiproxy_python_drives_toxiproxy(calm: Stack, ran_on: RanOn) -> None:
    ran_on("compose", "toxiproxy")
    server = Toxiproxy()
    server.update_api_consumer("127.0.0.1", int(calm.container("toxiproxy").ports["8474/tcp"][0]["HostPort"]))
    ask = (*CLIENT, "tcp-client", "--to", "toxiproxy:8082", "--framing", "length2", "--json")
    proxy = server.get_proxy("tcp-length2")
    proxy.add_toxic(name="slow", type="latency", stream="upstream", attributes={"latency": 300})
    try:
        assert json.loads(calm.ok("client", *ask))["seconds"] > 0.3
    finally:
        proxy.destroy_toxic("slow")
    assert proxy.toxics() == {}


@pytest.mark.parametrize("case", DATAGRAMS)
def test_scapy_in_the_client_node(calm: Stack, case: str) -> None:
    """Packets that no kernel made, from a sidecar of the client: the same answers as in a netns lab."""
    node, answer = DATAGRAMS[case]
    facts = json.loads(calm.ok("hub", "lab", "status", "--json"))["nodes"][node]
    said = calm.ok("client-probe", "python", "/opt/probes/here/datagrams.py", case, facts["ipv4"], facts["mac"], "lab0")
    assert json.loads(said)["answer"] == answer


def test_captures_of_both_sides_are_complete(calm: Stack, tmp_path: Path) -> None:
    """What the client's and the server's own sidecars saw is, packet by packet, what the engine says it carried."""
    calm.fault("set", "client->tcp-server", "--fault", "loss: {every: 5}")
    to = f"{os.environ['LAB_TCP_SERVER_IPV4']}:8082"
    calm.ok("client", *CLIENT, "tcp-client", "--to", to, "--framing", "length2", "--messages", "30")
    calm.fault("clear")

    def fetch() -> tuple[Counter[bytes], ...]:
        subprocess.run(
            ["docker", "cp", f"{calm.name}-hub-1:/evidence/.", str(tmp_path)], check=True, capture_output=True
        )
        client, server = (os.environ[f"LAB_{name}_IPV4"] for name in ("CLIENT", "TCP_SERVER"))
        return tuple(
            between(tmp_path / file, client, server, interfaces)
            for file, interfaces in (
                ("sent.pcapng", (0,)),
                ("capture-client.pcapng", (1,)),
                ("delivered.pcapng", (1,)),
                ("capture-tcp-server.pcapng", (1,)),
            )
        )

    assert wait_for(lambda: (seen := fetch())[0] == seen[1] and seen[2] == seen[3])
    sent, _, delivered, _ = fetch()
    assert sum((sent - delivered).values()) > 0, "no packet was lost on the way"
    assert delivered - sent == Counter()
    assert read_ledger(tmp_path / "ledger.bin").entries


def between(file: Path, source: str, target: str, interfaces: tuple[int, ...]) -> Counter[bytes]:
    """The frames with these two IPv4 addresses, as often as they were seen."""
    wanted = bytes(int(part) for address in (source, target) for part in address.split("."))
    packets = read_packets(memoryview(file.read_bytes()))
    return Counter(
        bytes(frame)
        for interface, _, frame in packets
        if interface in interfaces and frame[ADDRESS : ADDRESS + 8] == wanted
    )


def test_without_the_hub_the_network_is_as_it_was(stack: Stack) -> None:
    """The last test here: it takes the hub away by SIGKILL, with every path cut, and brings it back."""
    ask = (*CLIENT, "tcp-client", "--to", f"{os.environ['LAB_TCP_SERVER_IPV4']}:8082", "--framing", "length2")
    stack.fault("set", "client<->tcp-server", "--loss", "100%")
    assert stack.run("client", *ask, "--connect-timeout", "300ms").returncode == 1
    stack.container("hub").kill()
    assert wait_for(lambda: "lab0" not in stack.ok("client", "cat", "/proc/net/dev"))
    assert wait_for(lambda: "127.0.0.11" in stack.ok("client", "cat", "/etc/resolv.conf"))
    stack.ok("client", *ask)
    stack.container("hub").start()
    assert wait_for(lambda: stack.run("hub", "test", "-e", "/run/lab/ready").returncode == 0)
    assert stack.fault("show")["faults"] == {}
    stack.ok("client", *ask)
