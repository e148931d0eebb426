"""`lab report`: runs as pages of HTML. numpy, plotly and jinja2 are imported only when it is used: not every host of
`faultlab.cli.main` (a Compose lab's sidecars) has them."""

from __future__ import annotations

import os
from pathlib import Path

import click

from faultlab.errors import UsageError
from faultlab.printing import echo

PAGE = "report.html"
LEDGER = "ledger.bin"


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help=f"The file. [default: {PAGE} in the folder]"
)
def report(runs: tuple[Path, ...], out: Path | None) -> None:
    """Make one HTML file of a run, which opens offline. Of several, or a folder of them: the matrix of their verdicts.

    Those of several that did not pass get a page of their own, which the matrix links to.
    """
    if len(runs) == 1 and not _runs_in(runs[0]):
        echo(_run(runs[0], out or runs[0] / PAGE))
        return
    folders = [folder for run in runs for folder in (_runs_in(run) or [run])]
    echo(_batch(folders, out or (runs[0] if len(runs) == 1 else Path()) / PAGE))


def _runs_in(folder: Path) -> list[Path]:
    """The runs in a folder of runs, by name; none where it is a run itself, or nothing."""
    from faultlab.checks.result_file import RESULT

    if not folder.is_dir() or (folder / RESULT).is_file() or (folder / LEDGER).is_file():
        return []
    return sorted(file.parent for file in folder.glob(f"*/{RESULT}"))


def _run(folder: Path, out: Path) -> Path:
    from faultlab.analysis.scenario_messages import messages_of
    from faultlab.report.gather import run_page
    from faultlab.report.html import run_html

    return _written(out, run_html(run_page(folder, str(folder), messages_of)))


def _batch(folders: list[Path], out: Path) -> Path:
    from faultlab.checks.base import Verdict
    from faultlab.checks.result_file import RESULT, read_result
    from faultlab.report.batch import batch_page
    from faultlab.report.html import batch_html
    from faultlab.running import matrix

    cells = {cell.scenario.name: cell for cell in matrix.cells(matrix.PREFIX)}
    placed, links = [], []
    for folder in folders:
        result = read_result(folder)
        if result is None:
            raise UsageError(f"{folder}: no {RESULT} in it; expected runs that lab run made to their end")
        page = folder / PAGE
        if result.verdict is not Verdict.PASS and not page.is_file() and (folder / LEDGER).is_file():
            _run(folder, page)
        cell = cells.get(result.scenario)
        place = (cell.subject, cell.condition) if cell else (f"{result.runtime}/{result.engine}", result.scenario)
        placed.append((*place, result))
        links.append(os.path.relpath(page, out.parent) if page.is_file() else "")
    return _written(out, batch_html(batch_page(placed, links)))


def _written(out: Path, text: str) -> Path:
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{out}: not written: {error.strerror}; name another file with --out") from error
    return out
