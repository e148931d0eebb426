"""What is found from two tcpdumps alone, one at each end, is what the ledger says."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from faultlab.analysis.paths import PathFacts, path_facts
from faultlab.analysis.repairs import repairs
from faultlab.analysis.subject import open_subject
from faultlab.faults import Latency, Loss
from faultlab.lab.lab import Lab

from tests.support.capabilities import missing

ENDS = ("client", "tcp-server")
TALK = [
    "python", "-m", "faultlab_services", "tcp-client", "--to", "tcp-server:8082",
    "--framing", "length2", "--messages", "80",
    "--timeout", "20s",
]  # fmt: skip
LOST = 3
"""Every twentieth packet of at least eighty, each way."""


@contextmanager
def tcpdumps(lab: Lab, folder: Path) -> Iterator[None]:
    """One at each end, from when they see packets on."""
    started = []
    try:
        for node in ENDS:
            command = [
                "tcpdump",
                "-Z",
                "root",
                "-i",
                "eth0",
                "-U",
                "--immediate-mode",
                "-w",
                str(folder / f"{node}.pcap"),
            ]
            started.append(lab.popen(node, command, stderr=subprocess.PIPE, text=True))
            assert "listening on" in started[-1].stderr.readline()
        yield
        lab.await_quiet()
    finally:
        for one in started:
            one.terminate()
            one.communicate(timeout=20)


def test_two_tcpdumps_show_what_the_ledger_says(needs_netns: None, tmp_path: Path) -> None:
    if not shutil.which("tcpdump"):
        missing("tcpdump", "no tcpdump found; install it: apt-get install tcpdump")
    run, ends = tmp_path / "run", tmp_path / "ends"
    run.mkdir()
    ends.mkdir()
    with Lab.up(f"ends-{os.getpid()}", evidence=run, seed=3, engine="wire") as lab:
        lab.set_faults("client<->tcp-server", Loss(every=20), Latency(delay_ms=5, jitter_ms=3))
        with tcpdumps(lab, ends):
            lab.exec("client", TALK, stdout=subprocess.DEVNULL)
    known, found = open_subject(run), open_subject(ends)
    of_run = [one for one in path_facts(known) if {one.source, one.target} == set(ENDS)]
    of_ends = path_facts(found)
    assert len(of_run) == len(of_ends) == 2
    for ours, theirs in zip(of_run, of_ends, strict=True):
        assert (theirs.sent_side.name, theirs.delivered_side.name) == (f"{ours.source}.pcap", f"{ours.target}.pcap")
        compare(ours, theirs)
    assert sum("lost on the way" in str(one) for one in repairs(found, of_ends)) > LOST // 2


def compare(ours: PathFacts, theirs: PathFacts) -> None:
    first = int(np.argmax(ours.arrived))
    kept = slice(first, first + theirs.sent)
    assert theirs.sent > 0.9 * ours.sent
    assert theirs.copies.tolist() == ours.copies[kept].tolist()
    assert theirs.losses.lost >= LOST
    assert ours.agreement is not None and ours.agreement.agrees
