"""`lab inspect`: a run or a capture from anywhere, in the terminal.

What reads captures (numpy) is imported only when it is used: not every host of `faultlab.cli.main`, such as a Compose
lab's sidecars, has it.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from faultlab.analysis.happenings import Wanted
from faultlab.analysis.protocols import PROTOCOLS
from faultlab.cli.live import follow_lab
from faultlab.errors import LabFailure, MissingCapability, UsageError
from faultlab.faults.base import Effect
from faultlab.printing import Terminal, Text, echo, echo_json
from faultlab.units import DURATIONS_MS, parse_quantity

if TYPE_CHECKING:
    from faultlab.analysis.build_ladder import Keep
    from faultlab.analysis.conversations import Conversations
    from faultlab.analysis.filters import Filter
    from faultlab.analysis.ladder import Ladder
    from faultlab.analysis.subject import Side, Subject
    from faultlab.captures.columns import Flags

SCAPY = "scapy==2.8.0"
MOST_IN_LADDER = 200_000
PACKETS_SHOWN = 1000
_DISSECT = Path(__file__).resolve().parents[3] / "dissect"
_OTHERS_NAMED = 5
_NONE = "no packet is like that; leave out one of the filters"
_FOREVER = 1 << 62


@click.command()
@click.argument("what", type=click.Path(path_type=Path), metavar="RUN|CAPTURE|LAB")
@click.option("--flow", type=int, metavar="N", help="The packets of one flow, as the summary numbers them.")
@click.option("--on", metavar="NODE|PATH", help="Of a node, of a path (a->b), or of both its ways (a<->b).")
@click.option("--protocol", type=click.Choice(list(PROTOCOLS)))
@click.option("--port", type=click.IntRange(1, 65535))
@click.option(
    "--between", metavar="FROM..TO", help="By when they were sent, such as 1s..2s; time 0 is the first packet."
)
@click.option("--only", multiple=True, type=click.Choice([effect.value for effect in Effect]), help="What a fault did.")
@click.option("--ladder", is_flag=True, help="Draw who sent what, and what became of it; where something happened.")
@click.option("--all", "every", is_flag=True, help="All packets, or all flows; nothing is left out.")
@click.option("--packet", type=click.IntRange(1), metavar="N", help="Take one packet apart, by its frame's number.")
@click.option("--follow", is_flag=True, help="Of a lab that runs, by its name or folder: what happens from now on.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def inspect(
    what: Path,
    flow: int | None,
    on: str | None,
    protocol: str | None,
    port: int | None,
    between: str | None,
    only: tuple[str, ...],
    ladder: bool,
    every: bool,
    packet: int | None,
    follow: bool,
    as_json: bool,
) -> None:
    """Look at a run's folder, at a capture from anywhere, or at a folder with the captures of both ends.

    Without options a summary; with --flow or a filter the packets, a line each; with --ladder a diagram of them.
    """
    if follow:
        if flow is not None or between is not None or ladder or every or packet is not None:
            raise UsageError("--follow goes with --on, --protocol, --port, --only and --json, and no other option")
        follow_lab(what, Wanted(on, protocol, port, frozenset(only)), as_json)
        return
    from faultlab.analysis.filters import Filter
    from faultlab.analysis.subject import open_subject

    chosen = Filter(on, protocol, port, _between_ns(between), frozenset(map(Effect, only)))
    if packet is not None and (ladder or every or flow is not None or chosen != Filter()):
        raise UsageError("--packet goes with --json, and no other option")
    if flow is None and packet is None and not ladder and chosen == Filter():
        _summary(what, every, as_json)
        return
    subject = open_subject(what)
    if not subject.captures:
        raise UsageError(f"{what}: no packets to look at: {'; '.join(subject.remarks) or 'it holds none'}")
    if packet is not None:
        _dissected(subject, packet, as_json)
    elif ladder:
        _ladder(subject, chosen, flow, every, as_json)
    else:
        _packets(subject, chosen, flow, every, as_json)


# -- what is shown -----------------------------------------------------------------------------------------------------


def _summary(what: Path, every: bool, as_json: bool) -> None:
    from faultlab.analysis.overview import overview, overview_of_file
    from faultlab.analysis.subject import open_subject
    from faultlab.checks.result_file import read_result
    from faultlab.report.inspect_json import summary_json
    from faultlab.report.inspect_text import overview_lines

    seen = overview_of_file(what) if _is_a_capture(what) else overview(open_subject(what))
    result = read_result(what)
    if as_json:
        echo_json(summary_json(seen, result))
    else:
        _print(overview_lines(seen, result, every))


def _is_a_capture(what: Path) -> bool:
    """A file; what is no capture at all, `open_subject` has the words for."""
    return what.is_file() and what.name != "ledger.bin"


def _packets(subject: Subject, chosen: Filter, flow: int | None, every: bool, as_json: bool) -> None:
    from faultlab.analysis.build_ladder import build_steps
    from faultlab.analysis.conversations import Conversations
    from faultlab.analysis.filters import first
    from faultlab.analysis.paths import path_facts
    from faultlab.analysis.remarks import remarks
    from faultlab.analysis.scenario_messages import messages_of
    from faultlab.report.inspect_json import packets_json
    from faultlab.report.inspect_text import packet_lines

    conversations = Conversations(subject)
    keep = _keep(subject, conversations, chosen, flow)
    most = None if every or as_json else PACKETS_SHOWN
    said = remarks(subject, conversations, path_facts(subject))
    steps = build_steps(subject, keep=first(keep, subject.main, most), messages=messages_of(subject), remarks=said)
    if not steps:
        raise UsageError(f"{subject.path}: {_NONE}")
    if as_json:
        echo_json(packets_json(subject, steps))
        return
    _print(packet_lines(steps))
    more = int(keep(subject.main).sum()) - PACKETS_SHOWN
    if more > 0 and not every:
        echo(f"{more:,} packets more; --all shows them")


def _ladder(subject: Subject, chosen: Filter, flow: int | None, every: bool, as_json: bool) -> None:
    from faultlab.analysis.build_ladder import build_ladder, pairs
    from faultlab.analysis.conversations import Conversations
    from faultlab.analysis.filters import Filter
    from faultlab.analysis.paths import path_facts
    from faultlab.analysis.remarks import remarks
    from faultlab.analysis.scenario_messages import messages_of
    from faultlab.analysis.telling import telling
    from faultlab.report.inspect_json import ladders_json

    conversations = Conversations(subject)
    others: list[int] = []
    keep = _keep(subject, conversations, chosen, flow)
    if flow is None and not every and chosen == Filter():
        first, *others = telling(subject, conversations) or [0]
        keep = conversations.together(first) if first else keep
    messages = messages_of(subject)
    _check_size(subject, keep)
    said = remarks(subject, conversations, path_facts(subject))
    ladders = [
        build_ladder(subject, one.left, one.right, keep=keep, messages=messages, remarks=said)
        for one in pairs(subject, keep)
    ]
    if not ladders:
        raise UsageError(f"{subject.path}: {_NONE}")
    if as_json:
        echo_json(ladders_json(subject, ladders))
        return
    for number, ladder in enumerate(ladders):
        _print([Text()] if number else [])
        _draw(ladder, every)
    if others:
        named = ", ".join(map(str, others[:_OTHERS_NAMED])) + (", ..." if len(others) > _OTHERS_NAMED else "")
        echo(f"\nsomething happened in flow {named} too: --ladder --flow {others[0]}")


def _draw(ladder: Ladder, every: bool) -> None:
    from faultlab.analysis.ladder import chosen
    from faultlab.report.ladder_text import ladder_text, symbols_for

    console = Terminal()
    shown = list(ladder.steps) if every else chosen(ladder)
    _print(ladder_text(ladder, shown, console.width, symbols_for(console.encoding)))


def _check_size(subject: Subject, keep: Keep) -> None:
    count = int(keep(subject.main).sum())
    if count > MOST_IN_LADDER:
        raise UsageError(
            f"{subject.path}: {count:,} packets are too many for a ladder (at most {MOST_IN_LADDER:,}); "
            "narrow them down, such as with --flow 1 --between 0s..1s"
        )


def _dissected(subject: Subject, number: int, as_json: bool) -> None:
    """One packet: what became of it, and then each of its fields, as it was sent and, where it was changed, arrived."""
    from faultlab.analysis.build_ladder import build_steps
    from faultlab.analysis.scenario_messages import messages_of
    from faultlab.report.inspect_json import packet_json
    from faultlab.report.inspect_text import packet_lines

    main, delivered = subject.main, subject.delivered
    if number > len(main):
        raise UsageError(f"--packet {number}: {main.name} has {len(main):,} packets")
    steps = build_steps(subject, keep=lambda side: _only(side, main, number - 1), messages=messages_of(subject))
    texts = {f"{main.name} frame {number}": _take_apart(main, number - 1)}
    for arrival in steps[0].arrivals:
        if delivered is not None and delivered.frame(arrival.frame - 1) != main.frame(number - 1):
            texts[f"{delivered.name} frame {arrival.frame}"] = _take_apart(delivered, arrival.frame - 1)
    if as_json:
        echo_json(packet_json(subject, steps[0], texts))
        return
    _print(packet_lines(steps))
    for title, text in texts.items():
        echo(f"\n{title}\n{text}", end="")


def _only(side: Side, main: Side, index: int) -> Flags:
    import numpy as np

    return np.asarray((np.arange(len(side)) == index) if side is main else np.zeros(len(side), np.bool_))


def _take_apart(side: Side, index: int) -> str:
    """By scapy, whose licence asks for a program of its own (docs/dependencies.md)."""
    if find_spec("scapy") is None:
        raise MissingCapability(
            "scapy", "taking a packet apart takes scapy", f"{sys.executable} -m pip install {SCAPY}"
        )
    command = [sys.executable, str(_DISSECT), str(int(side.columns.link_type[index]))]
    done = subprocess.run(command, input=side.frame(index), capture_output=True, check=False)
    if done.returncode:
        raise LabFailure(f"packet {index + 1}: {done.stderr.decode(errors='replace').strip().splitlines()[-1]}")
    return done.stdout.decode(errors="replace")


# -- what is asked for -------------------------------------------------------------------------------------------------


def _keep(subject: Subject, conversations: Conversations, chosen: Filter, flow: int | None) -> Keep:
    keep = chosen.of(subject)
    if flow is None:
        return keep
    of_flow = conversations.keep(flow)
    return lambda side: keep(side) & of_flow(side)


def _between_ns(text: str | None) -> tuple[int, int] | None:
    """`1s..2s`, `..2s`, `1s..`."""
    if text is None:
        return None
    first, dots, last = text.partition("..")
    if not dots or not (first or last):
        raise UsageError(f"--between {text}: expected FROM..TO, such as 1s..2s, ..500ms or 2s..")
    try:
        begin, end = (
            parse_quantity(part, DURATIONS_MS, "1s..2s") * 1e6 if part else otherwise
            for part, otherwise in ((first, 0.0), (last, float(_FOREVER)))
        )
    except ValueError as error:
        raise UsageError(f"--between {text}: {error}") from error
    if end < begin:
        raise UsageError(f"--between {text}: ends before it begins; expected FROM..TO, such as 1s..2s")
    return round(min(begin, _FOREVER)), round(min(end, _FOREVER))


# -- printing ----------------------------------------------------------------------------------------------------------


def _print(shown: Iterable[Text]) -> None:
    console = Terminal()
    for line in shown:
        console.print(line, soft_wrap=True, highlight=False)
