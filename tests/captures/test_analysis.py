"""Streams and marks equal tshark's: on conversations made for it, other projects' captures, tcpdump's and our own.

docs/captures.md explains each kind of difference that is left.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from random import Random
from socket import inet_aton

import pytest
from faultlab.analysis.conversations import Conversations
from faultlab.analysis.subject import open_subject
from faultlab.captures.files import CaptureFile
from faultlab.captures.tcp import analyse
from faultlab.captures.tcp_marks import Mark
from faultlab.errors import UsageError
from faultlab.network.packets import TCP

from tests.captures.random_conversations import conversations
from tests.captures.tshark_marks import COUNTED, Agreement, tshark
from tests.support.capabilities import missing
from tests.support.conversations import write
from tests.support.telling_conversations import TELLING
from tests.support.virtual_wire import MS
from tests.unit.analysis.ends import tcpdumps
from tests.unit.analysis.test_sent_again import LOSSY, talk
from tests.unit.checks.histories import record

ROOT = Path(__file__).resolve().parent.parent.parent
SAMPLES = ROOT / ".build" / "captures"
SUFFIXES = {".pcap", ".pcapng", ".cap", ".dmp"}
SCENARIOS = [
    "tcp-loss",
    "tcp-reordered",
    "tcp-burst-loss",
    "tcp-duplicated",
    "tcp-link-flaps",
    "tcp-mtu-blackhole",
    "tcp-corrupted",
    "first-syn-ack-lost",
]


@pytest.fixture(autouse=True)
def _tshark() -> None:
    if shutil.which("tshark") is None:
        missing("tshark", "not on PATH")


def test_telling_conversations(tmp_path: Path) -> None:
    together = [replace(segment, host=host) for host, (_, all_) in enumerate(TELLING.values()) for segment in all_]
    found = dict(tshark(write(tmp_path / "telling.pcap", together)))
    last = {segment.host: found[number][1] for number, segment in enumerate(together, 1)}
    assert dict(zip(TELLING, last.values(), strict=True)) == {name: mark for name, (mark, _) in TELLING.items()}


@pytest.mark.parametrize("seed", range(3))
def test_random_conversations(tmp_path: Path, seed: int) -> None:
    """Ends that acknowledge what was never sent are most of what differs."""
    found = Agreement()
    found.compare(write(tmp_path / "random.pcap", conversations(seed, 1000)))
    assert found.packets >= 14000 and not found.wrong_streams and found.wrong_numbers <= found.packets * 0.001
    assert found.promised <= found.packets * 0.001, found.examples[:20]
    assert found.any <= found.packets * 0.01, found.examples[:20]


@pytest.mark.timeout(900)
def test_samples() -> None:
    if not SAMPLES.exists():
        missing("captures", f"no sample captures in {SAMPLES.relative_to(ROOT)} (make captures)")
    files = [file for file in sorted(SAMPLES.rglob("*")) if file.suffix in SUFFIXES and _has_tcp(file)]
    found = Agreement()
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # nearly all of the time is tshark's, which starts for each file
        for file, theirs in zip(files, pool.map(lambda file: dict(tshark(file)), files), strict=True):
            if theirs:
                found.compare(file, theirs)
    show("samples", found)
    assert found.packets >= 3000 and not found.wrong_streams
    assert found.promised <= found.packets * 0.001 and found.any <= found.packets * 0.01, found.examples[:20]
    for mark in COUNTED:
        ours, theirs = found.ours[str(mark.name)], found.theirs[str(mark.name)]
        assert abs(ours - theirs) <= max(2, theirs * 0.01), mark


@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.timeout(120)
def test_our_own_runs(tmp_path: Path, name: str) -> None:
    command = [sys.executable, "-m", "faultlab", "run", name, "--out", str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    captures = sorted(tmp_path.rglob("*.pcapng"))
    if not captures:
        missing("netns", run.stdout + run.stderr)
    found = Agreement()
    for capture in captures:
        found.compare(capture)
    show(name, found)
    assert found.packets and found.any == 0, found.examples[:20]


@pytest.mark.parametrize("seed", range(2))
def test_an_end_of_a_run_is_what_tshark_says_of_a_capture_there(tmp_path: Path, seed: int) -> None:
    """What its own packets are, but that nothing of its own is out of order: that was sent again."""
    record(tmp_path, list(talk(Random(seed), 1000, 200)), LOSSY, gap=MS // 2)
    folder = tcpdumps(tmp_path, tmp_path / "ends", "client", "tcp-server")
    (flow,) = Conversations(open_subject(tmp_path)).all
    assert flow.tcp is not None
    again, own = Mark.RETRANSMISSION | Mark.OUT_OF_ORDER, {"client": "10.77.0.2", "tcp-server": "10.77.0.3"}
    for side, (node, address) in zip(flow.tcp, own.items(), strict=True):
        capture = folder / f"at-{node}.pcapng"
        columns, found = analyse(capture).columns, dict(tshark(capture))
        sent = columns.number[columns.source_low == int.from_bytes(inet_aton(address))].tolist()
        marks = [found[number][1] for number in sent]
        assert side.retransmissions == sum(bool(mark & again) for mark in marks)
        assert side.fast == sum(Mark.FAST_RETRANSMISSION in mark for mark in marks)
        assert side.duplicate_acks == sum(Mark.DUPLICATE_ACK in mark for mark in marks)
    assert flow.tcp[0].retransmissions > 20 and flow.tcp[1].duplicate_acks


@pytest.mark.timeout(60)
def test_tcpdump_of_a_reader_that_stops(tmp_path: Path) -> None:
    """Zero windows, probes and keep-alives, on a loopback of its own."""
    if shutil.which("tcpdump") is None or os.geteuid() != 0:
        missing("tcpdump", "it takes tcpdump, and root for a network namespace")
    capture = tmp_path / "stalled.pcap"
    stalled = [sys.executable, "-m", "tests.captures.stalled_reader", str(capture)]
    subprocess.run(["unshare", "-n", *stalled], cwd=ROOT, check=True, timeout=50)
    found = Agreement()
    found.compare(capture)
    show("tcpdump", found)
    assert found.theirs["ZERO_WINDOW"] and found.theirs["WINDOW_FULL"] and found.theirs["KEEP_ALIVE"]
    assert found.any == 0, found.examples[:20]


def _has_tcp(file: Path) -> bool:
    """As we read it: test_fields compares what is TCP at all."""
    try:
        return any((columns.protocol == TCP).any() for columns in CaptureFile(file).batches())
    except UsageError:
        return False


def show(what: str, found: Agreement) -> None:
    print(f"\n{what}: {found.packets} packets; {found.promised} differ in what is promised, {found.any} in anything")
    for name in sorted(found.ours | found.theirs):
        print(f"  {name.lower():26}{found.ours[name]:8} ours{found.theirs[name]:8} tshark")
