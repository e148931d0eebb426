"""Many results at a glance: a grid on the terminal, and a Markdown page with what was measured in each."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from faultlab.checks.run_result import RunResult, worst_of
from faultlab.printing import Text, printable
from faultlab.report.text import COLOURS, summary

Placed = tuple[str, str, RunResult]
"""(column, row, result)"""
NOTHING = "-"
"""Where a row means nothing in a column."""


def grid(placed: Sequence[Placed]) -> Table:
    """A row for each condition, a column for each subject."""
    columns, rows = _axes(placed)
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for column in columns:
        table.add_column(column.replace("-", " "), min_width=4)
    for row, verdicts in rows.items():
        table.add_row(row, *(_shown(verdicts.get(column)) for column in columns))
    return table


def _shown(result: RunResult | None) -> Text:
    return Text(NOTHING) if result is None else Text(result.verdict.value, COLOURS[result.verdict])


def _axes(placed: Sequence[Placed]) -> tuple[list[str], dict[str, dict[str, RunResult]]]:
    columns = list(dict.fromkeys(column for column, _, _ in placed))
    rows: dict[str, dict[str, RunResult]] = {}
    for column, row, result in placed:
        rows.setdefault(row, {})[column] = result
    return columns, rows


def markdown_report(results: Sequence[RunResult], placed: Sequence[Placed] = ()) -> str:
    """The summary, the grid of those that have a place in one, and a line for each with its measurements."""
    lines = [f"# {worst_of(results)}", "", printable(summary(results)), ""]
    if placed:
        columns, rows = _axes(placed)
        lines += [_row(["", *columns]), _row(["---"] * (len(columns) + 1))]
        for row, verdicts in rows.items():
            found = (verdicts.get(column) for column in columns)
            lines.append(_row([row, *(NOTHING if one is None else one.verdict.value for one in found)]))
        lines.append("")
    lines += [_row(["run", "verdict", "on", "seed", "measured", "evidence"]), _row(["---"] * 6)]
    lines += [_row(_cells(result)) for result in results]
    return "\n".join(lines) + "\n"


def _cells(result: RunResult) -> list[str]:
    measured = "; ".join(f"{check.name}: {check.summary}" for check in result.checks)
    place = f"{result.runtime}/{result.engine}"
    told = result.error or measured
    return [result.scenario, result.verdict.value, place, str(result.seed), told, result.evidence]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(" ".join(printable(cell).split()).replace("|", "\\|") for cell in cells) + " |"
