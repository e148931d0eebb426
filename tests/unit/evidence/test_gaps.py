"""What gaps in the wire's sight leave of a time, and of the verdicts that hang on it."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from faultlab.checks import run_check
from faultlab.engines.wire.core import Core
from faultlab.evidence.run_evidence import Evidence
from faultlab.evidence.gaps import Gaps, Took
from faultlab.engines.recorder import FileRecorder
from faultlab.faults import Corrupt, Latency, Loss
from faultlab.analysis.paths import path_facts
from faultlab.analysis.subject import open_subject
from faultlab.analysis.waits import earliest, latest
from tests.unit.checks.histories import TCP, TcpHistory, record
from tests.support.virtual_wire import ACK, MS, NODES, PSH, SYN, tcp, udp


def note(since: int, until: int, node: str | None = None) -> dict[str, Any]:
    return {"t": since, "until": until} | ({"node": node} if node else {})


def test_a_wait_counts_and_a_stop_is_not_to_blame() -> None:
    gaps = Gaps([note(100, 900), note(800, 1000), note(50, 120, "a")])
    assert gaps.took("a", 10, 40) == Took(30, 30, 30), "met none"
    assert gaps.took("a", 110, 950) == Took(0, 840, 950), "read from 50 on, handed over until 1000"
    assert gaps.took("b", 950, 1100) == Took(100, 150, 300), "can have come at 800"
    assert gaps.took("b", 60, 1100, stamps=(60, 1100)) == Took(1040, 1040, 1040), "no frame met the stop"
    assert gaps.took(None, 0, 2000) == Took(1100, 2000, 2000)


def test_many_at_once_are_as_one_by_one() -> None:
    dice = random.Random(4)
    for _ in range(50):
        spans = sorted((dice.randrange(1000), dice.randrange(5, 80), dice.choice((None, "a"))) for _ in range(8))
        begins = [since for since, _, _ in spans]
        ends = np.maximum.accumulate([since + size for since, size, _ in spans]).tolist()
        gaps = Gaps(note(a, b, node) for a, b, (_, _, node) in zip(begins, ends, spans, strict=True))
        times = np.array([dice.randrange(1200) for _ in range(60)])
        source = np.array([dice.randrange(2) for _ in times], np.int32)
        first = [gaps.earliest("ab"[node], at) for node, at in zip(source.tolist(), times.tolist(), strict=True)]
        assert earliest(gaps, times, source, "ab").tolist() == first
        assert latest(gaps, times).tolist() == [gaps.latest(at) for at in times.tolist()]


def stopped(folder: Path, stop: tuple[int, int] | None) -> Evidence:
    """A datagram a ms, 10 ms on its way; what is due or comes in the stop (in ms) is read and delivered at its end."""
    recorder = FileRecorder(folder, NODES, {"seed": 1, "engine": "wire", "lab": "history"}, epoch=0)
    core = Core(NODES, 1, recorder)
    core.set_faults("client->udp-server", [Latency(delay_ms=10)], 0)

    def seen(at: int) -> int:
        return stop[1] * MS if stop and stop[0] * MS <= at < stop[1] * MS else at

    for sent in range(1, 101):
        core.release(seen(sent * MS))
        core.receive(0, udp(b"%d" % sent), seen(sent * MS))
    while core.deadline is not None:
        core.release(seen(core.deadline))
    if stop:
        recorder.note("gap", t=stop[0] * MS - 1, until=stop[1] * MS)
    recorder.close(strays=0)
    return Evidence(folder)


@pytest.mark.parametrize(
    ("stop", "options", "expected"),
    [
        (None, {"at_least": 10, "at_most": 10, "percentile": 100}, "PASS"),
        ((30, 60), {"at_most": 30, "percentile": 100}, "INCONCLUSIVE"),
        ((30, 60), {"at_most": 20, "percentile": 85}, "INCONCLUSIVE"),
        ((30, 60), {"at_most": 45, "percentile": 100}, "PASS"),
        ((30, 60), {"at_most": 5, "percentile": 100}, "FAIL"),
        ((30, 60), {"at_least": 41, "percentile": 100}, "FAIL"),
        ((30, 60), {"at_least": 15, "percentile": 100}, "PASS"),
        ((30, 180), {"at_least": 15, "percentile": 100}, "INCONCLUSIVE"),
        ((30, 60), {"at_most": 10, "percentile": 50}, "PASS"),
    ],
)
def test_the_delay_that_a_stop_of_the_wire_hides(
    stop: tuple[int, int] | None, options: Mapping[str, float], expected: str, tmp_path: Path
) -> None:
    """Sent at 31 ms and read at 60, it is delivered at 70: 39 ms, of which the stamps show 10."""
    asked = {"path": "client->udp-server", **options}
    result = run_check("delay", asked, stopped(tmp_path, stop))
    assert result.verdict == expected, result
    if expected == "INCONCLUSIVE":
        assert stop is not None
        assert f"did not see its devices for up to {stop[1] - stop[0]}.0 ms" in result.summary


def test_what_is_plotted_counts_the_wait_too(tmp_path: Path) -> None:
    stopped(tmp_path, (30, 180))
    subject = open_subject(tmp_path)
    (facts,) = path_facts(subject)
    for percentile in (50, 100):
        assert facts.delay(percentile) == pytest.approx(160 * MS, abs=10)
    assert any("did not see its devices" in remark for remark in subject.remarks)


@pytest.mark.parametrize(
    ("check", "options", "expected"),
    [
        ("handshake", {"at_most": 20}, "INCONCLUSIVE"),
        ("handshake", {"at_most": 200}, "PASS"),
        ("retransmissions", {"at_most": 0}, "PASS"),
        ("retransmissions", {"at_least": 1}, "FAIL"),
    ],
)
def test_other_times_that_met_a_stop(check: str, options: dict[str, float], expected: str, tmp_path: Path) -> None:
    """The connection of `TcpHistory`, all of whose packets were read at the end of a stop of 100 ms."""
    evidence = TcpHistory().write(tmp_path)
    end = evidence.ledger.entries[-1].arrived
    evidence.ledger.notes.append({"note": "gap", **note(end - 100 * MS, end + MS)})
    assert run_check(check, options, Evidence(tmp_path, (TCP,))).verdict == "PASS" or expected == "FAIL"
    assert run_check(check, options, evidence).verdict == expected


RESENT = {
    "nothing lost": ([], (2,)),
    "the second lost": ([Loss(nth=[3])], (2,)),
    "a part of the second lost": ([Loss(nth=[3])], (1, 2)),
    "the first lost, the second sent again": ([Loss(nth=[2])], (2,)),
    "the second changed": ([Corrupt(nth=[2])], (2,)),
    "lost, sent again, and again": ([Loss(nth=[3])], (2, 2)),
}


@pytest.mark.parametrize(
    ("case", "options", "expected"),
    [
        ("nothing lost", {"at_least": 1}, "INCONCLUSIVE"),
        ("nothing lost", {"at_most": 0}, "INCONCLUSIVE"),
        ("nothing lost", {"at_most": 1}, "PASS"),
        ("nothing lost", {"at_least": 2}, "FAIL"),
        ("the second lost", {"at_least": 1}, "PASS"),
        ("the second lost", {"at_most": 0}, "FAIL"),
        ("the second lost", {"at_least": 1, "at_most": 1}, "PASS"),
        ("a part of the second lost", {"at_least": 1}, "PASS"),
        ("the first lost, the second sent again", {"at_least": 1}, "INCONCLUSIVE"),
        ("the second changed", {"at_least": 1}, "PASS"),
        ("lost, sent again, and again", {"at_least": 1}, "PASS"),
        ("lost, sent again, and again", {"at_least": 2}, "INCONCLUSIVE"),
        ("lost, sent again, and again", {"at_most": 1}, "INCONCLUSIVE"),
        ("lost, sent again, and again", {"at_most": 0}, "FAIL"),
    ],
)
def test_what_tcp_sends_again_in_a_long_stop(
    case: str, options: dict[str, float], expected: str, tmp_path: Path
) -> None:
    """A long stop can be the cause of a retransmission only where the earlier segment arrived as it was sent."""
    faults, resent = RESENT[case]
    segments = [(1000, b"a" * 100), (1100, b"b" * 100)]
    again = [(segments[0][0], b"a" * 100 + b"b" * 100) if number == 1 else segments[1] for number in resent]
    frames = [tcp(flags=SYN, seq=999), *(tcp(data, PSH | ACK, seq=seq) for seq, data in [*segments, *again])]
    record(tmp_path, frames, [("client->tcp-server", fault) for fault in faults])
    ledger = Evidence(tmp_path).ledger
    end = ledger.entries[-1].arrived
    ledger.notes.append({"note": "gap", **note(end - 101 * MS, end)})
    evidence = Evidence(tmp_path, (TCP,))
    evidence.__dict__["ledger"] = ledger
    result = run_check("retransmissions", options, evidence)
    assert result.verdict == expected, result
    if expected == "INCONCLUSIVE":
        assert "of them can be the work of the wire: the wire did not see its devices for up to 101.0 ms" in str(result)


def test_a_ledger_tells_of_a_long_stop(tmp_path: Path) -> None:
    evidence = stopped(tmp_path, (30, 180))
    assert evidence.gaps.is_long
    ledger = run_check("ledger", {}, evidence)
    assert "did not see its devices" in str(ledger.findings)
