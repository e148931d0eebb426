"""Pages of HTML that open offline: one file each, with style, script and plotting library inside.

A page's Content-Security-Policy (W3C, CSP Level 3) forbids every request, and every script but ours, which it names by
their SHA-256. So text of a scenario, a packet or a file name could do nothing even where it were not escaped.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from faultlab.checks.base import Verdict
from faultlab.report.page import BatchPage, RunPage

SYMBOLS = {Verdict.PASS: "✓", Verdict.FAIL: "✗", Verdict.INCONCLUSIVE: "?"}
"""Beside the word, for those who don't see the colours."""


def run_html(page: RunPage) -> str:
    """One run's page; some 5 MB, nearly all of it the plotting library."""
    from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]

    return _render("run.html", page=page, scripts=[get_plotlyjs(), _text("page.js")])


def batch_html(page: BatchPage) -> str:
    """Several runs on one page, which plots nothing and so is small."""
    return _render("batch.html", page=page, scripts=[_text("page.js")])


def _render(template: str, *, page: RunPage | BatchPage, scripts: list[str]) -> str:
    return (
        _environment()
        .get_template(template)
        .render(
            page=page,
            symbols=SYMBOLS,
            style=Markup(_text("style.css")),
            scripts=[Markup(script) for script in scripts],
            hashes=[_hash(script) for script in scripts],
        )
    )


def _hash(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _text(name: str) -> str:
    return (resources.files("faultlab.report") / "templates" / name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("faultlab.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    return environment
