"""A browser, and the reports that it opens: of every scenario that ships, each run once."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from faultlab.checks.run_result import RunResult
from faultlab.cli.report import PAGE, report
from faultlab.network import standard_lab
from faultlab.running.batch import run_all
from faultlab.running.runner import RunOptions
from faultlab.scenario.model import load_scenario, shipped
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.degraded.conftest import needs_netns, netns_host
from tests.support.capabilities import missing

__all__ = ["needs_netns", "netns_host"]

SCENARIOS = {name: load_scenario(path) for name, path in shipped().items()}
AT_ONCE = 6
TABS_AT_ONCE = 4
PATIENCE_MS = 30_000
DESKTOP, PHONE = {"width": 1200, "height": 900}, {"width": 390, "height": 844}
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The host's own: none is downloaded. While it is there, no other event loop can run in this thread."""
    found = os.environ.get("LAB_CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        missing("chromium", "no chromium on the PATH; apt-get install chromium, or set LAB_CHROMIUM")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        yield browser
        browser.close()


@dataclass
class Opened:
    """A file in a tab of its own, and all that it asked for or complained of."""

    page: Page
    file: Path
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Loads it, without waiting for more than its first bytes."""
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        self.page.goto(self.file.as_uri(), wait_until="commit")

    def drawn(self) -> None:
        """Wait until every plot is there, in the theme of now."""
        self.page.wait_for_load_state("load", timeout=PATIENCE_MS)
        expect(self.page.locator("figure.plot:not([data-drawn])")).to_have_count(0, timeout=PATIENCE_MS)

    def close(self) -> None:
        """It has asked for nothing, and not complained."""
        self.page.close()
        assert [request for request in self.requests if request not in (self.file.as_uri(), "data:,")] == []
        assert self.complaints == []


Open = Callable[[Path], Opened]
OpenReport = Callable[[str], Opened]


@pytest.fixture(scope="module")
def desktop(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport=DESKTOP, color_scheme="light", reduced_motion="reduce")  # type: ignore[arg-type]
    yield context
    context.close()


@pytest.fixture
def watched() -> Iterator[Callable[[Opened], Opened]]:
    """Waits until a page is drawn. At the end of the test it is closed, and held to have been quiet."""
    opened: list[Opened] = []

    def watching(one: Opened) -> Opened:
        opened.append(one)
        one.drawn()
        return one

    yield watching
    for one in opened:
        one.close()


@pytest.fixture
def open_page(desktop: BrowserContext, watched: Callable[[Opened], Opened]) -> Open:
    """Opens a file, at a desktop's size."""
    return lambda file: watched(Opened(desktop.new_page(), file))


@pytest.fixture(scope="module")
def ahead(desktop: BrowserContext, runs: dict[str, RunResult]) -> OpenReport:
    """A scenario's report, as it loads. The next ones load beside it: each takes a core two seconds."""
    tabs: dict[str, Opened] = {}
    names = [name for name in SCENARIOS if name in runs]

    def opening(name: str) -> Opened:
        for one in names[names.index(name) :][:TABS_AT_ONCE]:
            if one not in tabs:
                tabs[one] = Opened(desktop.new_page(), Path(runs[one].evidence) / PAGE)
        return tabs[name]

    return opening


@pytest.fixture
def open_report(ahead: OpenReport, watched: Callable[[Opened], Opened]) -> OpenReport:
    """Opens a scenario's report, each once."""
    return lambda name: watched(ahead(name))


@pytest.fixture(scope="module")
def runs(netns_host: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunResult]:
    """A run of each scenario that this host can run, with its report."""
    able = [one for one in SCENARIOS.values() if not one.toxics() or standard_lab.find_toxiproxy() is not None]
    options = RunOptions(out=tmp_path_factory.mktemp("runs"))
    found = {}
    for number, result in run_all(able, options, AT_ONCE, lambda name: nullcontext(lambda text: None)):
        make_report(Path(result.evidence))
        found[able[number].name] = result
    return found


def make_report(*folders: Path) -> Path:
    """By the command itself, in this process: starting one for each report would take longer than all else."""
    assert report.main([str(folder) for folder in folders], standalone_mode=False) is None
    return folders[0] / PAGE
