"""The same seed and the same workload give the same ledger, and a long ledger never disagrees with its captures."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from faultlab.evidence.ledger_reader import LedgerEntry, read_ledger
from faultlab.evidence.reconcile import reconcile
from faultlab.evidence.run_evidence import Evidence
from faultlab.faults import Corrupt, Duplicate, Loss
from faultlab.lab.lab import Lab

RUNS = int(os.environ.get("LAB_REPEATS", "100"))
MILLION = 1_000_000
ROOT = Path(__file__).resolve().parents[2]


def but_for_times(entry: LedgerEntry) -> tuple[object, ...]:
    return (
        *(entry.path, entry.flow, entry.ordinal, entry.copy, entry.decision, entry.acts, entry.size),
        *(entry.payload_crc, entry.delay, entry.detail, entry.copies, len(entry.departures)),
    )


@pytest.mark.timeout(900)
def test_the_same_udp_workload_and_seed_give_the_same_ledger(needs_netns: None, tmp_path: Path) -> None:
    argv = ["python", "-m", "faultlab_services", "udp-client", "--mode", "echo", "--messages", "40", "--pace", "1ms"]
    ledgers = set()
    for number in range(RUNS):
        folder = tmp_path / str(number)
        nodes = ("client", "udp-server")
        with Lab.up(f"same-{os.getpid()}", nodes=nodes, publish=(), seed=7, evidence=folder, udp_mode="echo") as lab:
            lab.set_faults("client->udp-server", Loss(percent=20), Duplicate(percent=20), Corrupt(percent=10))
            lab.set_faults("udp-server->client", Loss(percent=10))
            to = f"{lab.status()['nodes']['udp-server']['ipv4']}:41234"
            command = [*argv, "--to", to, "--timeout", "100ms", "--source-port", "20000"]
            lab.exec("client", command, stdout=subprocess.DEVNULL)
            lab.await_quiet()
        ledger = read_ledger(folder / "ledger.bin")
        assert ledger.complete
        by_path = sorted(ledger.entries, key=lambda entry: entry.path)
        ledgers.add(tuple(but_for_times(entry) for entry in by_path))
    assert len(ledgers) == 1
    assert len(next(iter(ledgers))) > 60


@pytest.mark.timeout(900)
def test_a_million_packets_and_no_mismatch(needs_netns: None, tmp_path: Path) -> None:
    with Lab.up(f"million-{os.getpid()}", nodes=("a", "b"), publish=(), seed=1, evidence=tmp_path) as lab:
        lab.set_faults("a->b", Loss(percent=1), Duplicate(percent=1))
        address = lab.status()["nodes"]["b"]["ipv4"]
        traffic = [sys.executable, "-m", "bench.traffic"]
        sink = lab.popen("b", [*traffic, "blast_sink", "9000"], stdout=subprocess.PIPE, cwd=str(ROOT))
        assert sink.stdout is not None
        sink.stdout.readline()
        while lab.packets() < MILLION:
            lab.exec(
                "a", [*traffic, "blast_sender", address, "9000", "2", "20"], stdout=subprocess.DEVNULL, cwd=str(ROOT)
            )
        sink.communicate()
        lab.await_quiet()
    account = reconcile(Evidence(tmp_path))
    assert account.packets >= MILLION
    assert account.dropped > 0
    assert account.duplicated > 0
    assert account.mismatches == []
    assert account.packets + account.duplicated == account.delivered + account.dropped
