"""What a run's page shows, as plain values: found by `faultlab.report.gather`, written as HTML by
`faultlab.report.html`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from faultlab.checks.base import Verdict


@dataclass(frozen=True)
class Told:
    """A finding, and the ledger ids of the packets that it means; none where it means no packet, or all of them."""

    text: str
    where: str
    packets: tuple[int, ...] = ()


@dataclass(frozen=True)
class Judged:
    """A check's word with its findings."""

    name: str
    verdict: Verdict
    summary: str
    findings: tuple[Told, ...] = ()


@dataclass(frozen=True)
class FaultTold:
    """A fault: what was asked, on which path, when (in words), and what it did to packets.

    `packets` are the ledger ids of the first it touched.
    """

    path: str
    asked: str
    stood: str
    did: str
    packets: tuple[int, ...] = ()


@dataclass(frozen=True)
class Figure:
    """A plot: `traces` and `layout` as Plotly takes them, but that a colour may be `var(--name)` of the style sheet.

    `says` is in words what the plot shows: its caption, and all of it for those who don't see it.
    """

    id: str
    title: str
    says: str
    traces: Sequence[dict[str, Any]]
    layout: dict[str, Any]


@dataclass(frozen=True)
class Table:
    """Columns that hold numbers are named with a leading `#`, and stand to the right."""

    id: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


@dataclass(frozen=True)
class Drawing:
    """A ladder as SVG, and the same packets as a table. `svg` is markup, escaped already.

    `left_out` says what is not drawn.
    """

    id: str
    title: str
    svg: str
    table: Table
    left_out: str = ""


@dataclass(frozen=True)
class Command:
    """A command line, and what it is for."""

    line: str
    about: str


@dataclass(frozen=True)
class RunPage:
    """One run. `verdict` is None where nothing judged it; `remarks` say what is missing or damaged, in words.

    `facts` are pairs for the header: seed, engine, time taken, folder.
    """

    name: str
    about: str
    verdict: Verdict | None
    facts: tuple[tuple[str, str], ...]
    error: str | None
    remarks: tuple[str, ...]
    checks: tuple[Judged, ...]
    faults: tuple[FaultTold, ...]
    drawings: tuple[Drawing, ...]
    figures: tuple[Figure, ...]
    tables: tuple[Table, ...]
    commands: tuple[Command, ...]
    scenario: str


@dataclass(frozen=True)
class PageCell:
    """One run in the matrix; `link` is its own report, relative to this page, or empty where it has none."""

    name: str
    verdict: Verdict
    told: str
    link: str = ""


@dataclass(frozen=True)
class BatchPage:
    """Several runs: the worst verdict, a line of counts, and a cell for each row and column that has runs."""

    verdict: Verdict
    summary: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[tuple[PageCell, ...], ...]], ...]
    trouble: tuple[PageCell, ...]
