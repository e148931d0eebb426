"""A lab with engine netem looked at while it runs: what is known then is true, and the rest is said to be unknown."""

from __future__ import annotations

import subprocess
import sys

from faultlab.analysis.capture_tail import CaptureTail
from faultlab.cli.top_loop import once
from faultlab.faults import Latency, Loss
from faultlab.report.top_text import as_json

from tests.netem.conftest import Bench

PATH = "a->b"
SECONDS = 60


def test_top_counts_what_the_ledger_has_at_the_end_and_nothing_that_it_can_t_know(bench: Bench) -> None:
    bench.lab.set_faults(PATH, Loss(percent=20), Latency(delay_ms=5))
    bench.send(PATH)
    shown = as_json(once(bench.lab, bench.lab.status()))
    evidence = bench.down()
    path = shown["paths"][PATH]
    assert path["faults"] == ["loss 20%", "latency 5ms"]
    assert path["total"]["packets"] == len(evidence.on(PATH)) == 100
    assert path["total"]["dropped"] == sum(packet.dropped for packet in evidence.on(PATH)) > 0
    assert path["total"]["delivered"] == sum(len(packet.delays_ms) for packet in evidence.on(PATH))
    assert path["total"]["waiting"] == 0
    assert path["total"]["delayed"] is path["total"]["duplicated"] is None


def test_a_node_s_packets_come_live(bench: Bench) -> None:
    words = [sys.executable, "-m", "faultlab", "capture", "b", "--delivered", "--name", bench.lab.name]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as capture:
        assert capture.stdout is not None
        begun = capture.stdout.read1()
        bench.lab.set_faults(PATH, Loss(percent=20))
        bench.send(PATH)
        evidence = bench.down()
        stream = begun + capture.communicate(timeout=SECONDS)[0]
    frames = [seen.frame for seen in CaptureTail("delivered").feed(stream)]
    assert capture.returncode == 0
    assert frames == evidence.frames("delivered")
    assert len(frames) == sum(len(packet.delays_ms) for packet in evidence.packets)
