"""Finds what a run's page shows: the result, and what `faultlab.analysis` sees in the evidence. Reads files, draws
nothing.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np

from faultlab.analysis.build_ladder import Keep, Messages, Pair, build_ladder, pairs
from faultlab.analysis.conversations import Conversations
from faultlab.analysis.flow_facts import FlowFacts
from faultlab.analysis.ladder import Gap, Ladder, StandingFault, Step, chosen
from faultlab.analysis.paths import PathFacts, path_facts
from faultlab.analysis.pointers import Pointers
from faultlab.analysis.remarks import remarks
from faultlab.analysis.subject import Side, Subject, open_subject
from faultlab.checks.base import CheckResult, Finding, Verdict
from faultlab.checks.result_file import RESULT, read_result
from faultlab.checks.run_result import RunResult
from faultlab.errors import UsageError
from faultlab.faults.base import Effect
from faultlab.report.figures import FaultSpan, cdf_figure, sequence_figure, times_figure
from faultlab.report.inspect_text import largest, reset_by
from faultlab.report.ladder_svg import fate_in_words, ladder_head, ladder_svg
from faultlab.report.page import Command, Drawing, FaultTold, Figure, Judged, RunPage, Table, Told
from faultlab.report.series import conversations, course, delays, round_trips_by_node

NOT_IN_LEDGER = "not in the ledger: whether toxiproxy did it, the check fault seen says"
MOST_DRAWN = 2000
"""Packets in all ladders of a page."""
MOST_READ = 20_000
"""Of a run with more packets than this, only those around findings and faults are looked at for the ladder."""
AROUND = 20
FIGURES = 4
"""Conversations with a plot of their own: those with the most losses."""
FLOWS_SHOWN = 50
FIRST_OF_FAULT = 8
"""Packets shown of what a fault touched."""


def run_page(folder: Path, name: str, messages_of: Callable[[Subject], Messages]) -> RunPage:
    """The page of a run's folder; `name` is the folder as the user wrote it. UsageError where it holds no run.

    `messages_of` says where the messages of its streams lie, for only who knows the scenario knows the framing.
    """
    subject = open_subject(folder)
    if subject.ledger is None and not subject.run:
        raise UsageError(f"{name}: no run's folder; expected one that lab run made (lab inspect shows any capture)")
    notes = [*subject.remarks, *subject.unknown]
    result = read_result(folder)
    if result is None:
        notes.insert(0, f"There is no {RESULT}: the run was ended before its verdict. What was captured is shown.")
    pointers, paths = Pointers(subject), path_facts(subject)
    flows = Conversations(subject) if subject.captures else None
    checks = _judgements(result, pointers) if result else ()
    around = frozenset(packet for check in checks for one in check.findings for packet in one.packets)
    keep, messages = _keep(subject, around), messages_of(subject) if subject.captures else {}
    said = remarks(subject, flows, paths) if flows else {}
    between = _pairs(subject)
    ladders = [
        build_ladder(subject, one.left, one.right, keep=keep, messages=messages, remarks=said) for one in between
    ]
    return RunPage(
        name=result.scenario if result else str(subject.run.get("name", folder.name)),
        about=result.about if result else "",
        verdict=result.verdict if result else None,
        facts=tuple(_facts(subject, result, name)),
        error=result.error if result else None,
        remarks=tuple(notes),
        checks=checks,
        faults=tuple(_faults(subject, ladders)),
        drawings=tuple(_drawings(ladders, between, around)),
        figures=tuple(_figures(subject, flows, paths, ladders)) if flows else (),
        tables=tuple(_tables(paths, flows.all if flows else ())),
        commands=tuple(_commands(subject, result, name)),
        scenario=str(subject.run.get("scenario", "")),
    )


def _facts(subject: Subject, result: RunResult | None, name: str) -> Iterator[tuple[str, str]]:
    run = subject.run
    runtime = result.runtime if result else run.get("runtime", "?")
    engine = result.engine if result else run.get("engine", "?")
    yield "runtime / engine", f"{runtime} / {engine}"
    yield "seed", str(result.seed if result else run.get("seed", "?"))
    if result:
        yield "took", f"{result.seconds:.2f} s"
    if subject.captures:
        yield "packets", f"{len(subject.main):,} sent in {subject.end_ns / 1e9:.2f} s"
    yield "evidence", name


# -- checks ------------------------------------------------------------------------------------------------------------


def _judgements(result: RunResult, pointers: Pointers) -> tuple[Judged, ...]:
    """What did not pass comes first."""
    worst_first = sorted(result.checks, key=lambda check: -list(Verdict).index(check.verdict))
    return tuple(_judged(check, pointers) for check in worst_first)


def _judged(check: CheckResult, pointers: Pointers) -> Judged:
    findings, summary = check.findings, check.summary
    if not findings and summary.endswith("]") and " [" in summary:
        # A check with a single thing to say says it in its summary: `text [where]`.
        summary, _, where = summary[:-1].rpartition(" [")
        findings = (Finding(summary, where),)
    told = tuple(Told(one.text, one.where, pointers.packets(one.text, one.where)) for one in findings)
    once = len(told) == 1 and told[0].text == summary
    return Judged(check.name, check.verdict, "" if once else summary, told)


# -- faults ------------------------------------------------------------------------------------------------------------


def _faults(subject: Subject, ladders: Sequence[Ladder]) -> Iterator[FaultTold]:
    """Each fault and toxic, with what it did by the ledger's word."""
    did: dict[str, Counter[Effect]] = {}
    first: dict[str, list[int]] = {}
    for entry in subject.ledger.entries if subject.ledger else ():
        for fault, effect, _ in entry.acts:
            did.setdefault(fault, Counter())[effect] += 1
            first.setdefault(fault, []).append(entry.packet)
    on_paths = [StandingFault(one.id, one.path, one.description, one.from_ns, one.to_ns) for one in subject.faults]
    known = {one.fault for one in on_paths}
    toxics = dict.fromkeys(one for ladder in ladders for one in ladder.faults if one.fault not in known)
    for one in (*on_paths, *toxics):
        told = ", ".join(f"{effect} {count}" for effect, count in did.get(one.fault, {}).items())
        if one.fault not in known:
            told = NOT_IN_LEDGER
        packets = tuple(dict.fromkeys(first.get(one.fault, ())))[:FIRST_OF_FAULT]
        yield FaultTold(one.path, one.describe, _stood(one), told or "touched no packet", packets)


def _stood(fault: StandingFault) -> str:
    begin = "from the start" if fault.from_ns <= 0 else f"from {fault.from_ns / 1e9:.2f} s"
    return f"{begin}, to the end" if fault.to_ns is None else f"{begin} to {fault.to_ns / 1e9:.2f} s"


# -- ladders -----------------------------------------------------------------------------------------------------------


def _pairs(subject: Subject) -> list[Pair]:
    return pairs(subject) if subject.captures else []


def _keep(subject: Subject, around: frozenset[int]) -> Keep | None:
    """Of a long run the packets near findings, and near the first that each fault did something telling to."""
    if not subject.captures or len(subject.main) <= MOST_READ or subject.ledger is None:
        return None
    telling: dict[str, list[int]] = {}
    for entry in subject.ledger.entries:
        for fault, effect, _ in entry.acts:
            if effect is not Effect.DELAYED:
                telling.setdefault(fault, []).append(entry.packet)
    wanted = sorted({*around, 1, *(packet for packets in telling.values() for packet in packets[:AROUND])})

    def keep(side: Side) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        places = np.searchsorted(np.array(wanted), side.ids.astype(np.int64))
        numbers = np.array([-AROUND, *wanted, wanted[-1] + MOST_READ])
        ids = side.ids.astype(np.int64)
        return np.asarray((ids - numbers[places] <= AROUND) | (numbers[places + 1] - ids <= AROUND))

    return keep


def _drawings(ladders: Sequence[Ladder], between: Sequence[Pair], around: frozenset[int]) -> Iterator[Drawing]:
    """`between` says for each ladder how many packets its two sent each other, drawn or not."""
    room = MOST_DRAWN // max(1, len(ladders))
    for number, (ladder, pair) in enumerate(zip(ladders, between, strict=True), start=1):
        items = _fitting(ladder, around, room)
        steps = [item for item in items if isinstance(item, Step)]
        total = pair.packets + sum(step.frame is None for step in ladder.steps)
        left_out = (
            f"{len(steps)} of {total:,} packets are drawn: those of findings and faults first."
            if len(steps) < total
            else ""
        )
        title = f"{ladder.left} and {ladder.right}"
        svg = ladder_head(ladder) + ladder_svg(ladder, items)
        table = _packet_table(number, title, steps)
        yield Drawing(f"ladder-{number}", title, svg, table, left_out)


def _fitting(ladder: Ladder, around: frozenset[int], room: int) -> list[Step | Gap]:
    """All steps where there is room; else those worth a look, and of the others as many as fit, from the start on."""
    steps = ladder.steps
    if len(steps) <= room:
        return list(steps)
    shown = {id(item) for item in chosen(ladder, around=around, most=room) if isinstance(item, Step)}
    for step in steps:
        if len(shown) >= room:
            break
        shown.add(id(step))
    items: list[Step | Gap] = []
    for is_shown, group in groupby(steps, lambda step: id(step) in shown):
        some = list(group)
        items += some if is_shown else [_gap(some)]
    return items


def _gap(steps: Sequence[Step]) -> Gap:
    return Gap(len(steps), steps[0].at_ns, steps[-1].at_ns, sum(bool(step.stories) for step in steps))


def _packet_table(number: int, title: str, steps: Sequence[Step]) -> Table:
    columns = ("#ledger", "#frame", "#ms", "from", "what", "what became of it")
    rows = tuple(
        (
            str(step.ledger),
            "forged" if step.frame is None else str(step.frame),
            f"{step.at_ns / 1e6:.3f}",
            step.sender,
            f"{step.what} ({step.holds})" if step.holds else step.what,
            fate_in_words(step),
        )
        for step in steps
    )
    return Table(f"packets-{number}", f"Packets between {title}", columns, rows)


# -- plots and numbers -------------------------------------------------------------------------------------------------


def _figures(
    subject: Subject, flows: Conversations, paths: Sequence[PathFacts], ladders: Sequence[Ladder]
) -> Iterator[Figure]:
    worst = sorted(conversations(subject, flows, paths), key=lambda one: -one.trouble)[:FIGURES]
    courses = [course(subject, flows, one, paths) for one in worst]
    for number, (conversation, drawn) in enumerate(zip(worst, courses, strict=True), start=1):
        yield sequence_figure(str(number), conversation.name, drawn.ways)
    arrived = delays(paths)
    if arrived:
        standing = dict.fromkeys(fault for ladder in ladders for fault in ladder.faults)
        yield times_figure(arrived, round_trips_by_node(courses), [_window(one, subject.end_ns) for one in standing])
        if any(one.measured_ms.any() for one in arrived):
            yield cdf_figure(arrived)


def _window(fault: StandingFault, end_ns: int) -> FaultSpan:
    until = end_ns if fault.to_ns is None else min(fault.to_ns, end_ns)
    return FaultSpan(f"{fault.describe} on {fault.path}", max(0, fault.from_ns) / 1e9, until / 1e9)


def _tables(paths: Sequence[PathFacts], flows: Sequence[FlowFacts]) -> Iterator[Table]:
    if paths:
        columns = (
            "path", "#sent", "#delivered", "#lost", "95% interval", "#reordered", "#duplicated", "#changed", "#forged",
            "#p50 ms", "#p99 ms", "#asked p50 ms",
        )  # fmt: skip
        yield Table("paths", "Paths", columns, tuple(map(_path_row, paths)))
    if flows:
        heads = (
            "#flow", "between", "#packets", "#bytes", "#from s", "#for s", "#handshake ms", "#sent again",
            "#out of order", "#duplicate ACKs", "resets",
        )  # fmt: skip
        note = f"The {FLOWS_SHOWN} largest of {len(flows):,} flows." if len(flows) > FLOWS_SHOWN else ""
        yield Table("flows", "Flows", heads, tuple(map(_flow_row, largest(flows, FLOWS_SHOWN))), note)


def _flow_row(flow: FlowFacts) -> tuple[str, ...]:
    sides = flow.tcp or ()
    counts = (
        sum(side.retransmissions for side in sides),
        sum(side.out_of_order for side in sides),
        sum(side.duplicate_acks for side in sides),
    )
    return (
        str(flow.number),
        str(flow),
        f"{sum(flow.packets):,}",
        f"{sum(flow.bytes):,}",
        f"{flow.first_ns / 1e9:.3f}",
        f"{(flow.last_ns - flow.first_ns) / 1e9:.3f}",
        _ms(flow.handshake_ns),
        *(f"{count:,}" if flow.tcp else "–" for count in counts),
        ", ".join(f"by {one}" for one in reset_by(flow)) or "–",
    )


def _path_row(path: PathFacts) -> tuple[str, ...]:
    low, high = path.losses.interval
    return (
        path.path,
        f"{path.sent:,}",
        f"{path.delivered:,}",
        f"{path.losses.lost:,} ({path.losses.rate:.1%})",
        f"{low:.1%} to {high:.1%}",
        f"{path.reordering.count:,}",
        f"{path.duplicated:,}",
        f"{np.count_nonzero(path.changed):,}",
        f"{path.forged:,}",
        *(_ms(ns) for ns in (path.delay(50), path.delay(99), path.asked(50))),
    )


def _ms(ns: int | None) -> str:
    return "–" if ns is None else f"{ns / 1e6:.2f}"


# -- see it again ------------------------------------------------------------------------------------------------------


def _commands(subject: Subject, result: RunResult | None, name: str) -> Iterator[Command]:
    run = shlex.quote(name)
    yield Command(f"lab replay {run}", "The same drops again")
    if result is not None and result.verdict is Verdict.FAIL:
        yield Command(f"lab shrink {run}", "The fewest drops that still make it fail, as a scenario")
    yield Command(f"lab inspect --ladder {run}", "The ladder in a terminal")
    if subject.sent is not None:
        yield Command(
            f"wireshark {shlex.quote(f'{name}/{subject.sent.name}')}", "The packets, each with what was decided"
        )
