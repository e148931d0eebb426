"""What `lab inspect` says in a terminal: a summary of paths and flows, and packets a line each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rich.text import Text

from lab.look.flow_facts import FlowFacts
from lab.look.ladder import Fate, Gap, Step
from lab.look.paths import PathFacts
from lab.look.subject import Subject
from lab.report.ladder_text import about
from lab.report.quantities import duration, size
from lab.report.result import RunResult
from lab.report.text import lines

FLOWS_SHOWN = 20
_HEAD = "bold"


def summary(
    subject: Subject, result: RunResult | None, paths: Sequence[PathFacts], flows: Sequence[FlowFacts], every: bool
) -> Iterator[Text]:
    """The verdict and its checks where there is a result; each path; each flow, the first of many unless `every`."""
    yield from (Text(line) for line in (lines(result) if result else _captures(subject)))
    yield from (Text(f"not known: {text}", "yellow") for text in subject.unknown)
    yield from (Text(f"note: {text}", "yellow") for text in subject.remarks)
    if paths:
        yield Text()
        yield from table([_PATH_HEAD, *map(_path, paths)])
    if flows:
        shown = flows if every else flows[:FLOWS_SHOWN]
        yield Text()
        yield from table([_FLOW_HEAD, *map(_flow, shown)])
        if len(shown) < len(flows):
            yield Text(f"{len(flows) - len(shown):,} flows more; --all shows them", "dim")


def _captures(subject: Subject) -> Iterator[str]:
    for side in subject.captures:
        first, last = (int(side.time_ns.min()), int(side.time_ns.max())) if len(side) else (0, 0)
        octets = int(side.columns.original.sum())
        yield f"{side.name}   {len(side):,} packets   {size(octets)}   {duration(last - first)}"


_PATH_HEAD = ("path", "sent", "lost", "reordered", "duplicated", "changed", "delay p50", "p99", "asked p50", "p99")


def _path(one: PathFacts) -> tuple[str, ...]:
    delays = [*(one.delay(percent) for percent in (50, 99)), *(one.asked(percent) for percent in (50, 99))]
    counts = (one.sent, one.losses.lost, one.reordering.count, one.duplicated, int(one.changed.sum()))
    return (one.path, *(f"{count:,}" for count in counts), *("-" if ns is None else duration(ns) for ns in delays))


_FLOW_HEAD = ("flow", "", "packets", "bytes", "from", "for")


def _flow(one: FlowFacts) -> tuple[str, ...]:
    return (
        str(one.number),
        str(one),
        f"{sum(one.packets):,}",
        size(sum(one.bytes)),
        duration(one.first_ns),
        duration(one.last_ns - one.first_ns),
    )


def packet_lines(steps: Iterable[Step | Gap]) -> Iterator[Text]:
    """A line for each packet: when, its frame, between whom, what it is, and what became of it."""
    head = ("ms", "frame", "path", "packet", "")
    rows = [head]
    styles = [_HEAD]
    for step in steps:
        if isinstance(step, Gap):
            rows.append(("", "", "", f"{step.packets:,} packets more", ""))
            styles.append("dim")
            continue
        what = f"{step.what}: {step.holds}" if step.holds else step.what
        frame = "forged" if step.forged else str(step.frame)
        rows.append((f"{step.at_ns / 1e6:.3f}", frame, f"{step.sender} -> {step.receiver}", what, became(step)))
        styles.append("bold red" if step.fate is Fate.DROPPED else "yellow" if step.stories else "")
    for line, style in zip(table(rows, left=(2, 3, 4)), styles, strict=True):
        line.stylize(style)
        yield line


def became(step: Step) -> str:
    """`dropped by loss 5%`; `21.2 ms later`; nothing where it went on at once."""
    first = step.arrivals[0] if step.arrivals else None
    words = [text for text, _ in about(step, first)]
    if first is not None and first.at_ns - step.at_ns >= 1000:
        words.insert(0, f"{duration(first.at_ns - step.at_ns)} later")
    if first is not None and (first.what, first.holds) != (step.what, step.holds):
        words.append(f"arrives as {first.what}" + (f": {first.holds}" if first.holds else ""))
    return "; ".join(words)


def table(rows: Sequence[Sequence[str]], left: Sequence[int] = (0, 1)) -> Iterator[Text]:
    """Rows as lines, the first of them the heading; the columns `left` begin at the left, others end at the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for number, row in enumerate(rows):
        cells = [
            f"{cell:<{width}}" if at in left else f"{cell:>{width}}"
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield Text("  ".join(cells).rstrip(), "" if number else _HEAD)
