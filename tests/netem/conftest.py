"""A lab of bare nodes with engine netem, traffic in it, and its evidence once it is down."""

from __future__ import annotations

import json
import os
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from faultlab.engines.netem.support import supported
from faultlab.evidence import ledger_format
from faultlab.evidence.pcapng import read_packets
from faultlab.lab.lab import Lab

from tests.conftest import RanOn
from tests.support.capabilities import missing

TRAFFIC = str(Path(__file__).parent / "traffic.py")
PORT = 9000
NODES = ("a", "b", "c")
MS = 1_000_000


@pytest.fixture
def needs_netem(ran_on: RanOn) -> None:
    reason = supported()
    if reason:
        missing("netem", reason)
    ran_on("netns", "netem")


@dataclass(frozen=True)
class Packet:
    """One packet of the ledger: its path, its place in its flow, its delay in ms (None: dropped), the acts on it."""

    path: str
    label: str
    ordinal: int
    delays_ms: tuple[float, ...]
    dropped: bool
    effects: frozenset[str]


@dataclass
class Evidence:
    """What a run left behind."""

    folder: Path
    packets: list[Packet] = field(default_factory=list)
    notes: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))

    def on(self, path: str) -> list[Packet]:
        return [packet for packet in self.packets if packet.path == path]

    def with_effect(self, path: str, effect: str) -> int:
        return sum(effect in packet.effects for packet in self.on(path))

    def delays(self, path: str) -> list[float]:
        return sorted(delay for packet in self.on(path) for delay in packet.delays_ms)

    def median_delay(self, path: str) -> float:
        return median(self.delays(path))

    def frames(self, side: str) -> list[bytes]:
        data = memoryview((self.folder / f"{side}.pcapng").read_bytes())
        return [bytes(frame) for _, _, frame in read_packets(data)]

    def counted(self, path: str) -> dict[str, Any]:
        return next(note for note in self.notes["counters"] if note["path"] == path)


def read(folder: Path) -> Evidence:
    """The ledger of a run that ended as it should."""
    evidence = Evidence(folder)
    data = (folder / "ledger.bin").read_bytes()[len(ledger_format.MAGIC) :]
    arrived: dict[int, tuple[Any, ...]] = {}
    left: dict[int, list[int]] = defaultdict(list)
    while data:
        if data[0] == ledger_format.NOTE:
            size = ledger_format.NOTE_HEADER.unpack_from(data)[3]
            note = json.loads(data[8 : 8 + size])
            evidence.notes[note["note"]].append(note)
            data = data[8 + size :]
        elif data[0] == ledger_format.PACKET:
            fields = ledger_format.PACKET_RECORD.unpack_from(data)
            arrived[fields[5]] = fields
            data = data[ledger_format.PACKET_RECORD.size :]
        else:
            depart = ledger_format.DEPART_RECORD.unpack_from(data)
            left[depart[6]].append(depart[7])
            data = data[ledger_format.DEPART_RECORD.size :]
    assert evidence.notes["end"], "the ledger has no end"
    acts = {note["acts"]: frozenset(act[1] for act in note["list"]) for note in evidence.notes["acts"]}
    flows = {note["flow"]: note for note in evidence.notes["flow"]}
    for packet_id, one in arrived.items():
        delays = tuple((time - one[6]) / MS for time in left[packet_id])
        flow, dropped = flows[one[4]], one[1] == ledger_format.DROPPED
        effects = acts.get(one[10], frozenset())
        evidence.packets.append(Packet(flow["path"], flow["label"], one[8], delays, dropped, effects))
    return evidence


class Bench:
    """A running lab. After `down`, the evidence."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab = lab
        self.folder = folder
        self.addresses = lab.status()["nodes"]

    def send(
        self, path: str, count: int = 100, gap_ms: float = 5, size: int = 100, version: str = "ipv4"
    ) -> tuple[list[int], list[tuple[int, int]]]:
        """Numbered datagrams along the path: (when each was sent, (number, when) of each received)."""
        with self.flow(path, count, gap_ms, size, version) as flow:
            return flow.results()

    def flow(self, path: str, count: int, gap_ms: float, size: int = 100, version: str = "ipv4") -> Flow:
        return Flow(self, path, [str(count), str(gap_ms), str(size)], version)

    def down(self) -> Evidence:
        self.lab.down()
        return read(self.folder)


class Flow:
    """Datagrams on their way; leave the block, and both ends are gone."""

    def __init__(self, bench: Bench, path: str, wishes: Sequence[str], version: str) -> None:
        source, target = path.split("->")
        pipe = subprocess.PIPE
        receive = ["python", TRAFFIC, "receive", str(PORT)]
        self._receiver = bench.lab.popen(target, receive, stdin=pipe, stdout=pipe, text=True)
        assert self._receiver.stdout is not None
        assert self._receiver.stdout.readline() == "ready\n"
        send = ["python", TRAFFIC, "send", bench.addresses[target][version], str(PORT), *wishes]
        self._sender = bench.lab.popen(source, send, stdout=pipe, text=True)

    @property
    def running(self) -> bool:
        return self._sender.poll() is None

    def results(self) -> tuple[list[int], list[tuple[int, int]]]:
        sent, _ = self._sender.communicate(timeout=60)
        received, _ = self._receiver.communicate(timeout=60)
        return json.loads(sent), [(number, when) for number, when in json.loads(received)]

    def __enter__(self) -> Flow:
        return self

    def __exit__(self, *_: object) -> None:
        for process in (self._sender, self._receiver):
            process.kill()
            process.wait()


@pytest.fixture
def bench(needs_netem: None, tmp_path: Path) -> Iterator[Bench]:
    with Lab.up(f"netem-{os.getpid()}", engine="netem", seed=1, nodes=NODES, evidence=tmp_path / "run") as lab:
        yield Bench(lab, tmp_path / "run")


@pytest.fixture
def run_twice(needs_netem: None, tmp_path: Path) -> Callable[[Callable[[Bench], None]], list[Evidence]]:
    """Do the same in two labs of one seed."""

    def run(work: Callable[[Bench], None]) -> list[Evidence]:
        results = []
        for number in range(2):
            folder = tmp_path / str(number)
            with Lab.up(f"netem-{os.getpid()}", engine="netem", seed=7, nodes=NODES, evidence=folder) as lab:
                bench = Bench(lab, folder)
                work(bench)
                results.append(bench.down())
        return results

    return run
