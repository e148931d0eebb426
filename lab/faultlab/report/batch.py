"""Several runs on one page: a grid of their verdicts, as `faultlab.report.grid` is on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from faultlab.checks.base import Verdict
from faultlab.checks.run_result import RunResult, worst_of
from faultlab.report.grid import Placed
from faultlab.report.page import BatchPage, PageCell
from faultlab.report.text import summary


def batch_page(placed: Sequence[Placed], links: Sequence[str]) -> BatchPage:
    """`links` has for each run the path of its own page, relative to this one, or "" where it has none."""
    cells = [(column, row, _cell(result, link)) for (column, row, result), link in zip(placed, links, strict=True)]
    columns = tuple(dict.fromkeys(column for column, _, _ in cells))
    rows = tuple(dict.fromkeys(row for _, row, _ in cells))
    runs = [result for _, _, result in placed]
    return BatchPage(
        verdict=worst_of(runs),
        summary=summary(runs),
        columns=columns,
        rows=tuple(
            (row, tuple(tuple(cell for x, y, cell in cells if (x, y) == (column, row)) for column in columns))
            for row in rows
        ),
        trouble=tuple(cell for _, _, cell in cells if cell.verdict is not Verdict.PASS),
    )


def _cell(result: RunResult, link: str) -> PageCell:
    """What made the verdict, in a line; of a run that passed how long it took."""
    bad = "; ".join(f"{one.name}: {one.summary}" for one in result.checks if one.verdict is not Verdict.PASS)
    told = result.error or bad or f"{len(result.checks)} checks in {result.seconds:.1f} s"
    return PageCell(result.scenario, result.verdict, told, quote(link))
