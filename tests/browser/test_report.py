"""Reports in a browser: whole, quiet, without a request; to be used by mouse, by keyboard and on a phone."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from faultlab.checks import Verdict
from faultlab.checks.run_result import RunResult
from faultlab.evidence.ledger_reader import read_ledger
from faultlab.network import standard_lab
from faultlab.report.html import run_html
from playwright.sync_api import Page, expect

from tests.browser.conftest import PHONE, SCENARIOS, Open, OpenReport, make_report
from tests.degraded.test_wrong_servers import judged
from tests.support.capabilities import missing
from tests.unit.report.test_html import EVIL
from tests.unit.report.test_html import page as literal_page

TALKATIVE = "tcp-loss"
"""A scenario with several connections, many losses and so many findings."""


@pytest.fixture
def talkative(runs: dict[str, RunResult], needs_netns: None) -> Path:
    return Path(runs[TALKATIVE].evidence) / "report.html"


@pytest.fixture(scope="session")
def failed(netns_host: None, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """A server that loses every fifth message, behind a path that reorders."""
    workload = (
        "tcp: {to: 'server:9000', framing: length2, messages: 20, connections: 2, size: 20B..300B, window: 20, "
        "pace: 10ms, timeout: 1s}"
    )
    faults = "{on: client<->server, latency: 10ms, reorder: 50%}"
    result = judged(workload, faults, "reliability", "tcp_server.py", "loses", tmp_path_factory.mktemp("failed"))
    make_report(Path(result.evidence))
    return result


def by(page: Page, name: str) -> list[str]:
    """The texts of all elements of that name."""
    return page.get_by_test_id(name).all_inner_texts()


def sideways(page: Page) -> bool:
    """Whether the page as a whole can be scrolled to the side."""
    return bool(page.evaluate("document.documentElement.scrollWidth > innerWidth"))


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_scenarios_report_is_whole(
    name: str, needs_netns: None, runs: dict[str, RunResult], open_report: OpenReport
) -> None:
    if name not in runs:
        missing("toxiproxy", standard_lab.TOXIPROXY_HINT)
    result = runs[name]
    folder = Path(result.evidence)
    page = open_report(name).page
    assert page.title() == f"{result.verdict}: {name}"
    assert by(page, "verdict")[0].split()[-1] == result.verdict
    header = by(page, "header")[0]
    assert all(text in header for text in (name, result.about, str(result.seed), result.engine))
    checks = page.get_by_test_id("check").evaluate_all("(all) => all.map((one) => one.dataset.check)")
    assert sorted(checks) == sorted(check.name for check in result.checks)
    findings = sum(len(check.findings) or check.name == "fault_seen" for check in result.checks)
    assert len(by(page, "finding")) + len(by(page, "finding-plain")) == findings
    ledger = read_ledger(folder / "ledger.bin")
    assert len(by(page, "fault")) == len(ledger.faults) + len(ledger.noted("toxic-set")) > 0
    assert page.get_by_test_id("ladder").locator("svg.steps").count() == page.get_by_test_id("ladder").count() > 0
    assert page.locator("svg.steps .step .line").count() > 0
    _plots_are_drawn(page)
    assert page.get_by_test_id("table-paths").locator("tbody tr").count() >= 2
    assert page.get_by_test_id("table-flows").locator("tbody tr").count() >= 1
    replay = by(page, "replay")[0]
    assert f"lab replay {folder}" in replay and f"lab inspect --ladder {folder}" in replay
    page.get_by_test_id("scenario").locator("summary").click()
    assert "checks:" in by(page, "scenario")[0]
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    assert not sideways(page)


def _plots_are_drawn(page: Page) -> None:
    """Each plot has points or lines in it, not axes alone."""
    plots = page.get_by_test_id("plot")
    names = plots.evaluate_all("(all) => all.map((one) => one.dataset.figure)")
    assert "sequence-1" in names and "times" in names
    for number in range(len(names)):
        assert plots.nth(number).locator("svg .scatterlayer .trace :is(path.point, path.js-line)").count() > 0
        assert plots.nth(number).locator("figcaption").inner_text()
        assert plots.nth(number).locator(".modebar a[href*=plotly]").count() == 0


def test_every_finding_of_a_failed_run_leads_to_its_packets(
    needs_netns: None, failed: RunResult, open_page: Open
) -> None:
    page = open_page(Path(failed.evidence) / "report.html").page
    assert by(page, "verdict")[0].split()[-1] == "FAIL"
    assert "lab shrink" in by(page, "replay")[0]
    first = page.get_by_test_id("check").first
    assert first.get_attribute("data-check") == "reliability", "what failed comes first"
    findings = first.get_by_test_id("finding")
    assert findings.count() == len(next(check for check in failed.checks if check.name == "reliability").findings) > 3
    alike = []
    for number in range(findings.count()):
        finding = findings.nth(number)
        finding.click()
        wanted = set((finding.get_attribute("data-packets") or "").split())
        assert _lit(page) == wanted
        assert finding.get_attribute("aria-pressed") == "true"
        expect(page.get_by_test_id("chosen")).to_contain_text(finding.locator(".text").inner_text())
        assert _first_lit_is_in_sight(page)
        alike.append(_message(finding.inner_text()) in _messages_sent(page))
    assert any(alike), "the finding and the ladder number messages from 0, or all have gone in one segment with others"
    page.get_by_test_id("clear").click()
    assert _lit(page) == set()
    expect(page.get_by_test_id("chosen")).to_be_hidden()


def _message(text: str) -> str:
    """The first that a finding speaks of."""
    found = re.search(r"message \d+", text)
    assert found is not None
    return found[0]


def _messages_sent(page: Page) -> list[str]:
    """What the client's packets hold that are shown."""
    return page.locator(".step.lit[data-side=left] .more").all_text_contents()


def _lit(page: Page) -> set[str]:
    return set(page.locator(".step.lit").evaluate_all("(all) => all.map((one) => one.dataset.packet)"))


def _first_lit_is_in_sight(page: Page) -> bool:
    """Its words lie in the ladder's box and in the window."""
    return bool(
        page.evaluate(
            """() => {
              const what = document.querySelector('.step.lit .what').getBoundingClientRect();
              const box = document.querySelector('.step.lit').closest('.ladder-box').getBoundingClientRect();
              return box.top <= what.top && what.bottom <= Math.min(box.bottom, innerHeight);
            }"""
        )
    )


def test_by_mouse(talkative: Path, open_page: Open) -> None:
    """A fault leads to its packets and those to their places; the ladder zooms; all that acts is a button or a link."""
    page = open_page(talkative).page
    _zooms(page)
    page.get_by_test_id("fault-packets").first.click()
    packets = page.locator("#chosen-packets button")
    assert packets.count() == len(_lit(page)) > 1
    packets.last.click()
    last = page.locator(".step.now")
    assert last.get_attribute("data-frame") == packets.last.inner_text()
    expect(last.locator(".what")).to_be_in_viewport()
    _acts_as_what_it_is(page)


def test_by_keyboard_alone(talkative: Path, open_page: Open) -> None:
    page = open_page(talkative).page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    for _ in range(10):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.dataset.testid") == "finding":
            break
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    assert len(_lit(page)) == 1
    assert page.evaluate("document.activeElement.dataset.testid") == "ladder-box"
    scale = _scale(page)
    page.keyboard.press("+")
    assert _scale(page) > scale
    page.keyboard.press("-")
    page.keyboard.press("-")
    assert _scale(page) < scale
    page.keyboard.press("0")
    assert _top(page) == 0
    page.keyboard.press("ArrowDown")
    expect(page.get_by_test_id("ladder-box").first).not_to_have_js_property("scrollTop", 0)


def _scale(page: Page) -> float:
    return float(page.get_by_test_id("ladder-box").first.get_attribute("data-scale") or 0)


def _top(page: Page) -> float:
    return float(page.get_by_test_id("ladder-box").first.evaluate("(one) => one.scrollTop"))


def _zooms(page: Page) -> None:
    scale = _scale(page)
    for name, better in (("zoom-in", scale * 1.25), ("zoom-reset", scale), ("zoom-out", scale / 1.25)):
        page.get_by_test_id(name).first.click()
        assert _scale(page) == pytest.approx(better, abs=0.002)


def _acts_as_what_it_is(page: Page) -> None:
    acting = page.locator("[data-packets], [data-zoom], [data-testid=theme], [data-testid=clear]")
    assert set(acting.evaluate_all("(all) => all.map((one) => one.tagName)")) == {"BUTTON"}
    unnamed = page.locator("button, a").evaluate_all(
        "(all) => all.filter((one) => !one.textContent.trim() && !one.getAttribute('aria-label') && !one.dataset.title)"
        ".map((one) => one.outerHTML)"
    )
    assert unnamed == []


def test_light_dark_and_on_paper(talkative: Path, open_page: Open) -> None:
    page = open_page(talkative).page
    assert page.evaluate(CONTRASTS) == []
    page.emulate_media(color_scheme="dark")
    expect(page.locator("figure.plot:not([data-drawn=dark])")).to_have_count(0)
    assert page.evaluate(CONTRASTS) == []
    _is_light_on_paper_and_not_cut_off(page)
    page.emulate_media(color_scheme="light", media="screen")
    _theme_turns_and_plots_with_it(page)


def _is_light_on_paper_and_not_cut_off(page: Page) -> None:
    ticks = page.locator(".xtick text").first
    expect(ticks).to_have_css("fill", "rgb(232, 233, 236)")
    page.emulate_media(color_scheme="dark", media="print")
    expect(ticks).to_have_css("fill", "rgb(28, 30, 34)")
    expect(page.get_by_test_id("theme")).to_be_hidden()
    page.set_viewport_size({"width": 720, "height": 1000})  # A4 with its margins, at 96 to the inch
    wide = page.locator("#tables .wide").evaluate_all("(all) => all.map((one) => one.scrollWidth > one.clientWidth)")
    assert not any(wide)


def _theme_turns_and_plots_with_it(page: Page) -> None:
    expect(page.locator("figure.plot:not([data-drawn=light])")).to_have_count(0)
    ink = "getComputedStyle(document.querySelector('.xtick text')).fill"
    paper = "getComputedStyle(document.body).backgroundColor"
    light = (page.evaluate(paper), page.evaluate(ink))
    page.get_by_test_id("theme").click()
    expect(page.locator("figure.plot:not([data-drawn=dark])")).to_have_count(0)
    dark = (page.evaluate(paper), page.evaluate(ink))
    assert dark[0] != light[0] and dark[1] != light[1]
    page.get_by_test_id("theme").click()
    expect(page.locator("body")).to_have_css("background-color", light[0])


CONTRASTS = """() => {
  const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => {
    const [r, g, b] = channels(colour).map((one) => one / 255)
      .map((one) => (one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const colour = getComputedStyle(one).backgroundColor;
      if ((channels(colour)[3] ?? 1) === 1) return colour;
    }
  };
  const bad = new Set();
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || element.closest("script, style, .canvas, title, .skip")) continue;
    if (!element.getClientRects().length) continue;
    const style = getComputedStyle(element);
    const colour = element.closest("svg") ? style.fill : style.color;
    const behind = ground(element.closest("svg")?.parentElement ?? element);
    const [a, b] = [light(colour), light(behind)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) bad.add(`${element.tagName}.${element.getAttribute("class")}: ${ratio.toFixed(2)}`);
  }
  return [...bad];
}"""
"""Text with less than 4.5 to 1 (WCAG 2.2, 1.4.3 AA); none inside a plot, or faded by a choice."""


def test_text_of_a_run_does_nothing(tmp_path: Path, open_page: Open) -> None:
    file = tmp_path / "evil.html"
    file.write_text(run_html(literal_page(EVIL)))
    page = open_page(file).page
    assert page.locator("h1").inner_text() == EVIL
    page.get_by_test_id("finding").click()
    assert page.locator("img").count() == 0


def test_a_run_that_was_killed_says_so_and_shows_the_rest(
    needs_netns: None, runs: dict[str, RunResult], tmp_path: Path, open_page: Open
) -> None:
    folder = tmp_path / "killed"
    shutil.copytree(runs[TALKATIVE].evidence, folder)
    (folder / "result.json").unlink()
    (folder / "report.html").unlink()
    ledger = (folder / "ledger.bin").read_bytes()
    (folder / "ledger.bin").write_bytes(ledger[: len(ledger) // 2])
    page = open_page(make_report(folder)).page
    assert "no verdict" in by(page, "verdict")[0]
    remarks = " ".join(by(page, "remark"))
    assert "no result.json" in remarks and "no end" in remarks
    assert page.locator("svg.steps .step").count() > 0
    assert page.get_by_test_id("plot").count() > 0


def test_several_runs_are_a_matrix(
    needs_netns: None, runs: dict[str, RunResult], failed: RunResult, tmp_path: Path, open_page: Open
) -> None:
    passed = Path(runs[TALKATIVE].evidence)
    bare = tmp_path / "bare"
    shutil.copytree(passed, bare)
    (bare / "report.html").unlink()
    for folder in (passed, bare, Path(failed.evidence)):
        if not (tmp_path / folder.name).exists():
            shutil.copytree(folder, tmp_path / folder.name)
    opened = open_page(make_report(tmp_path))
    page = opened.page
    cells = page.get_by_test_id("cell")
    assert sorted(text.split()[-1] for text in cells.all_inner_texts()) == sorted(["FAIL", "PASS", "PASS"])
    assert [text.split()[-1] for text in by(page, "verdict")] == ["FAIL"]
    links = page.get_by_test_id("matrix").locator("a")
    assert links.count() == 2
    assert failed.scenario in by(page, "trouble")[0]
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    assert not sideways(page)
    page.get_by_test_id("trouble").locator("a").click()
    expect(page).to_have_title(f"{Verdict.FAIL}: {failed.scenario}")
    opened.requests.clear()  # its own page, which was asked for
