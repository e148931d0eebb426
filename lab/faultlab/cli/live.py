"""The commands that look at a lab while it runs: `lab capture`, `lab top`, `lab inspect --follow`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from faultlab.analysis.follow import SIDES, Growing, follow
from faultlab.analysis.happenings import Happening, Happenings, Wanted
from faultlab.analysis.node_capture import NodeCapture
from faultlab.analysis.tail import LedgerTail
from faultlab.cli.top_loop import once, watch
from faultlab.errors import LabFailure, UsageError
from faultlab.lab.lab import Lab
from faultlab.lab.watching import beside_evidence, every, lab_of, nodes, snapshots
from faultlab.printing import Terminal, echo_json
from faultlab.report.follow_text import line
from faultlab.report.top_text import as_json as view_as_json
from faultlab.report.top_text import live_table
from faultlab.runtimes import control

ALL = "all"
CAPTURE_SECONDS = 0.1
WHOSE_SECONDS = 5.0


def _check_whose(context: click.Context, option: click.Parameter, name: str) -> str:
    """UsageError where the lab that is meant by default is another installation's: who means that one names it."""
    assert option.name is not None
    if context.get_parameter_source(option.name) is ParameterSource.DEFAULT and name in control.running():
        with suppress(LabFailure):  # one that does not answer is the command's to deal with
            facts, _ = control.ask(name, {"do": "status"}, WHOSE_SECONDS)
            if facts.get("installation", control.INSTALLATION) != control.INSTALLATION:
                raise UsageError(
                    f"lab {name!r} is not of this checkout: {facts['installation']} made it, in {facts['folder']}; "
                    f"choose another name with --name, or say --name {name} where you mean that one"
                )
    return name


lab_name = click.option("--name", default="lab", show_default=True, callback=_check_whose, help="The lab's name.")


@click.command()
@click.argument("node")
@lab_name
@click.option("--sent", "sides", flag_value="sent", help="Only what the node sends.")
@click.option("--delivered", "sides", flag_value="delivered", help="Only what the node is handed.")
def capture(node: str, name: str, sides: str | None) -> None:
    """Stream the packets of NODE, or of all nodes, to standard output: lab capture client | wireshark -k -i -

    pcapng, from now on until Ctrl-C or the lab's end, with what was decided as each packet's comment. Of all nodes,
    packets as sent, unless told otherwise: each would be there twice.
    """
    if sys.stdout.isatty():
        raise UsageError(
            f"lab capture: pcapng is not for a terminal; pipe it, such as: lab capture {node} | wireshark -k -i -"
        )
    lab = Lab(name)
    facts = lab.status()
    hosts = nodes(facts)
    chosen = [host.name for host in hosts if node in (ALL, host.name)]
    if not chosen:
        raise UsageError(f"no node {node!r}; the nodes are {', '.join(facts['nodes'])}, or {ALL}")
    wanted = (sides,) if sides else ("sent",) if node == ALL else SIDES
    made = NodeCapture(hosts, chosen, wanted)
    written = (moment["written"] for moment in snapshots(lab, every(CAPTURE_SECONDS)))
    out = sys.stdout.buffer
    try:
        beside_evidence(lab, facts, ["capture", node, "--name", name, *([f"--{sides}"] if sides else ())])
        for number, batch in enumerate(follow(Path(facts["evidence"]), written, wanted)):
            out.write((made.header() if number == 0 else b"") + made.blocks(batch))
            out.flush()
    except KeyboardInterrupt:
        return  # whole blocks were written, and flushed


@click.command()
@lab_name
@click.option("--once", "only_once", is_flag=True, help="Look once, for a second, and print that.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON; with --once.")
def top(name: str, only_once: bool, as_json: bool) -> None:
    """Watch a running lab: what each path carries, what its faults do, retransmissions. q quits."""
    if as_json and not only_once:
        raise UsageError("lab top --json: add --once")
    lab = Lab(name)
    facts = lab.status()
    try:
        flags = [flag for flag, given in (("--once", only_once), ("--json", as_json)) if given]
        beside_evidence(lab, facts, ["top", "--name", name, *flags])
        if not only_once:
            watch(lab, facts, Terminal())
        elif as_json:
            echo_json(view_as_json(once(lab, facts)))
        else:
            Terminal().print(live_table(once(lab, facts)))
    except KeyboardInterrupt:
        return


def follow_lab(what: Path, wanted: Wanted, as_json: bool) -> None:
    """`lab inspect --follow`: what happens from now on, a line each, until Ctrl-C or the lab's end.

    `what` is a lab's name, or its evidence folder. With `as_json` each line is an object.
    """
    lab = lab_of(what)
    facts = lab.status()
    wanted.check(list(facts["nodes"]))
    try:
        beside_evidence(
            lab, facts, ["inspect", lab.name, "--follow", *wanted.words(), *(["--json"] if as_json else ())]
        )
        for happening in _happenings(lab, facts):
            if wanted(happening):
                _say(happening, as_json)
    except KeyboardInterrupt:
        return


def _happenings(lab: Lab, facts: dict[str, Any]) -> Iterator[Happening]:
    """The ledger is read too, from its start: it says what the faults are, of which the captures have the ids."""
    folder, tail = Path(facts["evidence"]), LedgerTail()
    ledger = Growing(folder / "ledger.bin")
    happenings = Happenings(nodes(facts), tail.faults)

    def with_ledger() -> Iterator[dict[str, int | None]]:
        for moment in snapshots(lab, every(CAPTURE_SECONDS)):
            for piece in ledger.read(moment["written"]["ledger.bin"]):
                tail.feed(piece)
            yield moment["written"]

    for batch in follow(folder, with_ledger()):
        yield from filter(None, map(happenings.of, batch))


def _say(happening: Happening, as_json: bool) -> None:
    if as_json:
        echo_json(asdict(happening), indent=None)
    else:
        Terminal().print(line(happening), soft_wrap=True, highlight=False)
