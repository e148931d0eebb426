"""What the core decides, written to files and read back: the ledger says the same, and agrees with both captures."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from faultlab.engines.recorder import FileRecorder
from faultlab.engines.transit import PathFlow, PathState, Transit
from faultlab.evidence.ledger_format import DELIVERED, DROPPED, INJECTED, WAITING
from faultlab.evidence.reconcile import reconcile
from faultlab.evidence.run_evidence import Evidence
from faultlab.faults import (
    BurstLoss,
    Corrupt,
    Duplicate,
    Fault,
    Flap,
    Latency,
    Loss,
    Match,
    Rate,
    Rebind,
    Reorder,
    Reset,
)

from tests.support.virtual_wire import (
    ACK,
    CLIENT,
    FROM_UDP,
    MS,
    NODES,
    PSH,
    SYN,
    TO_UDP,
    UDP_SERVER,
    ListRecorder,
    Wire,
    tcp,
    udp,
)

DECISIONS = {"passed": DELIVERED, "dropped": DROPPED, "goes on": WAITING, "injected": INJECTED}
TOGETHER: list[tuple[Fault, ...]] = [
    (),
    (Loss(percent=20), Duplicate(percent=30, copies=2)),
    (Duplicate(percent=50, copies=2), Latency(delay_ms=4, jitter_ms=4), Rate(rate_kbit=2000, limit_packets=5)),
    (Latency(delay_ms=5), Rate(rate_kbit=2000, limit_packets=3)),
    (Reorder(percent=30), Latency(delay_ms=3), Rate(rate_kbit=5000)),
    (Reorder(hold=(3, 9, 40), passes=3), Corrupt(percent=20)),
    (Rebind(after=10), Latency(delay_ms=2), Corrupt(percent=20, checksum="fixed")),
    (Reset(nth=(2, 5)), Latency(delay_ms=2), BurstLoss(enter_percent=10, leave_percent=50)),
    (Flap(up_ms=20, down_ms=10), Latency(delay_ms=2, match=Match(protocol="tcp"))),
]


class Both(ListRecorder):
    """Keeps lists, and tells a `FileRecorder` the same."""

    def __init__(self, files: FileRecorder) -> None:
        super().__init__()
        self.files = files

    def flow(self, number: int, path: PathState, label: str) -> None:
        super().flow(number, path, label)
        self.files.flow(number, path, label)

    def passed(self, path: PathState, flow: PathFlow, packet_id: int, frame: bytes, payload_at: int, now: int) -> None:
        super().passed(path, flow, packet_id, frame, payload_at, now)
        self.files.passed(path, flow, packet_id, frame, payload_at, now)

    def decided(self, path: PathState, flow: PathFlow, packet_id: int, transit: Transit, now: int) -> None:
        super().decided(path, flow, packet_id, transit, now)
        self.files.decided(path, flow, packet_id, transit, now)

    def decided_later(self, path: PathState, transit: Transit) -> None:
        super().decided_later(path, transit)
        self.files.decided_later(path, transit)

    def delivered(self, path: PathState, transit: Transit, now: int) -> None:
        super().delivered(path, transit, now)
        self.files.delivered(path, transit, now)

    def note(self, kind: str, **fields: object) -> None:
        super().note(kind, **fields)
        self.files.note(kind, **fields)


def traffic(luck: random.Random) -> bytes:
    """Any frame between the client and the UDP server's node, one way or the other."""
    source, target = luck.choice([(CLIENT, UDP_SERVER), (UDP_SERVER, CLIENT)])
    family, port = luck.choice([4, 6]), luck.choice([20_000, 20_001])
    ports = {"port": port, "to": 9000} if source is CLIENT else {"port": 9000, "to": port}
    payload = luck.randbytes(luck.choice([0, 1, 30, 1000]))
    if luck.random() < 0.5:
        return udp(payload, source=source, target=target, family=family, **ports)
    flags = luck.choice([ACK, ACK | PSH, SYN])
    return tcp(payload, flags, luck.getrandbits(32), luck.getrandbits(32), source=source, target=target,
               family=family, **ports)  # fmt: skip


def play(folder: Path, faults: tuple[Fault, ...], *, seed: int, change: bool) -> Wire:
    luck = random.Random(seed)
    files = FileRecorder(folder, NODES, {"seed": seed, "engine": "wire", "lab": "test"})
    wire = Wire(seed, recorder=Both(files))
    wire.until(MS)  # a time of 0 means "not yet" in the ledger; no clock that ran since boot says it
    wire.send(traffic(luck))
    wire.set(TO_UDP, *faults)
    wire.set(FROM_UDP, *faults)
    for number in range(200):
        wire.send(traffic(luck), at=wire.now + luck.choice([0, 1, MS // 3, 2 * MS]))
        if change and number == 120:
            wire.set(TO_UDP, Loss(percent=10))
    wire.finish()
    files.close(strays=0)
    return wire


@pytest.mark.parametrize("change", [False, True])
@pytest.mark.parametrize("faults", TOGETHER)
def test_files_say_what_the_core_did(tmp_path: Path, faults: tuple[Fault, ...], change: bool) -> None:
    wire = play(tmp_path, faults, seed=11, change=change)
    evidence = Evidence(tmp_path)
    written = [
        (one.packet, one.copy, one.path, one.flow, one.ordinal, one.decision, one.acts, one.arrived, one.size,
         one.delay, one.detail, one.copies if not one.copy else 0, one.departures)
        for one in evidence.ledger.entries
    ]  # fmt: skip
    told = [
        (one.packet, one.copy, one.path, one.flow, one.ordinal, DECISIONS[one.decision], one.acts, one.arrived,
         one.size, one.delay, one.detail, one.copies if not one.copy else 0, one.left)
        for one in wire.recorder.entries
    ]  # fmt: skip
    assert written == told
    assert evidence.ledger.complete


@pytest.mark.parametrize("change", [False, True])
@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("faults", TOGETHER)
def test_ledger_and_captures_agree_and_the_books_balance(
    tmp_path: Path, faults: tuple[Fault, ...], seed: int, change: bool
) -> None:
    wire = play(tmp_path, faults, seed=seed, change=change)
    account = reconcile(Evidence(tmp_path))
    assert account.mismatches == []
    assert account.packets == 201
    assert account.waiting == wire.core.waiting
    came = account.packets + account.duplicated + account.injected
    assert came == account.delivered + account.dropped + account.waiting
