"""A run's page out of its folder: what was judged, what the faults did, and what is left out of a long run."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from faultlab.analysis.ladder import Ladder, StandingFault
from faultlab.analysis.subject import open_subject
from faultlab.checks import run_check
from faultlab.checks.base import CheckResult, Finding, Verdict
from faultlab.checks.result_file import keep
from faultlab.checks.run_result import RunResult
from faultlab.errors import UsageError
from faultlab.evidence.run_evidence import Evidence
from faultlab.faults import Drop, Fault, Latency, Loss, Match, Reset
from faultlab.report import gather
from faultlab.report.gather import run_page
from faultlab.report.html import run_html
from faultlab.report.page import RunPage

from tests.support.virtual_wire import ACK, PSH, SYN, TO_TCP, TO_UDP, tcp
from tests.unit.checks.histories import TcpHistory, datagrams, record

CHECKS = (
    CheckResult("fault_seen", Verdict.PASS, "dropped 1 of 7: drop [first: sent.pcapng frame 2 (ledger 2)]"),
    CheckResult("ordering", Verdict.PASS, "all in order"),
    CheckResult("framing", Verdict.FAIL, "wrong", (Finding("wrong", "sent.pcapng frame 3 (ledger 3)"),)),
)
RESULT = RunResult("mine", "About it.", "netns", "wire", 7, Verdict.FAIL, 1.5, CHECKS, "/gone")


def page(folder: Path, result: RunResult | None = RESULT) -> RunPage:
    (folder / "run.json").write_text(json.dumps({"name": "mine", "scenario": "about: x", "seed": 7, "engine": "auto"}))
    if result is not None:
        keep(replace(result, evidence=str(folder)))
    return run_page(folder, "runs/mine", lambda subject: {})


def test_verdicts_come_first_and_the_worst_of_them(tmp_path: Path) -> None:
    record(tmp_path, datagrams([b"one", b"two", b"three"]), [(TO_UDP, Drop(match=Match(which=2)))])
    found = page(tmp_path)
    assert (found.name, found.verdict, found.scenario) == ("mine", Verdict.FAIL, "about: x")
    assert [check.name for check in found.checks] == ["framing", "fault_seen", "ordering"]
    assert [one.packets for one in found.checks[0].findings] == [(3,)]
    assert [command.line for command in found.commands] == [
        "lab replay runs/mine",
        "lab shrink runs/mine",
        "lab inspect --ladder runs/mine",
        "wireshark runs/mine/sent.pcapng",
    ]


def test_what_a_check_says_in_its_summary_leads_to_its_packet_too(tmp_path: Path) -> None:
    record(tmp_path, datagrams([b"one", b"two", b"three"]))
    seen = page(tmp_path).checks[1]
    assert seen.summary == ""
    assert [(one.text, one.where, one.packets) for one in seen.findings] == [
        ("dropped 1 of 7: drop", "first: sent.pcapng frame 2 (ledger 2)", (2,))
    ]


def test_faults_with_what_they_did(tmp_path: Path) -> None:
    record(tmp_path, datagrams([b"one", b"two", b"three"]), [(TO_UDP, Loss(every=2)), (TO_UDP, Latency(delay_ms=5))])
    loss, latency = page(tmp_path).faults
    assert (loss.path, loss.did, loss.packets) == (TO_UDP, "dropped 1", (2,))
    assert (latency.did, latency.packets) == ("delayed 2", (1, 3))
    assert loss.stood == "from the start, to the end"


def test_a_fault_that_did_nothing_says_so(tmp_path: Path) -> None:
    record(tmp_path, datagrams([b"one"]), [(TO_UDP, Loss(every=2))])
    (loss,) = page(tmp_path).faults
    assert (loss.did, loss.packets) == ("touched no packet", ())


def test_that_a_toxic_was_set_proves_nothing(tmp_path: Path) -> None:
    """A toxiproxy that did nothing leaves the same ledger as one that did: the page must not call it proven."""
    record(tmp_path, datagrams([b"one"]))
    toxic = StandingFault("slicer_upstream_0", "toxiproxy:8082", "toxic slicer upstream", 0, None)
    (told,) = gather._faults(open_subject(tmp_path), [Ladder("client", "toxiproxy", 0, (), (toxic,))])
    assert (told.asked, told.packets) == ("toxic slicer upstream", ())
    assert told.did == "not in the ledger: whether toxiproxy did it, the check fault seen says"


def test_without_a_result_the_rest_is_shown(tmp_path: Path) -> None:
    TcpHistory().write(tmp_path)
    found = page(tmp_path, None)
    assert (found.verdict, found.name, found.checks) == (None, "mine", ())
    assert "no result.json" in found.remarks[0]
    assert found.drawings and found.figures and found.tables
    assert not any("shrink" in command.line for command in found.commands)


def test_where_nothing_can_be_read_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "ledger.bin").touch()
    with pytest.raises(UsageError, match="nothing readable"):
        page(tmp_path, replace(RESULT, error="the lab did not come up", checks=()))


def test_a_long_run_is_bounded_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather, "MOST_DRAWN", 20)
    record(tmp_path, datagrams([b"x"] * 200), [(TO_UDP, Drop(match=Match(which=150)))])
    (drawing,) = page(tmp_path).drawings
    assert drawing.svg.count('class="step ') == len(drawing.table.rows) == 20
    assert drawing.left_out.startswith("20 of 200 packets are drawn")
    assert {"3", "150"} <= {row[0] for row in drawing.table.rows}, "the finding's packet, and the fault's"


def test_of_a_very_long_run_only_what_is_near_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather, "MOST_READ", 100)
    monkeypatch.setattr(gather, "AROUND", 3)
    record(tmp_path, datagrams([b"x"] * 200), [(TO_UDP, Drop(match=Match(which=150)))])
    (drawing,) = page(tmp_path).drawings
    assert [int(row[0]) for row in drawing.table.rows] == [*range(1, 7), *range(147, 154)]
    assert drawing.left_out.startswith("13 of 200 packets are drawn")


def test_a_page_of_real_evidence_is_a_page(tmp_path: Path) -> None:
    TcpHistory().write(tmp_path)
    assert 'data-testid="plot"' in run_html(page(tmp_path))


def test_captures_from_elsewhere_are_no_run(tmp_path: Path) -> None:
    record(tmp_path, datagrams([b"one"]))
    with pytest.raises(UsageError, match="no run's folder"):
        run_page(tmp_path / "sent.pcapng", "sent.pcapng", lambda subject: {})


@pytest.mark.parametrize(
    "fault",
    [Reset(to="receiver"), Reset(to="sender"), Drop(match=Match(which=2))],
    ids=["RST onward", "RST back", "dropped"],
)
def test_what_nobody_sent_is_cited_where_it_arrived(tmp_path: Path, fault: Fault) -> None:
    """A finding's words, its link, and the arrow in the ladder that the link leads to are of one packet."""
    record(tmp_path, [tcp(flags=SYN, seq=999), tcp(b"x" * 200, PSH | ACK)], [(TO_TCP, fault)])
    checks = (run_check("fault_seen", {"expected": 1}, Evidence(tmp_path)),)
    found = page(tmp_path, replace(RESULT, verdict=Verdict.PASS, checks=checks))
    (told,) = found.checks[0].findings
    capture, frame, ledger = re.search(r"(\w+).pcapng frame (\d+) \(ledger (\d+)\)", told.where).groups()  # type: ignore[union-attr]
    at = open_subject(tmp_path)
    side = {"sent": at.sent, "delivered": at.delivered}[capture]
    assert side is not None
    assert int(side.ids[int(frame) - 1]) == int(ledger), told.where
    assert told.packets == (int(ledger),)
    assert any(f'data-packet="{ledger}"' in drawing.svg for drawing in found.drawings)
