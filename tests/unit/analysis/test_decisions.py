"""The ledger in columns says what its entries say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from faultlab.analysis.decisions import decisions
from faultlab.evidence.ledger_reader import read_ledger
from faultlab.faults import Corrupt, Duplicate, Effect, Latency, Loss

from tests.support.virtual_wire import TO_UDP
from tests.unit.checks.histories import datagrams, record

FAULTS = [
    (TO_UDP, Loss(percent=20)), (TO_UDP, Duplicate(percent=20)), (TO_UDP, Corrupt(percent=20)),
    (TO_UDP, Latency(delay_ms=2, jitter_ms=1)),
]  # fmt: skip


def test_each_row_is_an_entry(tmp_path: Path) -> None:
    record(tmp_path, datagrams(b"%d" % number for number in range(60)), FAULTS)
    ledger = read_ledger(tmp_path / "ledger.bin")
    found = decisions(ledger)
    assert found.rows(np.array([1, 60, 61, 0], np.uint64)).tolist() == [0, 59, -1, -1]
    assert found.on(TO_UDP).tolist() == list(range(60))
    assert found.on("client->nobody").tolist() == []
    for row, packet in enumerate(found.packet.tolist()):
        entry = ledger.by_packet[packet]
        lefts = [left for _, left in entry.departures]
        assert found.paths[found.path[row]] == entry.path
        assert (found.arrived[row], found.delay[row], found.departures[row]) == (entry.arrived, entry.delay, len(lefts))
        assert found.left[row] == min(lefts, default=0)
        assert found.changed[row] == entry.did(Effect.CHANGED)
        assert found.duplicated[row] == entry.did(Effect.DUPLICATED)
    assert found.changed.any() and found.duplicated.any() and not found.waiting.any() and not found.injected.any()


def test_an_empty_ledger_knows_no_packet(tmp_path: Path) -> None:
    record(tmp_path, [])
    found = decisions(read_ledger(tmp_path / "ledger.bin"))
    assert found.rows(np.array([1, 2], np.uint64)).tolist() == [-1, -1]
    assert found.paths == ()
