"""Several runs on one page: a row for each scenario or condition, a column for each subject or engine."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from lab.checks.base import Verdict
from lab.report.page import BatchPage, Cell
from lab.report.result import RunResult, worst_of
from lab.report.text import summary

MATRIX = "matrix"


def batch_page(results: Sequence[tuple[RunResult, str]]) -> BatchPage:
    """`results` with the path of each one's own page, relative to this one, or "" where it has none."""
    cells = [(*_place(result), _cell(result, link)) for result, link in results]
    columns = tuple(dict.fromkeys(column for column, _, _ in cells))
    rows = tuple(dict.fromkeys(row for _, row, _ in cells))
    runs = [result for result, _ in results]
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


def _place(result: RunResult) -> tuple[str, str]:
    """(column, row): `matrix/SUBJECT/CONDITION` names both; any other scenario is a row, what it ran on a column."""
    prefix, _, rest = result.scenario.partition("/")
    subject, _, condition = rest.partition("/")
    if prefix == MATRIX and condition:
        return subject, condition
    return f"{result.runtime}/{result.engine}", result.scenario


def _cell(result: RunResult, link: str) -> Cell:
    """What made the verdict, in a line; of a run that passed how long it took."""
    bad = "; ".join(f"{one.name}: {one.summary}" for one in result.checks if one.verdict is not Verdict.PASS)
    told = result.error or bad or f"{len(result.checks)} checks in {result.seconds:.1f} s"
    return Cell(result.scenario, result.verdict, told, quote(link))
