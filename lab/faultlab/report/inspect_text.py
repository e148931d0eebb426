"""What `lab inspect` says in a terminal: a summary of paths and flows, and packets a line each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from faultlab.analysis.flow_facts import FlowFacts
from faultlab.analysis.ladder import Fate, Gap, Step
from faultlab.analysis.overview import CaptureSize, Overview
from faultlab.analysis.paths import PathFacts
from faultlab.checks.run_result import RunResult
from faultlab.printing import Text
from faultlab.report.ladder_text import about
from faultlab.report.quantities import duration, size
from faultlab.report.text import result_lines

FLOWS_SHOWN = 20
_HEAD = "bold"


def overview_lines(seen: Overview, result: RunResult | None, every: bool) -> Iterator[Text]:
    """The verdict and its checks where there is a result; each path; each flow, the largest of many unless `every`."""
    yield from (Text(line) for line in (result_lines(result) if result else map(_capture, seen.captures)))
    yield from (Text(f"not known: {text}", "yellow") for text in seen.unknown)
    yield from (Text(f"note: {text}", "yellow") for text in seen.remarks)
    if seen.paths:
        yield Text()
        yield from text_table([_PATH_HEAD, *map(_path, seen.paths)])
    if seen.flows:
        shown = seen.flows if every else largest(seen.flows, FLOWS_SHOWN)
        yield Text()
        yield from text_table([_FLOW_HEAD, *map(_flow, shown)], left=(0, 1, 5))
        if len(shown) < len(seen.flows):
            yield Text(f"{len(seen.flows) - len(shown):,} smaller flows more; --all shows them", "dim")


def _capture(one: CaptureSize) -> str:
    return f"{one.name}   {one.packets:,} packets   {size(one.bytes)}   {duration(one.span_ns)}"


_PATH_HEAD = ("path", "sent", "lost", "reordered", "duplicated", "changed", "delay p50", "p99", "asked p50", "p99")


def _path(one: PathFacts) -> tuple[str, ...]:
    delays = [*(one.delay(percent) for percent in (50, 99)), *(one.asked(percent) for percent in (50, 99))]
    counts = (one.sent, one.losses.lost, one.reordering.count, one.duplicated, int(one.changed.sum()))
    return (one.path, *(f"{count:,}" for count in counts), *("-" if ns is None else duration(ns) for ns in delays))


_FLOW_HEAD = ("flow", "", "packets", "bytes", "for", "")


def _flow(one: FlowFacts) -> tuple[str, ...]:
    lasted = duration(one.last_ns - one.first_ns)
    return (str(one.number), str(one), f"{sum(one.packets):,}", size(sum(one.bytes)), lasted, ", ".join(_tcp(one)))


def _tcp(one: FlowFacts) -> Iterator[str]:
    """What is to be said of a connection: its handshake and round trip, and whatever did not go smoothly."""
    if one.tcp is None:
        return
    if one.handshake_ns is not None:
        yield f"handshake {duration(one.handshake_ns)}"
    trips = [side.rtt_p50_ns for side in one.tcp if side.rtt_p50_ns is not None]
    if trips:
        yield f"RTT {duration(max(trips))}"
    again = sum(side.retransmissions for side in one.tcp)
    if again:
        kinds = {"fast": sum(side.fast for side in one.tcp), "spurious": sum(side.spurious for side in one.tcp)}
        told = ", ".join(f"{count:,} {kind}" for kind, count in kinds.items() if count)
        yield f"{again:,} sent again" + (f" ({told})" if told else "")
    for one_is, more_are, count in (
        ("out of order", "out of order", sum(side.out_of_order for side in one.tcp)),
        ("duplicate ACK", "duplicate ACKs", sum(side.duplicate_acks for side in one.tcp)),
        ("zero window", "zero windows", sum(side.zero_windows for side in one.tcp)),
        ("byte not captured", "bytes not captured", sum(side.missing_bytes for side in one.tcp)),
    ):
        if count:
            yield f"{count:,} {one_is if count == 1 else more_are}"
    yield from (f"reset by {by}" for by in reset_by(one))


def reset_by(one: FlowFacts) -> list[str]:
    """Who sent RSTs, and to whom the lab did: `client:20000`, `the lab (RST to client:20000)`."""
    found = [end for end, side in zip(one.ends, one.tcp or (), strict=False) if side.resets]
    reached = [end for end, count in zip(one.ends, one.forged_resets, strict=True) if count]
    return found + ([f"the lab (RST to {' and '.join(reached)})"] if reached else [])


def largest(flows: Sequence[FlowFacts], most: int) -> Sequence[FlowFacts]:
    """All of them in their order, or, of more than `most`, those with the most bytes, the largest first."""
    return flows if len(flows) <= most else sorted(flows, key=lambda one: -sum(one.bytes))[:most]


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
    for line, style in zip(text_table(rows, left=(2, 3, 4)), styles, strict=True):
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


def text_table(rows: Sequence[Sequence[str]], left: Sequence[int] = (0, 1)) -> Iterator[Text]:
    """Rows as lines, the first of them the heading; the columns `left` begin at the left, others end at the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for number, row in enumerate(rows):
        cells = [
            f"{cell:<{width}}" if at in left else f"{cell:>{width}}"
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield Text("  ".join(cells).rstrip(), "" if number else _HEAD)
