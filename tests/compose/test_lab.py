"""What a lab in containers owes its user besides what every lab does: leases, contexts, refusals, commands that end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import docker
import pytest
from faultlab.engines.netem.support import supported
from faultlab.faults import Loss
from faultlab.lab.lab import Lab
from faultlab.network.plan import Guest
from faultlab.network.topology import free_networks
from faultlab.runtimes.compose import runtime as compose
from faultlab.runtimes.compose.project import PROJECT_LABEL

from tests.conftest import RanOn

LAB = [sys.executable, "-m", "faultlab"]
PAIR = ("client", "tcp-server")


@pytest.fixture(autouse=True)
def counted(ran_on: RanOn, compose_host: None) -> None:
    ran_on("compose", "wire")


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def in_node(lab: Lab, node: str, *argv: str) -> subprocess.CompletedProcess[str]:
    return lab.exec(node, list(argv), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_controller_that_hangs_loses_its_lease(engine: Any, tmp_path: Path) -> None:
    """Stopped, not killed: its connection stays. Without renewal the hub ends, and every fault with it."""
    with Lab.up(f"hangs-{os.getpid()}", runtime="compose", nodes=PAIR, publish=(), evidence=tmp_path) as lab:
        lab.set_faults("client<->tcp-server", Loss(percent=100))
        facts = lab.status()
        client = engine.containers.get(f"{facts['project']}-client-1")
        os.kill(facts["supervisor_pid"], signal.SIGSTOP)
        try:
            assert wait_for(lambda: b"lab0" not in client.exec_run("cat /proc/net/dev").output)
            server = f"{facts['nodes']['tcp-server']['ipv4']}:8082"
            ask = f"python -m faultlab_services tcp-client --to {server} --framing length2"
            assert client.exec_run(ask).exit_code == 0
        finally:
            os.kill(facts["supervisor_pid"], signal.SIGCONT)
        assert wait_for(lab.is_gone)
        assert "hub" in lab.why_gone(tmp_path)
    assert engine.containers.list(all=True, filters={"label": f"{PROJECT_LABEL}={facts['project']}"}) == []


def test_a_command_ends_with_its_signal_and_with_its_stand_in(tmp_path: Path) -> None:
    with Lab.up(f"ends-{os.getpid()}", runtime="compose", nodes=PAIR, publish=(), evidence=tmp_path) as lab:

        def asleep(seconds: str) -> bool:
            found = in_node(lab, "client", "sh", "-c", f"grep -lz '^{seconds}$' /proc/[0-9]*/cmdline")
            return bool(found.stdout.split())

        def started(seconds: str) -> subprocess.Popen[bytes]:
            process = lab.popen("client", ["sleep", seconds])
            assert wait_for(lambda: asleep(seconds))
            return process

        asked = started("1001")
        asked.terminate()
        assert asked.wait(20) == 128 + signal.SIGTERM
        assert wait_for(lambda: not asleep("1001"))
        killed = started("1002")
        killed.kill()
        killed.wait(20)
        assert wait_for(lambda: not asleep("1002"))
        assert in_node(lab, "client", "sh", "-c", "exit 7").returncode == 7


def test_a_block_that_somebody_took_meanwhile(engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look and the making of the network: the next block is tried, under the same name."""
    seen = compose.taken(engine)
    block = next(free_networks(seen))
    pool = docker.types.IPAMPool(subnet=str(block.ipv4))
    name = f"meanwhile-{os.getpid()}"
    other = engine.networks.create(name, ipam=docker.types.IPAMConfig(pool_configs=[pool]))
    try:
        monkeypatch.setattr(compose, "taken", lambda client: seen)
        with Lab.up(name, runtime="compose", nodes=PAIR, publish=(), evidence=tmp_path) as lab:
            address = ip_address(lab.status()["nodes"]["client"]["ipv4"])
            assert address not in block.ipv4
    finally:
        other.remove()


def test_a_container_of_somebody_else_on_the_lab_s_network_does_not_keep_it(engine: Any, tmp_path: Path) -> None:
    """The engine removes no network that has an endpoint, a stranger's or one of a container that is long gone."""
    with Lab.up(f"stranger-{os.getpid()}", runtime="compose", nodes=PAIR, publish=(), evidence=tmp_path) as lab:
        (network,) = engine.networks.list(filters={"label": f"{PROJECT_LABEL}={lab.status()['project']}"})
        stranger = engine.containers.run("fault-lab/node", ["sleep", "600"], network=network.name, detach=True)
        try:
            assert "failed" not in lab.down()
            assert engine.networks.list(names=[network.name]) == []
            stranger.reload()
            assert stranger.status == "running", "it is not the lab's to end"
        finally:
            stranger.remove(force=True)


def test_a_context_is_followed(tmp_path: Path) -> None:
    """The context in use names the default engine in its own words; another one names an engine that is not there."""
    env = {**os.environ, "DOCKER_CONFIG": str(tmp_path / "docker")}
    host = env.pop("DOCKER_HOST", "unix:///var/run/docker.sock")
    for context, engine in (("elsewhere", host), ("asleep", "unix:///nowhere")):
        create = ["docker", "context", "create", context, "--docker", f"host={engine}"]
        subprocess.run(create, env=env, check=True, capture_output=True)
    subprocess.run(["docker", "context", "use", "elsewhere"], env=env, check=True, capture_output=True)
    name = f"context-{os.getpid()}"

    def lab(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
        argv = [*LAB, *words, "--name", name]
        return subprocess.run(argv, cwd=tmp_path, env={**env, **more}, capture_output=True, text=True)

    up = lab("up", "--runtime", "compose", "--json")
    assert up.returncode == 0, up.stderr
    assert json.loads(up.stdout)["runtime"] == "compose"
    assert lab("down").returncode == 0
    for more, said in (
        ({"DOCKER_HOST": "unix:///nowhere"}, "lab: no Docker engine answers (No such file or directory). Fix: "),
        ({"DOCKER_CONTEXT": "asleep"}, "lab: no Docker engine answers (No such file or directory). Fix: "),
        ({"DOCKER_CONTEXT": "nobody"}, "lab: there is no Docker context 'nobody'. Fix: "),
    ):
        refused = lab("up", "--runtime", "compose", **more)
        assert (refused.returncode, refused.stderr[: len(said)]) == (4, said)


def test_netem_without_the_kernels_is_refused_by_name(engine: Any, tmp_path: Path) -> None:
    if not supported():
        pytest.skip("needs a kernel without netem: this one has it, and tests/netem uses it")
    argv = [*LAB, "run", "tcp-loss", "--runtime", "compose", "--engine", "netem", "--out", str(tmp_path)]
    before = engine.containers.list(all=True)
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode == 4, done.stderr
    assert "sch_netem" in done.stderr and "Fix:" in done.stderr
    assert engine.containers.list(all=True) == before


def test_images_of_other_sources_are_refused(engine: Any, tmp_path: Path) -> None:
    """A copy of the checkout with one line more: its hub would be another one than its supervisor thinks."""
    root = Path(__file__).resolve().parents[2]
    for part in ("lab", "services", "compose"):
        subprocess.run(["cp", "-r", str(root / part), str(tmp_path / part)], check=True)
    with (tmp_path / "lab/faultlab/runtimes/compose/hub.py").open("a") as file:
        file.write("# another\n")
    env = {**os.environ, "PYTHONPATH": f"{tmp_path / 'lab'}:{tmp_path / 'services'}"}
    name = f"others-{os.getpid()}"
    argv = [*LAB, "up", "--runtime", "compose", "--name", name]
    done = subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120)
    if done.returncode == 0:
        subprocess.run([*LAB, "down", "--name", name], check=True, timeout=120)
    assert (done.returncode, "make images" in done.stderr) == (4, True), done.stderr


def test_no_container_holds_more_than_it_needs(engine: Any, tmp_path: Path) -> None:
    """Nor does a server of the user's own, from an image: no privilege, no socket of the host, limits for each."""
    argv = ("python", "-m", "http.server", "9000")
    guest = Guest("server", ("tcp/9000",), argv=argv, image="fault-lab/node")
    with Lab.up(f"needs-{os.getpid()}", runtime="compose", nodes=PAIR, guest=guest, evidence=tmp_path) as lab:
        facts = lab.status()
        containers = engine.containers.list(filters={"label": f"{PROJECT_LABEL}={facts['project']}"})
        assert len(containers) == 2 * len(facts["nodes"]) + 1
        for one in containers:
            host = one.attrs["HostConfig"]
            assert not host["Privileged"] and host["Memory"] > 0 and host["PidsLimit"] > 0, one.name
            assert "no-new-privileges" in str(host["SecurityOpt"]), one.name
            assert "host" not in (host["NetworkMode"], host["PidMode"], host["IpcMode"], host["UsernsMode"]), one.name
            assert {device["PathOnHost"] for device in host["Devices"] or ()} <= {"/dev/net/tun"}, one.name
            binds = [mount["Source"] for mount in one.attrs["Mounts"] if mount["Type"] == "bind"]
            assert binds == [str(Path.cwd())] * (one.name.endswith("-client-1")), one.name
