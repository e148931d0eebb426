"""Pages as text: whole, escaped, and with a policy that allows no request and no script but ours."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from faultlab.checks.base import CheckResult, Verdict
from faultlab.checks.run_result import RunResult
from faultlab.report.batch import batch_page
from faultlab.report.html import batch_html, run_html
from faultlab.report.ladder_svg import ladder_svg
from faultlab.report.page import Command, Drawing, FaultTold, Figure, Judged, RunPage, Table, Told

from tests.unit.analysis.steps import ladder, step

EVIL = "</script><img src=x onerror=alert(1)>\"'&<!--"


def page(text: str = "fine") -> RunPage:
    """With `text` wherever a run's text may stand."""
    table = Table("paths", text, ("path", f"#{text}"), ((text, text),), text)
    model = ladder(step(7, 0, text))
    return RunPage(
        name=text,
        about=text,
        verdict=Verdict.FAIL,
        facts=((text, text),),
        error=text,
        remarks=(text,),
        checks=(Judged("framing", Verdict.FAIL, text, (Told(text, text, (7,)), Told(text, text))),),
        faults=(FaultTold(text, text, text, text, (7,)),),
        drawings=(Drawing("ladder-1", text, ladder_svg(model, model.steps), replace(table, id="packets"), text),),
        figures=(Figure("cdf", text, text, [{"name": text, "x": [1.0], "y": [2.0]}], {"title": text}),),
        tables=(table,),
        commands=(Command(text, text),),
        scenario=text,
    )


class Reader(HTMLParser):
    """Elements and attributes as a browser would find them, and what stands in scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.scripts: list[tuple[str | None, str]] = []
        self._script: str | None = None
        self._inside = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag == "script":
            self._inside, self._script = True, dict(attrs).get("type")
            self.scripts.append((self._script, ""))

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag != "script"

    def handle_data(self, data: str) -> None:
        if self._inside:
            kind, text = self.scripts[-1]
            self.scripts[-1] = (kind, text + data)


def pages(text: str) -> list[str]:
    result = RunResult(text, text, text, text, 1, Verdict.FAIL, 1.0, (CheckResult(text, Verdict.FAIL, text),), "runs/x")
    return [run_html(page(text)), batch_html(batch_page([(text, text, result)], ["runs/x/report.html"]))]


@pytest.mark.parametrize("number", [0, 1])
def test_text_of_a_run_is_text(number: int) -> None:
    evil, fine = (Reader(pages(text)[number]) for text in (EVIL, "fine"))
    assert evil.elements == fine.elements
    assert [(tag, name) for tag, name, _ in evil.attributes] == [(tag, name) for tag, name, _ in fine.attributes]
    assert len(evil.scripts) == len(fine.scripts)


def test_text_in_plots_is_data() -> None:
    data = [text for kind, text in Reader(run_html(page(EVIL))).scripts if kind == "application/json"]
    assert [json.loads(text)["layout"] for text in data] == [{"title": EVIL}]


@pytest.mark.parametrize("text", pages("fine"), ids=["run", "batch"])
def test_the_policy_forbids_requests_and_names_our_scripts(text: str) -> None:
    reader = Reader(text)
    policy = next(value for tag, name, value in reader.attributes if name == "content" and "default-src" in value)
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules.pop("default-src") == "'none'"
    ours = [script for kind, script in reader.scripts if kind is None]
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in ours]
    assert rules.pop("script-src") == " ".join(f"'sha256-{digest}'" for digest in digests)
    assert rules == {
        "style-src": "'unsafe-inline'", "img-src": "data: blob:", "base-uri": "'none'", "form-action": "'none'",
    }  # fmt: skip


@pytest.mark.parametrize("text", pages("fine"), ids=["run", "batch"])
def test_nothing_points_to_the_network(text: str) -> None:
    places = {
        value for _, name, value in Reader(text).attributes if name in ("src", "href", "action", "srcset", "data")
    }
    assert {place for place in places if not place.startswith(("#", "data:"))} <= {"runs/x/report.html"}


@pytest.mark.parametrize("text", pages("fine"), ids=["run", "batch"])
def test_ids_are_unique_and_what_is_pointed_to_exists(text: str) -> None:
    attributes = Reader(text).attributes
    ids = [value for _, name, value in attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert {value[1:] for _, name, value in attributes if name == "href" and value[0] == "#"} <= set(ids)
    assert {value for _, name, value in attributes if name in ("aria-labelledby", "for")} <= set(ids)


def test_verdicts_are_words_and_symbols_too() -> None:
    assert re.search(r"✗</span> FAIL", run_html(page()))
    assert "no verdict" in run_html(replace(page(), verdict=None))


def test_parts_without_content_are_left_out() -> None:
    bare = replace(
        page(), error=None, remarks=(), checks=(), faults=(), drawings=(), figures=(), tables=(), scenario=""
    )
    reader = Reader(run_html(bare))
    present = {value for _, name, value in reader.attributes if name == "id"}
    assert present >= {"checks", "replay"}
    assert not present & {"faults", "ladder", "plots", "tables"}


def test_a_matrix_has_a_cell_for_each_run() -> None:
    def result(name: str, verdict: Verdict) -> RunResult:
        return RunResult(name, "", "netns", "wire", 1, verdict, 1.0, (), "", None)

    placed = [
        ("tcp", "loss", result("tcp-loss", Verdict.PASS)),
        ("udp", "loss", result("udp-loss", Verdict.FAIL)),
        ("tcp", "delay", result("tcp-delay", Verdict.PASS)),
        ("tcp", "delay", result("tcp-delay", Verdict.INCONCLUSIVE)),
    ]
    found = batch_page(placed, ["", "udp loss/report.html", "", ""])
    assert (found.verdict, found.columns) == (Verdict.FAIL, ("tcp", "udp"))
    cells = {row: [[cell.verdict for cell in cells] for cells in columns] for row, columns in found.rows}
    assert cells == {
        "loss": [[Verdict.PASS], [Verdict.FAIL]],
        "delay": [[Verdict.PASS, Verdict.INCONCLUSIVE], []],
    }
    assert [cell.link for cell in found.trouble] == ["udp%20loss/report.html", ""]
