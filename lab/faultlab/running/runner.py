"""Runs a scenario: the one place where runtimes, engines and checks meet.

A lab of its own for each run; faults on the paths; workloads in the nodes; faults over time; heal; evidence; checks.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from faultlab.checks import CheckResult, Verdict, run_check, worst
from faultlab.checks.result_file import keep
from faultlab.checks.run_result import RunResult
from faultlab.engines.registry import link_engine
from faultlab.errors import LabError, MissingCapability, UsageError, of_system
from faultlab.evidence.run_evidence import Evidence, WorkloadRecord
from faultlab.faults import Fault
from faultlab.lab.lab import Lab, end_word, new_folder, quiet
from faultlab.network import standard_lab
from faultlab.runtimes.children import for_owner
from faultlab.scenario.model import (
    CommandWorkload,
    DnsWorkload,
    PlacedToxic,
    Scenario,
    TcpWorkload,
    UdpWorkload,
    Workload,
)
from faultlab.scenario.timeline import Moment, Steps, moments, timelines

FIRST_SOURCE_PORT = 20_000
PORTS_PER_WORKLOAD = 500
KILL_SECONDS = 5.0
BEGIN_SECONDS = 10.0
"""How long to wait for a workload's first packet: after that the time-out and the toxics' times count all the same."""
_numbers = itertools.count(1)


class Placer(Protocol):
    """Who carries a scenario's faults to the engines. The seam at which the tests put a deaf one."""

    def set(self, path: str, faults: Sequence[Fault], later: Steps = ()) -> None:
        """Make these all that is on the path; what comes `later` counts its ms from the workloads' first packet."""

    def add_toxic(self, placed: PlacedToxic) -> dict[str, Any]:
        """Returns what the server has of it: with its name, proxy, attributes, and `set_t`."""

    def remove_toxic(self, toxic: dict[str, Any]) -> None:
        """Also puts into it, as `cleared_t`, from when on it was no longer sure to act."""


class LabPlacer:
    """The real one: the lab's link engine, and its toxiproxy."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    def set(self, path: str, faults: Sequence[Fault], later: Steps = ()) -> None:
        self._lab.set_faults(path, *faults, later=later)

    def add_toxic(self, placed: PlacedToxic) -> dict[str, Any]:
        return self._lab.toxiproxy().place(placed.port, placed.toxic)

    def remove_toxic(self, toxic: dict[str, Any]) -> None:
        self._lab.toxiproxy().remove(toxic)


@dataclass(frozen=True)
class RunOptions:
    """How to run: the same for every scenario of one `lab run`."""

    runtime: str = "netns"
    engine: str = "auto"
    seed: int | None = None
    out: Path = Path("runs")
    placer: Callable[[Lab], Placer] = LabPlacer
    progress: Callable[[str], None] = quiet
    forced_drops: Path | None = None
    trust: bool = False


def run(scenario: Scenario, options: RunOptions | None = None) -> RunResult:
    """Run one scenario to its verdict. What goes wrong in the run is INCONCLUSIVE, with the reason; it never raises.

    UsageError and MissingCapability, from before anything started, are the caller's to show.
    """
    options = _for_scenario(options or RunOptions(), scenario)
    seed = options.seed if options.seed is not None else scenario.seed
    seed = random.SystemRandom().randrange(1_000_000) if seed is None else seed
    started = time.monotonic()
    folder = new_folder(scenario.name, options.out).resolve()
    result = RunResult(
        scenario=scenario.name,
        about=scenario.about,
        runtime=options.runtime,
        engine=options.engine,
        seed=seed,
        verdict=Verdict.INCONCLUSIVE,
        seconds=0.0,
        checks=(),
        evidence=str(folder),
        error=None,
    )
    lab = None
    with ExitStack() as cleanup:
        try:
            try:
                lab = cleanup.enter_context(_lab_for(scenario, seed, folder, options))
            finally:  # not before: a lab takes an empty folder only
                (folder / "run.json").write_text(_run_file(scenario, seed, options))
            facts = lab.status()
            result = replace(result, runtime=facts["runtime"], engine=facts["engine"])
            story = _Story(scenario, lab, options.placer(lab), folder, options.progress)
            story.play()
            lab.await_quiet()
            lab.down()
            checks = _judge(scenario, Evidence(folder, story.workloads, story.toxics))
            result = replace(result, checks=checks, verdict=worst(check.verdict for check in checks))
        except (LabError, OSError) as caught:
            error = of_system(caught, folder) if isinstance(caught, OSError) else caught
            if lab is not None and lab.ends_by_itself():
                result = replace(result, error=lab.why_gone(folder), verdict=_verdict_of_end(lab.part_gone(folder)))
            elif isinstance(error, UsageError | MissingCapability):
                raise
            else:  # a lab that did not come up left its word too
                part = end_word(folder).get("part") if lab is None else None
                result = replace(result, error=str(error), verdict=_verdict_of_end(part))
    result = replace(result, seconds=round(time.monotonic() - started, 3))
    return keep(result)


def _verdict_of_end(part: str | None) -> Verdict:
    """That the server under test died is what the run found out; any other part's death proves nothing."""
    return Verdict.FAIL if part == standard_lab.OWN else Verdict.INCONCLUSIVE


def _for_scenario(options: RunOptions, scenario: Scenario) -> RunOptions:
    """The scenario's own engine where it names one. UsageError where the engine asked for can't do what it asks."""
    if scenario.engine != "any":
        if options.engine not in ("auto", scenario.engine):
            raise UsageError(
                f"scenario {scenario.name!r} needs engine {scenario.engine}, asked for {options.engine}; "
                f"expected --engine auto or {scenario.engine}"
            )
        options = replace(options, engine=scenario.engine)
    if options.engine != "auto":
        check_engine(options.engine, scenario)
    return options


def check_engine(engine: str, scenario: Scenario) -> None:
    """UsageError where the engine can't do what the scenario asks: each fault with those beside it as it begins."""
    placed = scenario.placed()
    for new in placed:
        link_engine(engine).check_faults(str(new.path), new.beside(placed))


def _lab_for(scenario: Scenario, seed: int, folder: Path, options: RunOptions) -> Lab:
    return Lab.up(
        f"run-{os.getpid()}-{next(_numbers)}",
        runtime=options.runtime,
        engine=options.engine,
        seed=seed,
        nodes=nodes_for(scenario),
        evidence=folder,
        publish=(),
        udp_mode=next((one.mode for one in scenario.workloads if isinstance(one, UdpWorkload)), "ack"),
        forced_drops=options.forced_drops,
        trust=options.trust,
        guest=scenario.guest(),
        progress=options.progress,
    )


def nodes_for(scenario: Scenario) -> tuple[str, ...]:
    """Those of the standard nodes that the scenario speaks of, in their usual order."""
    wanted = {"dns-server"}
    for workload in scenario.workloads:
        if isinstance(workload, DnsWorkload):
            wanted |= set(standard_lab.NODES)  # the names asked of DNS are the nodes' own, so they all have to be there
        else:
            wanted |= workload.nodes
    for placed in scenario.placed():
        wanted |= {placed.path.source, placed.path.target}
    if "toxiproxy" in wanted:
        wanted.add("tcp-server")
    return tuple(node for node in standard_lab.NODES if node in wanted)


def _judge(scenario: Scenario, evidence: Evidence) -> tuple[CheckResult, ...]:
    placed = scenario.placed()
    timed = [
        {"path": str(one.path), "describe": one.fault.describe(), "at_ms": one.at_ms, "for_ms": one.for_ms}
        for one in placed
        if one.for_ms is not None
    ]
    asked = {"expected": len(placed), "toxics": len(scenario.toxics()), "timed": timed}
    results = [run_check("fault_seen", asked, evidence)]
    results += [run_check(name, options, evidence) for name, options in scenario.checks]
    may_end = any(name == "reported" for name, _ in scenario.checks)
    results.append(run_check("finished", {"connections_may_end": may_end}, evidence))
    results.append(run_check("ledger", {}, evidence))
    return tuple(results)


class _Story:
    """What happens in one run, in its order."""

    def __init__(
        self, scenario: Scenario, lab: Lab, placer: Placer, folder: Path, progress: Callable[[str], None]
    ) -> None:
        self._scenario = scenario
        self._lab = lab
        self._placer = placer
        self._folder = folder
        self._progress = progress
        facts = lab.status()
        self._nodes: dict[str, dict[str, str]] = facts["nodes"]
        self._inside: str = facts["evidence_inside"]
        self._paths: list[str] = []
        self._toxics: list[tuple[PlacedToxic, dict[str, Any]]] = []
        self.workloads: tuple[WorkloadRecord, ...] = ()

    @property
    def toxics(self) -> tuple[dict[str, Any], ...]:
        """Every toxic there was, as toxiproxy said, with `set_t` and `cleared_t`."""
        return tuple(toxic for _, toxic in self._toxics)

    def play(self) -> None:
        """Faults of the start, workloads, faults over time, heal. LabFailure where the lab dies meanwhile."""
        ahead = moments(self._scenario)
        self._set_faults(ahead)
        while ahead and ahead[0].at_ms <= 0:
            self._carry_out(ahead.pop(0))
        commands = [self._command(number, one) for number, one in enumerate(self._scenario.workloads)]
        self.workloads = tuple(workload for workload, _ in commands)
        running: list[subprocess.Popen[Any]] = []
        ended: list[int | None] = []
        before = self._lab.packets()
        try:
            for workload, argv in commands:
                with open(self._folder / "log" / f"{workload.name}.txt", "wb", opener=for_owner) as log:
                    running.append(
                        self._lab.popen(workload.source, argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
                    )
            self._await_first_packet(running, before)
            self._wait(running, ahead, time.monotonic())
            ended = [process.poll() for process in running]
        finally:
            for process in running:
                if process.poll() is None:
                    process.terminate()
            for process in running:
                _await_end(process)
        self.workloads = tuple(replace(one, status=status) for one, status in zip(self.workloads, ended, strict=True))
        self._heal()

    def _await_first_packet(self, running: list[subprocess.Popen[Any]], before: int) -> None:
        """Time 0 is when the network sees the workloads: how long their programs take to start is no part of it."""
        limit = time.monotonic() + BEGIN_SECONDS
        while self._lab.packets() == before and time.monotonic() < limit:
            if all(process.poll() is not None for process in running):
                return
            time.sleep(0.002)

    def _wait(self, running: list[subprocess.Popen[Any]], ahead: list[Moment], started: float) -> None:
        """Until every workload ended or the scenario's time is over, carrying out each moment when it comes.

        What toxiproxy takes to obey is time that the later moments come later, so that none of its toxics stands short.
        """
        limit = started + self._scenario.timeout_ms / 1e3
        while any(process.poll() is None for process in running):
            now = time.monotonic()
            if now > limit:
                self._lab.note("timeout", after_ms=self._scenario.timeout_ms)
                return
            while ahead and started + ahead[0].at_ms / 1e3 <= now:
                moment = ahead.pop(0)
                self._carry_out(moment)
                started = max(started, time.monotonic() - moment.at_ms / 1e3)
            next_at = started + ahead[0].at_ms / 1e3 if ahead else limit
            time.sleep(max(0.0, min(0.002, next_at - time.monotonic())))

    def _heal(self) -> None:
        self._lab.note("ended")
        for path in self._paths:
            self._placer.set(path, ())
        for _, toxic in self._toxics_on():
            self._placer.remove_toxic(toxic)

    # -- faults --------------------------------------------------------------------------------------------------------

    def _set_faults(self, all_moments: Sequence[Moment]) -> None:
        """One order for each path, from begin to end: the engine, which is seldom late, keeps the times."""
        for path, steps in timelines(all_moments).items():
            now = [faults for at_ms, faults in steps if at_ms <= 0]
            self._placer.set(path, now[-1] if now else (), [step for step in steps if step[0] > 0])
            self._paths.append(path)

    def _carry_out(self, moment: Moment) -> None:
        for placed in moment.toxics_end:
            self._placer.remove_toxic(next(toxic for one, toxic in self._toxics_on() if one == placed))
        for placed in moment.toxics_begin:
            self._toxics.append((placed, {**self._placer.add_toxic(placed), "for_ms": placed.for_ms}))

    def _toxics_on(self) -> list[tuple[PlacedToxic, dict[str, Any]]]:
        return [(placed, toxic) for placed, toxic in self._toxics if toxic["cleared_t"] is None]

    # -- workloads -----------------------------------------------------------------------------------------------------

    def _command(self, number: int, one: Workload) -> tuple[WorkloadRecord, list[str]]:
        """What the checks need to know of a workload, and the client's command line."""
        name = f"{one.kind}-client-{number + 1}"
        if isinstance(one, CommandWorkload):
            addresses = {node: facts["ipv4"] for node, facts in self._nodes.items()}
            known = WorkloadRecord(name, one.kind, "", "", one.source, "", 0, "", None, 0, 0, None)
            return known, one.argv(addresses)
        source_port = FIRST_SOURCE_PORT + PORTS_PER_WORKLOAD * number
        journal = f"journal-{name}.jsonl"
        workload = WorkloadRecord(
            name=name,
            kind=one.kind,
            client_journal=journal,
            server_journal="" if one.target == standard_lab.OWN else f"journal-{_serving(one.target)}.jsonl",
            source=one.source,
            target=one.target,
            port=one.port,
            protocol="tcp" if one.kind == "tcp" else "udp",
            framing=one.framing if isinstance(one, TcpWorkload) else None,
            messages=one.messages,
            connections=one.connections if isinstance(one, TcpWorkload) else 1,
            source_port=source_port,
        )
        address = self._nodes[one.target]["ipv6" if one.family == 6 else "ipv4"]
        to = f"[{address}]:{one.port}" if ":" in address else f"{address}:{one.port}"
        argv = [*self._lab.python(), "-m", "faultlab_services", f"{one.kind}-client", *one.options(to, source_port)]
        return workload, [*argv, "--journal", f"{self._inside}/{journal}"]


def _await_end(process: subprocess.Popen[Any]) -> None:
    """A client that was told to end may not want to."""
    try:
        process.wait(KILL_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _serving(target: str) -> str:
    return "tcp-server" if target == "toxiproxy" else target


def _run_file(scenario: Scenario, seed: int, options: RunOptions) -> str:
    """What `lab replay` needs."""
    facts = {"format": 1, "scenario": scenario.source, "name": scenario.name, "seed": seed}
    facts |= {"runtime": options.runtime, "engine": options.engine}
    return json.dumps(facts, indent=2) + "\n"
