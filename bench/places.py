"""Where the measurements run: two nodes of a lab, or two namespaces joined by a peer's bridge."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from errno import ECONNREFUSED
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from faultlab.faults import Fault
from faultlab.kernel import syscalls
from faultlab.lab.lab import Lab

ROOT = Path(__file__).resolve().parent.parent
PORT = "9000"


class Place(Protocol):
    """Two hosts, `a` and `b`; programs can be started on either."""

    address: str
    """Of `b`."""

    def start(self, host: str, *role: str) -> subprocess.Popen[str]: ...


def measure(place: Place, sink: Sequence[str], sender: Sequence[str]) -> dict[str, Any]:
    """Start the sink on `b`, wait until it listens, run the sender on `a`; returns what the sink says."""
    receiving = place.start("b", *sink)
    assert receiving.stdout is not None
    receiving.stdout.readline()
    sending = place.start("a", *sender)
    sent, _ = sending.communicate(timeout=60)
    said, _ = receiving.communicate(timeout=60)
    result: dict[str, Any] = {**json.loads(sent), **json.loads(said)}
    return result


def _traffic(role: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "bench.traffic", *role]


class InLab:
    """Nodes `a` and `b` of a lab."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self.address: str = lab.status()["nodes"]["b"]["ipv4"]

    def start(self, host: str, *role: str) -> subprocess.Popen[str]:
        return self._lab.popen(host, _traffic(role), stdout=subprocess.PIPE, text=True, cwd=str(ROOT))


@contextmanager
def in_lab(*faults: Fault, record: bool = True, engine: str = "wire") -> Iterator[InLab]:
    """A lab of two bare nodes with these faults from `a` to `b`; its evidence is thrown away."""
    with (
        TemporaryDirectory() as folder,
        Lab.up(
            f"bench-{os.getpid()}",
            engine=engine,
            nodes=("a", "b"),
            publish=(),
            record=record,
            evidence=Path(folder),
            seed=1,
        ) as lab,
        lab.fault("a->b", *faults),
    ):
        yield InLab(lab)


class Bridged:
    """Two namespaces, each with one end of a veth pair whose other end is in a third, where the peer bridges them."""

    address = "10.99.0.2"

    def __init__(self) -> None:
        home = syscalls.network_namespace()
        try:
            self._spaces = {name: _new_namespace() for name in ("middle", "a", "b")}
        finally:
            syscalls.setns(home, syscalls.CLONE_NEWNET)
            os.close(home)
        for number, host in enumerate(("a", "b"), start=1):
            self._ip(
                "middle",
                f"link add m{number} type veth peer name eth0 netns /proc/{os.getpid()}/fd/{self._spaces[host]}",
            )
            self._ip("middle", f"link set m{number} up")
            self._ip(host, f"address add 10.99.0.{number}/24 dev eth0")
            self._ip(host, "link set eth0 up")
            # As on a TAP: whole checksums and frames no larger than the MTU, which a bridge in user space needs.
            for feature in ("tx", "tso", "gso"):
                self._run_to_end(host, ["ethtool", "-K", "eth0", feature, "off"])

    def start(self, host: str, *role: str) -> subprocess.Popen[str]:
        return self.run(host, _traffic(role))

    def run(self, host: str, argv: Sequence[str]) -> subprocess.Popen[str]:
        space = self._spaces[host]
        return subprocess.Popen(
            argv,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=tuple(self._spaces.values()),
            preexec_fn=lambda: syscalls.setns(space, syscalls.CLONE_NEWNET),
        )

    def close(self) -> None:
        for fd in self._spaces.values():
            os.close(fd)

    def answers(self) -> bool:
        """Whether `a` reaches `b`: a connection to a closed port is refused, not lost."""
        there = (self.address, 9)
        code = f"import socket; s = socket.socket(); s.settimeout(1); raise SystemExit(s.connect_ex({there!r}))"
        return self.run("a", [sys.executable, "-c", code]).wait() == ECONNREFUSED

    def _ip(self, host: str, words: str) -> None:
        self._run_to_end(host, ["ip", *words.split()])

    def _run_to_end(self, host: str, argv: Sequence[str]) -> None:
        process = self.run(host, argv)
        process.communicate()
        if process.returncode != 0:
            raise RuntimeError(f"{' '.join(argv)}: exit status {process.returncode}")


def _new_namespace() -> int:
    syscalls.unshare(syscalls.CLONE_NEWNET)
    return syscalls.network_namespace()


@contextmanager
def scapy_bridged() -> Iterator[Bridged]:
    """Two namespaces joined by scapy's bridge_and_sniff."""
    place = Bridged()
    bridge = place.run("middle", [sys.executable, "-m", "bench.scapy_bridge", "m1", "m2"])
    try:
        assert bridge.stdout is not None
        bridge.stdout.readline()
        deadline = time.monotonic() + 20
        while not place.answers():
            if time.monotonic() > deadline:
                raise RuntimeError("scapy's bridge carries nothing")
        yield place
    finally:
        bridge.kill()
        bridge.wait()
        place.close()


class OnLoopback:
    """Both hosts are this host; `b` is reached through toxiproxy."""

    def __init__(self, port: int) -> None:
        self.address = "127.0.0.1"
        self.port = str(port)

    def start(self, host: str, *role: str) -> subprocess.Popen[str]:
        return subprocess.Popen(_traffic(role), cwd=ROOT, stdout=subprocess.PIPE, text=True)


def free_port() -> int:
    with socket.socket() as end:
        end.bind(("127.0.0.1", 0))
        return int(end.getsockname()[1])
