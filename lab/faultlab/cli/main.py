"""The command line: thin doors to `Lab`, the runner and the reports.

Exit codes: 0 pass, 1 fail, 2 usage or bad file, 3 inconclusive or the lab broke, 4 the host lacks something needed,
5 not written, 130 Ctrl-C, 141 nobody reads (docs/command-line.md). Whatever went wrong gets one line on standard error.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import click
from click.core import ParameterSource
from pydantic import ValidationError

from faultlab.checks import Verdict
from faultlab.checks.result_json import json_report
from faultlab.checks.run_result import EXIT_CODES, RunResult, worst_of
from faultlab.cli.inspect import inspect
from faultlab.cli.live import capture, lab_name, top
from faultlab.cli.report import report
from faultlab.errors import LabError, LabFailure, Unwritten, UsageError, of_system
from faultlab.evidence.run_evidence import Evidence
from faultlab.faults import KINDS, Fault, fault_from_yaml
from faultlab.lab.doctor import examine
from faultlab.lab.lab import RUNTIMES, Lab, sweep
from faultlab.network import standard_lab
from faultlab.network.topology import DEFAULT_IPV4, DEFAULT_IPV6, Network
from faultlab.printing import Telling, Terminal, echo, echo_json, let_go_of_stdout, say
from faultlab.report.grid import grid, markdown_report
from faultlab.report.junit import junit_report
from faultlab.report.progress import progress
from faultlab.report.text import result_lines, show, summary
from faultlab.running import compare as compare_
from faultlab.running import matrix, runner
from faultlab.running.batch import LABS_PER_PROCESSOR, MOST_JOBS, bearable, run_all
from faultlab.running.matrix import MatrixCell
from faultlab.running.replay import replay as replay_run
from faultlab.running.shrink import shrink as shrink_run
from faultlab.runtimes import control
from faultlab.scenario.model import Scenario, find_scenario, load_scenario, shipped
from faultlab.scenario.schema import results_schema, scenario_schema
from faultlab.units import DURATIONS_MS, PERCENT, parse_quantity
from faultlab.yaml_file import parse_yaml

LONGEST_LINE = 2000
NOBODY_READS = 141
"""128 and SIGPIPE: what a shell says of a program whose reader left."""
GRID_WIDTH = 160
"""Columns of the grid where it goes to no terminal."""
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

jobs_option = click.option(
    "--jobs",
    type=click.IntRange(1, MOST_JOBS),
    help="Labs at the same time. [default: what the machine bears: "
    + ", ".join(f"{count} a processor on {runtime}" for runtime, count in LABS_PER_PROCESSOR.items())
    + "]",
)
trust_option = click.option(
    "--trust", is_flag=True, help="Let programs in nodes do on this host what you may (docs/isolation.md)."
)


class _Commands(click.Group):
    """Makes an error of ours of what the system refused: click would end with status 1, which is FAIL's alone."""

    def make_context(self, *args: Any, **more: Any) -> click.Context:
        try:
            return super().make_context(*args, **more)  # and print the help, where that was asked for
        except OSError as error:
            raise _ours(error) from error

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except OSError as error:
            raise _ours(error) from error


def _ours(error: OSError) -> LabError:
    """Files are written where their errors are dealt with: no room for a file without a name is none for the output.

    EBADF: standard output was closed when the command began (`faultlab.__main__`).
    """
    made = of_system(error)
    if error.filename is None and (isinstance(made, Unwritten) or error.errno == errno.EBADF):
        return Unwritten(f"standard output: {error.strerror}")
    return made


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="fault-lab")
def cli() -> None:
    """A network lab that proves its faults."""


@cli.command()
@lab_name
@click.option("--runtime", type=click.Choice(["auto", *RUNTIMES]), default="auto", show_default=True)
@click.option("--engine", type=click.Choice(["auto", "wire", "netem"]), default="auto", show_default=True)
@click.option("--seed", type=click.IntRange(0), help="Of every random decision; random where not given.")
@click.option("--network", help=f"The lab's IPv4 block. [default: {DEFAULT_IPV4}, or the next free one]")
@click.option("--network6", help=f"The lab's IPv6 block. [default: {DEFAULT_IPV6}, or the next free one]")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the evidence.")
@click.option("--toxiproxy-api", is_flag=True, help="Publish it on 127.0.0.1, for every user of this host.")
@trust_option
@as_json
def up(
    name: str,
    runtime: str,
    engine: str,
    seed: int | None,
    network: str | None,
    network6: str | None,
    out: Path | None,
    toxiproxy_api: bool,
    trust: bool,
    as_json: bool,
) -> None:
    """Stand a lab up. One of this name that is up already is shown instead, if it is as asked for."""
    block = Network.parse(network or DEFAULT_IPV4, network6 or DEFAULT_IPV6) if network or network6 else None
    lab, standing = Lab(name), name in control.running()
    if not standing:
        lab = Lab.up(
            name,
            runtime=runtime,
            engine=engine,
            seed=seed,
            network=block,
            evidence=out,
            publish=(*standard_lab.PUBLISHED, *(standard_lab.CONTROL if toxiproxy_api else ())),
            trust=trust,
            progress=say,
        )
    status = {**lab.status(), "toxics": lab.toxics()}
    if standing:
        _check_as_asked(status, runtime, engine, seed, block, out, toxiproxy_api, trust)
        say(f"lab {name!r} was up already")
    lab.keep()  # from here on it stays, even if nobody can be told
    if as_json:
        echo_json(status)
    else:
        _print_status(status)
        _print_next(status)


def _check_as_asked(
    facts: dict[str, Any],
    runtime: str,
    engine: str,
    seed: int | None,
    block: Network | None,
    out: Path | None,
    toxiproxy_api: bool,
    trust: bool,
) -> None:
    """UsageError where a lab that stands is not what these options of `lab up` ask for."""
    nodes = facts["nodes"]
    asked = {
        f"--runtime {runtime}": runtime in ("auto", facts["runtime"]),
        f"--engine {engine}": engine in ("auto", facts["engine"]),
        f"--seed {seed}": seed in (None, facts["seed"]),
        f"the blocks {block and block.ipv4} and {block and block.ipv6}": block is None
        or all(
            (one.ipv4, one.ipv6) == (nodes[one.name]["ipv4"], nodes[one.name]["ipv6"])
            for one in block.nodes(list(nodes))
        ),
        "--toxiproxy-api": not toxiproxy_api or any(one["via"] == "toxiproxy" for one in facts["published"]),
        "--trust" if trust else "isolation": trust == facts["trust"],
        f"--out {out}": out is None or str(out.resolve()) == facts["evidence"],
    }
    unlike = [option for option, honoured in asked.items() if not honoured]
    if unlike:
        raise UsageError(
            f"lab {facts['name']!r} is up already ({_engine(facts)}, seed {facts['seed']}, "
            f"evidence {_short(facts['evidence'])}), and not with {', '.join(unlike)}; "
            f"leave that out, take the lab down first, or choose another --name"
        )


@cli.command()
@lab_name
@click.option("--force", is_flag=True, help="Also where its supervisor is stopped or hangs.")
@as_json
def down(name: str, force: bool, as_json: bool) -> None:
    """Take a lab down; nothing of it stays but its evidence. No lab of this name is fine too."""
    if name not in control.running():
        swept = sweep()
        words = f"removed what is left of {', '.join(swept)}" if swept else "nothing to do"
        _report({"name": name, "was_up": False, "removed": swept}, f"no lab {name!r} is up; {words}", as_json)
        return
    if force:
        if click.get_current_context().get_parameter_source("name") is ParameterSource.DEFAULT:
            raise UsageError(f"lab down --force: which lab? expected --name {name}, or another name")
        folder = Lab(name).down_by_force()
        evidence = {"evidence": str(folder)} if folder else {}
        where = f"; evidence: {_short(str(folder))}" if folder else ""
        _report({"name": name, "was_up": True, **evidence}, f"{name} is down, by force{where}", as_json)
        return
    status = Lab(name).status()
    end = Lab(name).down()
    facts = {"name": name, "was_up": True, **_ran_on(status), "evidence": status["evidence"], **end}
    lost_by = end.get("lost_before_wire", {})
    lost = "".join(f"; {node} lost {count} frames before the wire" for node, count in lost_by.items())
    _report(facts, f"{name} ({_engine(status)}) is down; evidence: {_short(status['evidence'])}{lost}", as_json)
    if "failed" in end:
        raise LabFailure(f"{name} is down, but its evidence may be incomplete: {end['failed']}")


@cli.command()
@lab_name
@as_json
def status(name: str, as_json: bool) -> None:
    """Show a lab: nodes, addresses, ports, faults, toxics, evidence."""
    lab = Lab(name)
    facts = {**lab.status(), "toxics": lab.toxics()}
    if as_json:
        echo_json(facts)
    else:
        _print_status(facts)


@cli.command("exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@lab_name
@as_json
@click.argument("node")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def exec_(name: str, as_json: bool, node: str, command: tuple[str, ...]) -> NoReturn:
    """Run a command in a node: lab exec client -- COMMAND..."""
    words = command[1:] if command[0] == "--" else command
    if not words:
        raise UsageError("lab exec: no command; expected lab exec NODE -- COMMAND...")
    facts = Lab(name).status()
    if not as_json:
        if sys.stderr.isatty():  # a script that reads standard error gets the command's alone
            say(f"{node} of {name} ({_engine(facts)})")
        sys.exit(Lab(name).exec(node, words).returncode)
    done = Lab(name).exec(node, words, capture_output=True, text=True)
    echo_json(
        {
            "name": name,
            **_ran_on(facts),
            "node": node,
            "status": done.returncode,
            "stdout": done.stdout,
            "stderr": done.stderr,
        }
    )
    sys.exit(done.returncode)


@cli.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@lab_name
@click.option("--node", default="client", show_default=True, help="Where it runs.")
@click.argument("protocol", type=click.Choice(["tcp", "udp", "dns"]))
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def client(name: str, node: str, protocol: str, options: tuple[str, ...]) -> NoReturn:
    """Run one of the lab's own clients: lab client tcp --to tcp-server:8082 --framing length2 --messages 5

    OPTIONS are those of docs/services.md; lab client tcp -- --help lists them.
    """
    lab = Lab(name)
    sys.exit(lab.exec(node, [*lab.python(), "-m", "faultlab_services", f"{protocol}-client", *options]).returncode)


@cli.command()
@lab_name
@click.argument("node", default="client")
def shell(name: str, node: str) -> NoReturn:
    """Open a shell in a node."""
    facts = Lab(name).status()
    # A container has a file system of its own, and the user's favourite shell is not in it.
    program = os.environ.get("SHELL", "/bin/sh") if facts["runtime"] == "netns" else "/bin/sh"
    say(f"{node} of {name} ({_engine(facts)}); leave with exit")
    sys.exit(Lab(name).exec(node, [program]).returncode)


# -- faults ------------------------------------------------------------------------------------------------------------


@cli.group()
def fault() -> None:
    """Set, show and clear faults on the paths of a running lab."""


def _fault_options(command: Callable[..., None]) -> Callable[..., None]:
    """One option for each kind of fault that a single value can say."""
    for kind in sorted(KINDS, reverse=True):
        short = KINDS[kind].short
        if short is not None and short != "match":
            summary = (KINDS[kind].__doc__ or "").strip().splitlines()[0]
            command = click.option(f"--{kind.replace('_', '-')}", kind, metavar="VALUE", help=summary)(command)
    return command


@fault.command("set")
@lab_name
@as_json
@click.argument("path")
@_fault_options
@click.option("--jitter", metavar="TIME", help="With --latency: how much it varies.")
@click.option("--fault", "more", multiple=True, metavar="YAML", help="Any fault as in a scenario: 'loss: {every: 5}'.")
@click.option("--for", "for_", metavar="TIME", help="Clear it after this time, such as 10s.")
def fault_set(
    name: str, as_json: bool, path: str, jitter: str | None, more: tuple[str, ...], for_: str | None, **shorts: str
) -> None:
    """Make these faults all that is on PATH ('client->tcp-server', 'client<->tcp-server')."""
    faults = [_fault(kind, value) for kind, value in _asked(shorts, jitter)]
    faults += [_fault(kind, value) for text in more for kind, value in _yaml_fault(text)]
    if not faults:
        raise UsageError("lab fault set: no fault given; expected one such as --loss 5% (see lab fault set --help)")
    lab = Lab(name)
    lab.set_faults(path, *faults, for_ms=_quantity("--for", for_, DURATIONS_MS, "10s") if for_ else None)
    _show_faults(lab, as_json)


@fault.command("show")
@lab_name
@as_json
def fault_show(name: str, as_json: bool) -> None:
    """Show the faults on each path, and the toxics at each proxy."""
    _show_faults(Lab(name), as_json)


@fault.command("clear")
@lab_name
@as_json
@click.argument("path", required=False)
def fault_clear(name: str, as_json: bool, path: str | None) -> None:
    """Clear PATH, or all paths."""
    lab = Lab(name)
    lab.clear_faults(path)
    _show_faults(lab, as_json)


def _asked(shorts: dict[str, str], jitter: str | None) -> list[tuple[str, Any]]:
    given: list[tuple[str, Any]] = [
        (kind.replace("_", "-"), int(value) if re.fullmatch("[0-9]{1,18}", value) else value)
        for kind, value in shorts.items()
        if value is not None
    ]
    if jitter is None:
        return given
    if shorts.get("latency") is None:
        raise UsageError("--jitter needs --latency; add it, such as --latency 50ms")
    wide = {"delay": shorts["latency"], "jitter": jitter}
    return [(kind, wide if kind == "latency" else value) for kind, value in given]


def _yaml_fault(text: str) -> list[tuple[str, Any]]:
    value = parse_yaml(text, "--fault").data
    if not isinstance(value, dict):
        raise UsageError(f"--fault {text!r}: expected KIND: VALUE, such as 'loss: {{every: 5}}'")
    return list(value.items())


def _fault(kind: str, value: Any) -> Fault:
    try:
        return fault_from_yaml(kind, value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UsageError(
            f"fault {kind}{'.' + where if where else ''}: {first['msg'].removeprefix('Value error, ')}"
        ) from error
    except ValueError as error:
        raise UsageError(f"fault {kind}: {error}") from error


def _quantity(what: str, text: str, units: Mapping[str, float], example: str) -> float:
    try:
        return parse_quantity(text, units, example)
    except ValueError as error:
        raise UsageError(f"{what}: {error}") from error


def _show_faults(lab: Lab, as_json: bool) -> None:
    facts = {**lab.status(), "toxics": lab.toxics()}
    if as_json:
        echo_json({"name": lab.name, **_ran_on(facts), "faults": facts["faults"], "toxics": facts["toxics"]})
        return
    echo(f"{lab.name} ({_engine(facts)})")
    _print_faults(facts)


# -- scenarios ---------------------------------------------------------------------------------------------------------


@cli.command()
@as_json
def scenarios(as_json: bool) -> None:
    """List the scenarios that ship."""
    known = {name: load_scenario(path) for name, path in shipped().items()}
    if as_json:
        echo_json([{"name": name, "about": scenario.about} for name, scenario in known.items()])
        return
    width = max(map(len, known))
    for name, scenario in known.items():
        echo(f"{name:<{width}}  {scenario.about}")


@cli.command()
@click.argument("what", nargs=-1, metavar="NAME|FILE|matrix...")
@click.option("--all", "everything", is_flag=True, help="Every scenario that ships.")
@click.option("--runtime", type=click.Choice([*RUNTIMES]), default="netns", show_default=True)
@click.option("--engine", type=click.Choice(["auto", "wire", "netem"]), default="auto", show_default=True)
@click.option("--seed", type=click.IntRange(0), help="Of every random decision; the scenario's or random if not given.")
@jobs_option
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs"), show_default=True)
@click.option("--junit", type=click.Path(path_type=Path, dir_okay=False), help="Write JUnit XML to this file.")
@click.option("--markdown", type=click.Path(path_type=Path, dir_okay=False), help="Write Markdown to this file.")
@trust_option
@as_json
def run(
    what: tuple[str, ...],
    everything: bool,
    runtime: str,
    engine: str,
    seed: int | None,
    jobs: int | None,
    out: Path,
    junit: Path | None,
    markdown: Path | None,
    trust: bool,
    as_json: bool,
) -> NoReturn:
    """Run scenarios, by name or file, or cells of the matrix; the exit code is the worst verdict's.

    matrix is every subject under every condition; matrix/SUBJECT and matrix/SUBJECT/CONDITION are a part of it, and
    in both * stands for anything.
    """
    names = (*what, *(shipped() if everything else ()))
    if not names:
        raise UsageError("lab run: no scenario given; expected names or files, or --all (see lab scenarios)")
    chosen = [one for name in names for one in _chosen(name)]
    _check_files({"--junit": junit, "--markdown": markdown}, out)
    options = runner.RunOptions(runtime=runtime, engine=engine, seed=seed, out=out, trust=trust)
    jobs = jobs or _bearable(len(chosen), runtime)
    in_grid = sum(cell is not None for _, cell in chosen) > 1
    started = time.monotonic()
    found: dict[int, RunResult] = {}
    told = Telling()
    with progress(len(chosen), Terminal(stderr=True)) as shown:
        for number, result in run_all([scenario for scenario, _ in chosen], options, jobs, shown.running):
            found[number] = result
            # Of many cells those that passed are a word in the grid; what did not pass is told at once, whole.
            if not as_json and not (in_grid and chosen[number][1] and result.verdict is Verdict.PASS):
                told(partial(_show_result, result))
    results = [found[number] for number in range(len(chosen))]
    placed = [(cell.subject, cell.condition, result) for (_, cell), result in zip(chosen, results, strict=True) if cell]
    lost = [*_write(junit, lambda: junit_report(results)), *_write(markdown, lambda: markdown_report(results, placed))]
    if in_grid and not as_json:
        console = Terminal()
        width = console.width if console.is_terminal else GRID_WIDTH
        told(lambda: Terminal(width=width).print(grid(placed)))
    _conclude(results, told, as_json, time.monotonic() - started, lost)


def _bearable(scenarios: int, runtime: str) -> int:
    jobs = bearable(scenarios, runtime)
    if jobs > 1:
        say(f"running {scenarios} scenarios, {jobs} at the same time; --jobs 1: one after the other")
    return jobs


def _chosen(name: str) -> list[tuple[Scenario, MatrixCell | None]]:
    """The scenarios meant by one word of the command line, each with its cell where it is one of the matrix."""
    if name.partition("/")[0] == matrix.PREFIX:
        return [(cell.scenario, cell) for cell in matrix.cells(name)]
    return [(load_scenario(find_scenario(name)), None)]


def _check_files(files: dict[str, Path | None], out: Path) -> None:
    """What will be written at the end can be written there, or nothing is started."""
    for option, file in files.items():
        if file is not None and not file.resolve().parent.is_dir():
            raise UsageError(f"{option} {file}: there is no folder {file.parent}; create it first")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out {out}: {error.strerror}; choose another folder") from error


@cli.command()
@click.argument("protocols", nargs=-1, type=click.Choice(compare_.PROTOCOLS))
@click.option("--loss", "losses", multiple=True, metavar="PERCENT", help="Such as 5%; repeatable. [0, 1, 5, 10, 30%]")
@click.option("--seed", type=click.IntRange(0), help="Of every random decision.")
@jobs_option
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs"), show_default=True)
@as_json
def compare(
    protocols: tuple[str, ...],
    losses: tuple[str, ...],
    seed: int | None,
    jobs: int | None,
    out: Path,
    as_json: bool,
) -> None:
    """Measure TCP against UDP: the same messages over both, with more and more loss. Prints a table in Markdown."""
    percents = [_quantity("--loss", loss, PERCENT, "5%") for loss in losses] or compare_.LOSSES_PERCENT
    if max(percents) > compare_.MOST_PERCENT:
        raise UsageError(f"--loss: expected at most {compare_.MOST_PERCENT}%; with more TCP takes hours")
    cells = [(protocol, loss) for loss in percents for protocol in (protocols or compare_.PROTOCOLS)]
    _check_files({}, out)
    options = runner.RunOptions(seed=seed, out=out)
    jobs = jobs or _bearable(len(cells), options.runtime)
    rows: dict[int, compare_.Measured] = {}
    with progress(len(cells), Terminal(stderr=True)) as shown:
        for number, result in run_all([compare_.scenario(*cell) for cell in cells], options, jobs, shown.running):
            if result.verdict is not Verdict.PASS:
                raise LabFailure(
                    f"{result.scenario} is {result.verdict}, so nothing is measured; see {result.evidence}"
                )
            rows[number] = compare_.measure_run(Evidence(Path(result.evidence)), *cells[number])
    measured = [rows[number] for number in range(len(cells))]
    if as_json:
        echo_json([asdict(row) for row in measured])
    else:
        echo(compare_.comparison_table(measured))


@cli.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="RUN")
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs"), show_default=True)
@trust_option
@as_json
def replay(folder: Path, out: Path, trust: bool, as_json: bool) -> NoReturn:
    """Run a run again, with each drop as its ledger has it."""
    result, told = replay_run(folder, runner.RunOptions(out=out, trust=trust)), Telling()
    if not as_json:
        told(lambda: _show_result(result))
    _conclude([result], told, as_json)


@cli.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="RUN")
@trust_option
def shrink(folder: Path, trust: bool) -> NoReturn:
    """Find the fewest dropped packets that make a failed run fail again, and print them as a scenario file."""
    with tempfile.TemporaryDirectory() as place:
        shrunk = shrink_run(folder, runner.RunOptions(out=Path(place), trust=trust), say)
    say(f"{shrunk.recorded} drops shrunk to {shrunk.drops} in {shrunk.runs} runs")
    echo(shrunk.text, end="")
    if not shrunk.fails:
        raise LabFailure("this scenario did not fail when it was run at last: TCP sent other packets; try again")
    sys.exit(0)


def _show_result(result: RunResult) -> None:
    console = Terminal()
    for line in result_lines(replace(result, evidence=_short(result.evidence))):
        show(line, console)


def _write(file: Path | None, text: Callable[[], str]) -> list[str]:
    """What could not be written, and why: the verdicts are there all the same."""
    try:
        if file is not None:
            file.write_text(text(), encoding="utf-8")
    except OSError as error:
        return [f"{file}: {error.strerror}"]
    return []


def _conclude(
    results: list[RunResult], told: Telling, as_json: bool, seconds: float | None = None, lost: Sequence[str] = ()
) -> NoReturn:
    """Say the whole, and end with the verdict's exit code; with that of what was not written where all passed."""
    if as_json:
        told(lambda: echo(json_report(results)))
    elif len(results) > 1:
        told(lambda: show(summary(results, seconds), Terminal()))
    verdict = worst_of(results)
    lost = [*lost, *(f"{one.evidence}: {one.error}" for one in results if one.verdict is Verdict.PASS and one.error)]
    if told.lost is not None:
        lost.append(f"standard output: {told.lost.strerror}")
    for one in lost:
        _complain(f"{verdict}, but not all was written: {one}")
    unread = isinstance(told.lost, BrokenPipeError) and len(lost) == 1
    sys.exit(EXIT_CODES[verdict] or (NOBODY_READS if unread else Unwritten.exit_code if lost else 0))


@cli.command()
@click.argument("what", type=click.Choice(["scenario", "results"]), default="scenario")
def schema(what: str) -> None:
    """Print the JSON Schema of scenario files, for editors, or that of the results of lab run --json."""
    echo_json(scenario_schema() if what == "scenario" else results_schema())


@cli.command()
@as_json
def doctor(as_json: bool) -> NoReturn:
    """Try what this host can do, and say how to get what it lacks."""
    findings = examine()
    if as_json:
        echo_json([vars(finding) for finding in findings])
    else:
        for finding in findings:
            echo(f"{'works  ' if finding.works else 'missing'}  {finding.name:<14} {finding.seen}")
            if finding.fix:
                echo(f"{'':<24} fix: {finding.fix}")
    sys.exit(0 if any(finding.works for finding in findings if finding.name.endswith("/wire")) else 4)


cli.add_command(capture)
cli.add_command(report)
cli.add_command(top)


cli.add_command(inspect)


# -- printing ----------------------------------------------------------------------------------------------------------


def _print_status(facts: dict[str, Any]) -> None:
    echo(f"lab {facts['name']}   {_engine(facts)}   seed {facts['seed']}   up {facts['up_seconds']:.1f} s")
    for name, node in facts["nodes"].items():
        ports = " ".join(
            port for service in facts["services"].values() if service["node"] == name for port in service["ports"]
        )
        echo(f"  {name:<12} {node['ipv4']:<12} {node['ipv6']:<16} {ports}".rstrip())
    if facts["published"]:
        echo("on this host")
        for one in facts["published"]:
            via = " (control, past the wire)" if one["via"] == "toxiproxy" else ""
            target = _node_at(facts, one["to"]) if not via else "toxiproxy's API"
            echo(f"  {one['protocol']} {one['address']:<16} -> {target}{via}")
    _print_faults(facts)
    if facts["limits"]:
        echo(f"limits: {facts['limits']}")
    for note in facts["notes"]:
        echo(f"note: {note}")
    echo(f"evidence: {_short(facts['evidence'])}")


def _print_faults(facts: dict[str, Any]) -> None:
    standing = {**facts["faults"], **facts["toxics"]}
    for where, faults in standing.items():
        echo(f"  {where}: {'; '.join(one['describe'] for one in faults)}")
    if not standing:
        echo("no faults")


def _print_next(facts: dict[str, Any]) -> None:
    me = "lab" if shutil.which("lab") else _short(str(Path(sys.argv[0]).resolve()))
    option = "" if facts["name"] == "lab" else f" --name {facts['name']}"
    raw = next((one["address"] for one in facts["published"] if one["to"].endswith(":8080")), None)
    echo("try next")
    echo(f"  {me} client{option} tcp --to tcp-server:8082 --framing length2 --messages 5")
    if raw is not None:
        echo(f"  nc {raw.replace(':', ' ')}")
    echo(f"  {me} fault set{option} 'client<->tcp-server' --latency 50ms --loss 5%")
    echo(f"  {me} run first-syn-ack-lost\n  {me} scenarios\n  {me} down{option}")


def _node_at(facts: dict[str, Any], address: str) -> str:
    host, _, port = address.rpartition(":")
    return next((f"{name}:{port}" for name, node in facts["nodes"].items() if node["ipv4"] == host), address)


def _ran_on(facts: dict[str, Any]) -> dict[str, Any]:
    return {"runtime": facts["runtime"], "engine": facts["engine"]}


def _engine(facts: dict[str, Any]) -> str:
    return f"{facts['runtime']}/{facts['engine']}"


def _short(folder: str) -> str:
    path = Path(folder)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else folder


def _report(facts: dict[str, Any], line: str, as_json: bool) -> None:
    if as_json:
        echo_json(facts)
    else:
        echo(line)


def _complain(error: object) -> None:
    """One line about what went wrong, not much longer than a screen even where it quotes what was given."""
    text = str(error)
    say(
        f"lab: {text if len(text) <= LONGEST_LINE else f'{text[: LONGEST_LINE // 2]} ... {text[-LONGEST_LINE // 4 :]}'}"
    )


def _no_command(error: click.exceptions.NoArgsIsHelpError) -> str:
    context = error.ctx
    assert context is not None and isinstance(context.command, click.Group)
    path, commands = context.command_path, "|".join(context.command.list_commands(context))
    return f"no command given; expected {path} {commands} (see {path} --help)"


def main() -> NoReturn:
    """Run the command line; whatever goes wrong is one line and an exit code, and 1 is FAIL's alone."""
    status = _status()
    try:
        sys.stdout.flush()
    except OSError as error:
        let_go_of_stdout()
        if status == 0 and not isinstance(error, BrokenPipeError):
            _complain(f"standard output: {error.strerror}")
        status = status or (NOBODY_READS if isinstance(error, BrokenPipeError) else Unwritten.exit_code)
    sys.exit(status)


def _status() -> int:
    try:
        status = cli.main(standalone_mode=False)
    except SystemExit as left:
        status = left.code
    except click.exceptions.Abort:
        return 130
    except click.exceptions.NoArgsIsHelpError as error:
        _complain(_no_command(error))
        return 2
    except click.ClickException as error:
        _complain(" ".join(error.format_message().split()))
        return 2
    except LabError as error:
        if isinstance(error.__cause__, BrokenPipeError):
            return NOBODY_READS
        _complain(error)
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - Python would end with status 1, which is FAIL's alone
        place = traceback.extract_tb(error.__traceback__)[-1]
        what = f"{type(error).__name__}: {' '.join(str(error).split())}"
        _complain(f"an error of the lab's own, please report it: {what} ({place.filename}:{place.lineno})")
        return LabFailure.exit_code
    return status if isinstance(status, int) else 0


if __name__ == "__main__":
    main()
