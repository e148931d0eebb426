"""A browser, and the reports that it opens: of every scenario that ships, each run once."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from lab import stack
from lab.batch import run_all
from lab.cli_report import PAGE, report
from lab.report.result import RunResult
from lab.runner import Options
from lab.scenario import load_scenario, shipped
from tests.capabilities import missing
from tests.degraded.conftest import needs_netns, netns_host

__all__ = ["needs_netns", "netns_host"]

SCENARIOS = {name: load_scenario(path) for name, path in shipped().items()}
AT_ONCE = 6
PATIENCE_MS = 30_000
DESKTOP, PHONE = {"width": 1200, "height": 900}, {"width": 390, "height": 844}
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The host's own: none is downloaded."""
    found = os.environ.get("LAB_CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        missing("chromium", "no chromium on the PATH; apt-get install chromium, or set LAB_CHROMIUM")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        yield browser
        browser.close()


@dataclass
class Opened:
    """A page in the browser, and all that it asked for or complained of."""

    page: Page
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def drawn(self) -> None:
        """Wait until every plot is there, in the theme of now."""
        expect(self.page.locator("figure.plot:not([data-drawn])")).to_have_count(0, timeout=PATIENCE_MS)


Open = Callable[[Path], Opened]


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Open]:
    """Opens a file, at a desktop's size; at the end of the test the page has asked for nothing and not complained."""
    context = browser.new_context(viewport=DESKTOP, color_scheme="light", reduced_motion="reduce")  # type: ignore[arg-type]
    opened: list[tuple[Opened, Path]] = []

    def opening(file: Path) -> Opened:
        one = Opened(context.new_page())
        opened.append((one, file))
        one.page.on("request", lambda request: one.requests.append(request.url))
        one.page.on("console", lambda message: one.complaints.append(f"{message.type}: {message.text}"))
        one.page.on("pageerror", lambda error: one.complaints.append(str(error)))
        one.page.on("dialog", lambda dialog: one.complaints.append(dialog.message))
        one.page.goto(file.as_uri())
        one.drawn()
        return one

    yield opening
    for one, file in opened:
        assert [request for request in one.requests if request not in (file.as_uri(), "data:,")] == []
        assert one.complaints == []
    context.close()


@pytest.fixture(scope="session")
def runs(netns_host: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunResult]:
    """A run of each scenario that this host can run, with its report."""
    able = [one for one in SCENARIOS.values() if not one.toxics() or stack.find_toxiproxy() is not None]
    options = Options(out=tmp_path_factory.mktemp("runs"))
    found = {}
    for number, result in run_all(able, options, AT_ONCE, lambda name: nullcontext(lambda text: None)):
        make_report(Path(result.evidence))
        found[able[number].name] = result
    return found


def make_report(*folders: Path) -> Path:
    """By the command itself, in this process: starting one for each report would take longer than all else."""
    assert report.main([str(folder) for folder in folders], standalone_mode=False) is None
    return folders[0] / PAGE
