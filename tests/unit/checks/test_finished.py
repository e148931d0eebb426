"""Workloads that were cut short, crashed, or did less than they were asked: none of them proves anything."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from faultlab.checks import CheckResult, run_check
from faultlab.engines.recorder import FileRecorder
from faultlab.engines.wire.core import Core
from faultlab.evidence.run_evidence import Evidence, WorkloadRecord

from tests.support.virtual_wire import MS, NODES, udp
from tests.unit.checks.histories import MESSAGES, TCP, UDP, line, record, write_journal

Lines = list[dict[str, object]]
NAMES = replace(UDP, kind="dns", name="dns-client-1", client_journal="journal-dns-client-1.jsonl")
OWN = replace(UDP, kind="command", name="command-client-1", client_journal="")


def sent(number: int, phase: str | None = "ok") -> Lines:
    """So many messages, and how each of them ended; None: nobody knows."""
    begun = [line("message", "invoke", n=n, data=MESSAGES[n]) for n in range(number)]
    return begun + [line("message", phase, n=n, data=MESSAGES[n], why="why") for n in range(number) if phase]


def judged(
    folder: Path, workload: WorkloadRecord, lines: Lines, *, end: str | None = "ok", may_end: bool = False
) -> str:
    record(folder, [udp(MESSAGES[0])])
    (folder / "log").mkdir()
    (folder / "log" / f"{workload.name}.txt").write_text("first words\nlast words\n")
    if workload.client_journal:
        write_journal(folder, workload.client_journal, lines, end=end)
    result = run_check("finished", {"connections_may_end": may_end}, Evidence(folder, (workload,)))
    return told(result)


def told(result: CheckResult) -> str:
    return f"{result.verdict}: {result.summary}"


@pytest.mark.parametrize("phase", ["ok", "unknown", "fail"])
@pytest.mark.parametrize("workload", [TCP, UDP])
def test_a_client_that_did_its_work_has_finished_whatever_the_network_did(
    workload: WorkloadRecord, phase: str, tmp_path: Path
) -> None:
    """Its status 1 says that something failed, which is the experiment."""
    done = replace(workload, status=0 if phase == "ok" else 1)
    said = judged(tmp_path, done, sent(5, phase))
    assert said.startswith(f"PASS: {workload.name} sent 5 of 5")


@pytest.mark.parametrize(
    ("workload", "lines", "end", "said"),
    [
        (replace(UDP, status=None), sent(3, "unknown"), "ok", "was stopped at the scenario's time-out; sent 3 of 5"),
        (replace(UDP, status=0), sent(3), "ok", "did less than it was asked; sent 3 of 5 datagrams"),
        (replace(UDP, status=1), sent(5), "fail", "failed with 1; sent 5 of 5 datagrams"),
        (replace(UDP, status=137), sent(5, None), None, "failed with 137; sent 5 of 5 datagrams, of which 5 have no"),
        (replace(UDP, status=0), sent(5, None), "ok", "left no word about some; sent 5 of 5 datagrams, of which 5"),
        (replace(UDP, status=2), [], "ok", "failed with 2; sent 0 of 5 datagrams"),
        (replace(TCP, status=1), sent(4, "unknown"), "ok", "did less than it was asked; sent 4 of 5 messages"),
        (replace(NAMES, status=None), [], "ok", "was stopped at the scenario's time-out; sent 0 of 5 names"),
        (replace(OWN, status=None), [], "ok", "was stopped at the scenario's time-out: last words"),
        (replace(OWN, status=3), [], "ok", "ended with 3: last words"),
    ],
    ids=[
        "time-out", "less", "exception", "killed", "silent", "no start", "lost", "names", "own, time-out", "own, failed"
    ],
)  # fmt: skip
def test_what_did_not_finish_proves_nothing(
    workload: WorkloadRecord, lines: Lines, end: str | None, said: str, tmp_path: Path
) -> None:
    found = judged(tmp_path, workload, lines, end=end)
    assert found.startswith(f"INCONCLUSIVE: {workload.name} {said}")
    assert found.endswith(": last words")


def test_a_datagram_that_our_own_host_refused_was_not_sent(tmp_path: Path) -> None:
    lines = [*sent(4), line("message", "invoke", n=4, data=b"5"), line("message", "fail", n=4, why="no route to host")]
    assert "sent 4 of 5" in judged(tmp_path, replace(UDP, status=1), lines)


@pytest.mark.parametrize(("number", "verdict"), [(4, "PASS"), (0, "INCONCLUSIVE")])
def test_a_lost_connection_may_be_the_experiment(number: int, verdict: str, tmp_path: Path) -> None:
    """What it left unsent is expected then; that nothing was sent at all is not."""
    assert judged(tmp_path, replace(TCP, status=1), sent(number, "unknown"), may_end=True).startswith(verdict)


def test_the_time_out_is_told(tmp_path: Path) -> None:
    recorder = FileRecorder(tmp_path, NODES, {"seed": 1, "engine": "wire", "lab": "history"})
    Core(NODES, 1, recorder).receive(0, udp(MESSAGES[0]), MS)
    recorder.note("timeout", after_ms=2500)
    recorder.close(strays=0)
    write_journal(tmp_path, UDP.client_journal, sent(2))
    result = run_check("finished", {}, Evidence(tmp_path, (replace(UDP, status=None),)))
    assert result.summary == "udp-client-1 was stopped at the scenario's time-out of 2.5 s; sent 2 of 5 datagrams"


# -- the same thought in the other checks ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("check", "workload", "op"),
    [("healed", UDP, "message"), ("dns", NAMES, "resolve"), ("pool", NAMES, "job")],
)
def test_what_has_no_outcome_is_not_answered(check: str, workload: WorkloadRecord, op: str, tmp_path: Path) -> None:
    """The client was killed after its second operation: what became of that one, nobody knows."""
    record(tmp_path, [udp(MESSAGES[0])])
    fields = {"name": "tcp-server", "addresses": ["10.77.0.3"]}
    lines = [line(op, "invoke", n=0, data=b"0", **fields), line(op, "ok", n=0, data=b"0", **fields)]
    write_journal(tmp_path, workload.client_journal, [*lines, line(op, "invoke", n=1, **fields)], end=None)
    toxics = ({"cleared_t": 0},)
    result = run_check(check, {}, Evidence(tmp_path, (replace(workload, messages=2),), toxics))
    assert result.verdict == "INCONCLUSIVE", result
