"""A fault on both ways that stops the talk: the way that was hit proves it, but never a way that is deaf."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from faultlab.checks import CheckResult, run_check
from faultlab.engines.recorder import FileRecorder
from faultlab.engines.wire.core import Core
from faultlab.evidence.run_evidence import Evidence
from faultlab.faults import (
    Blackhole,
    BurstLoss,
    Drop,
    Fault,
    Flap,
    Latency,
    Loss,
    Match,
    Partition,
    Reset,
    fault_to_json,
)

from tests.support.virtual_wire import ACK, CLIENT, MS, NODES, PSH, SYN, TCP_SERVER, tcp

THERE, BACK = "client->tcp-server", "tcp-server->client"
FROM, TO = 10, 50
"""When the faults stand, in ms."""


def there(data: bytes = b"question" * 10, flags: int = PSH | ACK, seq: int = 1000) -> bytes:
    return tcp(data, flags, seq=seq)


def back(data: bytes = b"answer" * 10, flags: int = PSH | ACK, seq: int = 5000) -> bytes:
    return tcp(data, flags, seq=seq, source=TCP_SERVER, target=CLIENT, port=8082, to=20_000)


def judged(
    folder: Path, faults: Sequence[Fault], frames: dict[int, bytes], *, deaf: str = "", expected: int = 2
) -> CheckResult:
    """The frames by the ms at which they are sent. On a path that is `deaf` the faults are noted, and not set."""
    recorder = FileRecorder(folder, NODES, {"seed": 1, "engine": "wire", "lab": "history"})
    core = Core(NODES, 1, recorder)
    index = {node.mac_bytes: number for number, node in enumerate(NODES)}
    for now in sorted({FROM, TO, *frames}):
        for path in (THERE, BACK) if now in (FROM, TO) else ():
            standing = faults if now == FROM else ()
            if path != deaf:
                core.set_faults(path, standing, now * MS)
            for number, fault in enumerate(faults) if path == deaf else ():
                words = {"fault": fault.kind, "describe": fault.describe(), "leaves": sorted(fault.leaves)}
                about = {"id": f"d{number}", "path": path, "t": now * MS, "reorders": False, **words}
                recorder.note("fault-set" if standing else "fault-cleared", **about, asked=fault_to_json(fault))
        if now in frames:
            core.receive(index[frames[now][6:12]], frames[now], now * MS)
    recorder.close(strays=0)
    return run_check("fault_seen", {"expected": expected}, Evidence(folder))


OPENING = {1: there(b"", SYN, 999), 2: back(b"", SYN | ACK, 4999), 3: there(b"", ACK), 4: there(), 5: back()}
STOPPERS = [
    Partition(),
    Reset(nth=(1,)),
    Drop(match=Match(data=True)),
    Loss(percent=100),
    Loss(every=1),
    Flap(up_ms=1, down_ms=1000, starts="down"),
    Blackhole(above_bytes=68),
    BurstLoss(enter_percent=100, leave_percent=0),
]


@pytest.mark.parametrize("fault", STOPPERS, ids=lambda fault: fault.describe())
def test_the_way_back_had_nothing_to_hit(fault: Fault, tmp_path: Path) -> None:
    """What was sent before it stood, and after, does not count."""
    result = judged(tmp_path, [fault], {**OPENING, 20: there(seq=1008), 60: back(seq=5006)})
    assert result.verdict == "PASS", result
    assert result.summary == "1 of 2 left their mark, 1 had nothing to hit"
    assert "on tcp-server->client had nothing to hit" in result.findings[1].text
    assert result.findings[1].text.endswith("client->tcp-server proves it")


@pytest.mark.parametrize("fault", STOPPERS, ids=lambda fault: fault.describe())
def test_a_deaf_way_proves_nothing(fault: Fault, tmp_path: Path) -> None:
    """A packet that the fault should have hit went through."""
    result = judged(tmp_path, [fault], {**OPENING, 20: there(seq=1008), 21: back(seq=5006)}, deaf=BACK)
    assert (result.verdict, "left no trace (d0)" in result.summary) == ("INCONCLUSIVE", True), result


@pytest.mark.parametrize("fault", STOPPERS, ids=lambda fault: fault.describe())
def test_two_ways_without_a_trace_prove_nothing(fault: Fault, tmp_path: Path) -> None:
    assert judged(tmp_path, [fault], OPENING).verdict == "INCONCLUSIVE"


def test_packets_that_it_is_not_for_are_none_that_it_should_have_hit(tmp_path: Path) -> None:
    """The third data segment is reset; back there was only one, and acknowledgements."""
    frames = OPENING | {20 + n: there(seq=1008 + 8 * n) for n in range(3)} | {30: back(seq=5006), 31: back(b"", ACK)}
    assert judged(tmp_path / "", [Reset(nth=(3,))], frames).verdict == "PASS"


def test_by_chance_is_no_reason(tmp_path: Path) -> None:
    """A packet that a random fault spared could have been hit: nothing shows that the way is not deaf."""
    frames = OPENING | {20 + n: there(seq=1008 + 8 * n) for n in range(25)} | {46: back(seq=5006)}
    found = judged(tmp_path, [Loss(percent=30)], frames, deaf=BACK)
    assert (found.verdict, found.summary) == ("INCONCLUSIVE", "loss 30% on tcp-server->client left no trace (d0)")


def test_a_fault_that_does_not_stop_a_talk_must_act_on_both_ways(tmp_path: Path) -> None:
    result = judged(tmp_path, [Latency(delay_ms=1)], {**OPENING, 20: there(seq=1008)})
    assert result.verdict == "INCONCLUSIVE"


def test_another_fault_on_the_other_way_proves_nothing(tmp_path: Path) -> None:
    """On one way alone, a fault without a trace stays without proof."""
    recorder = FileRecorder(tmp_path, NODES, {"seed": 1, "engine": "wire", "lab": "history"})
    core = Core(NODES, 1, recorder)
    core.set_faults(THERE, [Partition()], 0)
    core.set_faults(BACK, [Partition(match=Match(protocol="udp"))], 0)
    core.receive([node.name for node in NODES].index("client"), there(), MS)
    recorder.close(strays=0)
    assert run_check("fault_seen", {"expected": 2}, Evidence(tmp_path)).verdict == "INCONCLUSIVE"
