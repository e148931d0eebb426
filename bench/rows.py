"""The rows: each measures us and a peer in the same run, in turn, and says what was promised."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from errno import ECONNREFUSED
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from faultlab.errors import MissingCapability
from faultlab.faults import Latency
from faultlab.lab.lab import Lab
from faultlab.network.standard_lab import TOXIPROXY_HINT, find_toxiproxy

from bench.places import PORT, ROOT, OnLoopback, free_port, in_lab, measure, scapy_bridged

ASKED_MS = 20.0
RATE = "1000"
SECONDS = "3"
ROUND_TRIPS = "100"


@dataclass(frozen=True)
class Row:
    """`ours` and `peer` each give one figure a call. `holds(ours, peer)` says whether the promise held, on medians."""

    name: str
    unit: str
    peer_name: str
    ours: Callable[[], float]
    peer: Callable[[], float] | None
    promise: str
    holds: Callable[[float, float], bool]


def _excess(delays_ms: Sequence[float], share: float) -> float:
    ordered = sorted(delays_ms)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] - ASKED_MS


class Delays:
    """One measurement of the delays serves two rows: p50 and p99."""

    def __init__(self, take: Callable[[], list[float]]) -> None:
        self._take = take
        self._left: list[list[float]] = []

    def p50(self) -> float:
        self._left.append(self._take())
        return _excess(self._left[-1], 0.5)

    def p99(self) -> float:
        return _excess(self._left.pop(0), 0.99)


def wire_delays() -> list[float]:
    with in_lab(Latency(delay_ms=ASKED_MS)) as place:
        sender = ("paced_sender", place.address, PORT, RATE, SECONDS, "udp")
        return _delays(measure(place, ("delay_sink", PORT, "udp"), sender))


def toxiproxy_delays() -> list[float]:
    """The same messages over TCP through the real toxiproxy on loopback, latency 20 ms upstream."""
    api, listen, sink = free_port(), free_port(), free_port()
    toxic = {"type": "latency", "stream": "upstream", "attributes": {"latency": int(ASKED_MS), "jitter": 0}}
    with _toxiproxy(api, listen, sink, toxic):
        place = OnLoopback(listen)
        sender = ("paced_sender", place.address, place.port, RATE, SECONDS, "tcp")
        return _delays(measure(place, ("delay_sink", str(sink), "tcp"), sender))


def _delays(stamps: dict[str, Any]) -> list[float]:
    """From the kernel's stamp on one end to that on the other, in ms, of each message that has both."""
    sent = dict(stamps["sent_ns"])
    return [(arrived - sent[number]) / 1e6 for number, arrived in stamps["arrived_ns"] if number in sent]


def toxiproxy_round_trips() -> list[float]:
    """Request and answer through its latency toxic, 20 ms upstream, one at a time: how its users measure it."""
    api, listen, sink = free_port(), free_port(), free_port()
    toxic = {"type": "latency", "stream": "upstream", "attributes": {"latency": int(ASKED_MS), "jitter": 0}}
    with _toxiproxy(api, listen, sink, toxic):
        place = OnLoopback(listen)
        result = measure(place, ("echo_sink", str(sink)), ("round_trips", place.address, place.port, ROUND_TRIPS))
        return list(result["round_trips_ms"])


@contextmanager
def _toxiproxy(api: int, listen: int, upstream: int, toxic: dict[str, Any]) -> Iterator[None]:
    import requests

    binary = find_toxiproxy()
    if binary is None:
        raise MissingCapability("toxiproxy", "no toxiproxy server found", TOXIPROXY_HINT)
    server = subprocess.Popen([binary, "-port", str(api)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{api}"
        deadline = time.monotonic() + 10
        while True:
            try:
                requests.get(url + "/version", timeout=1)
                break
            except requests.ConnectionError:
                if time.monotonic() > deadline:
                    raise
        proxy: dict[str, Any] = {
            "name": "p",
            "listen": f"127.0.0.1:{listen}",
            "upstream": f"127.0.0.1:{upstream}",
            "enabled": True,
        }
        requests.post(url + "/proxies", json=proxy, timeout=5).raise_for_status()
        requests.post(url + "/proxies/p/toxics", json=toxic, timeout=5).raise_for_status()
        yield
    finally:
        server.kill()
        server.wait()


def wire_packets() -> float:
    with in_lab() as place:
        result = measure(place, ("blast_sink", PORT), ("blast_sender", place.address, PORT, SECONDS, "100"))
        return float(result["per_second"])


def scapy_packets() -> float:
    with scapy_bridged() as place:
        result = measure(place, ("blast_sink", PORT), ("blast_sender", place.address, PORT, SECONDS, "100"))
        return float(result["per_second"])


def wire_tcp(record: bool) -> float:
    with in_lab(record=record) as place:
        result = measure(place, ("bulk_sink", PORT), ("bulk_sender", place.address, PORT, SECONDS))
        return float(result["gbit_per_second"])


def scapy_tcp() -> float:
    with scapy_bridged() as place:
        result = measure(place, ("bulk_sink", PORT), ("bulk_sender", place.address, PORT, SECONDS))
        return float(result["gbit_per_second"])


HOSTS = 10


def network_up() -> float:
    """From the supervisor's first namespace until its ten nodes are joined and the wire runs."""
    with TemporaryDirectory() as folder:
        nodes = tuple(f"h{number}" for number in range(HOSTS))
        with Lab.up(f"bench-{os.getpid()}", nodes=nodes, publish=(), evidence=Path(folder)) as lab:
            ready = float(lab.status()["network_seconds"])
            last = lab.status()["nodes"][nodes[-1]]["ipv4"]
            refused = f"import socket; raise SystemExit(socket.socket().connect_ex(({last!r}, 9)) != {ECONNREFUSED})"
            if lab.exec(nodes[0], [*lab.python(), "-c", refused]).returncode != 0:
                raise RuntimeError("the network came up, but its last node does not answer")
            return ready


def mininet_up() -> float:
    done = subprocess.run(
        ["/usr/bin/python3", str(ROOT / "bench" / "mininet_up.py"), str(HOSTS)],
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise SystemExit(f"bench: Mininet: {done.stderr.strip().splitlines()[-1]}")
    return float(json.loads(done.stdout.splitlines()[-1])["seconds"])


IDLE_SECONDS = 10.0


def idle_share() -> float:
    """Percent of one core that a whole idle lab uses, all its processes together (Linux's sched-stats.rst)."""
    with TemporaryDirectory() as folder, Lab.up(f"bench-{os.getpid()}", publish=(), evidence=Path(folder)) as lab:
        supervisor = int(lab.status()["supervisor_pid"])
        before = _cpu_ns(supervisor)
        time.sleep(IDLE_SECONDS)  # the measurement is of doing nothing for this long
        return (_cpu_ns(supervisor) - before) / 1e9 / IDLE_SECONDS * 100


def _cpu_ns(supervisor: int) -> int:
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    return sum(_on_cpu_ns(int(pid)) for pid in (str(supervisor), *children))


def _on_cpu_ns(pid: int) -> int:
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads)


def rows() -> list[Row]:
    wire, toxiproxy, stream = Delays(wire_delays), Delays(toxiproxy_round_trips), Delays(toxiproxy_delays)
    return [
        Row(
            "20 ms one way, 1,000 packets/s: p50 above asked", "ms", "toxiproxy, round trips", wire.p50, toxiproxy.p50,
            "at most 0.15 ms, and a quarter of toxiproxy's", lambda a, b: a <= 0.15 and a <= b / 4,
        ),
        Row(
            "20 ms one way, 1,000 packets/s: p99 above asked", "ms", "toxiproxy, round trips", wire.p99, toxiproxy.p99,
            "at most 1 ms", lambda a, b: a <= 1,
        ),
        Row(
            "20 ms one way, 1,000 messages/s, both as a stream: p50 above asked", "ms", "toxiproxy, TCP stream",
            lambda: _excess(wire_delays(), 0.5), stream.p50, "below toxiproxy's", lambda a, b: a < b,
        ),
        Row(
            "UDP, 100 bytes, ledger and captures on", "packets/s", "scapy bridge", wire_packets, scapy_packets,
            "at least 15 x scapy's", lambda a, b: a >= 15 * b,
        ),
        Row(
            "TCP goodput, ledger and captures on", "Gbit/s", "scapy bridge", lambda: wire_tcp(True), scapy_tcp,
            "at least 0.5 Gbit/s", lambda a, b: a >= 0.5,
        ),
        Row(
            "TCP goodput, ledger and captures off", "Gbit/s", "scapy bridge", lambda: wire_tcp(False), scapy_tcp,
            "at least 1 Gbit/s", lambda a, b: a >= 1,
        ),
        Row(
            "network of 10 nodes up", "s", "Mininet", network_up, mininet_up,
            "at most a third of Mininet's", lambda a, b: a <= b / 3,
        ),
        Row(
            "idle lab, all processes", "% of a core", "none", idle_share, None,
            "under 1 %", lambda a, b: a < 1,
        ),
    ]  # fmt: skip


def median_and_spread(values: Sequence[float]) -> tuple[float, float, float]:
    return statistics.median(values), min(values), max(values)
