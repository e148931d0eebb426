"""Several scenarios, some of them at once: each in a lab, and with `jobs` above 1 in a process, of its own.

A lab waits most of its time, so several go on one core. Processes, because judging one run would hold up the faults
of another; they end with this one, however it ends, and their labs with them.
"""

from __future__ import annotations

import multiprocessing
import os
import select
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager
from dataclasses import replace
from multiprocessing.synchronize import Event

from faultlab.checks.run_result import RunResult
from faultlab.errors import LabFailure
from faultlab.running import runner
from faultlab.scenario.model import Scenario

Running = Callable[[str], AbstractContextManager[Callable[[str], None]]]
"""A scenario's name -> for as long as it runs; what it yields takes words on what it does just now."""


LABS_PER_PROCESSOR = {"netns": 4, "compose": 1}
"""On 2 processors the whole matrix took 17 minutes one lab after the other, and 219 s with 8 labs; verdicts were equal.
A lab in containers keeps its processor busy while it comes up and goes down."""
MOST_JOBS = 64


def bearable(scenarios: int, runtime: str) -> int:
    """How many labs this machine bears at once, and not more than there are scenarios: the default of `--jobs`."""
    processors = len(os.sched_getaffinity(0))
    return max(1, min(scenarios, processors * LABS_PER_PROCESSOR[runtime], MOST_JOBS))


def run_all(
    scenarios: Sequence[Scenario], options: runner.RunOptions, jobs: int, running: Running
) -> Iterator[tuple[int, RunResult]]:
    """(place in `scenarios`, result), as they end.

    The first UsageError or MissingCapability starts no more of them. LabFailure where a process of them was killed.
    """
    if jobs == 1:
        for number, scenario in enumerate(scenarios):
            with running(scenario.name) as say:
                result = runner.run(scenario, replace(options, progress=say))
            yield number, result
        return
    context = multiprocessing.get_context("forkserver")
    enough = context.Event()
    with (
        ProcessPoolExecutor(jobs, context, _end_with, (os.getpid(), enough)) as processes,
        ThreadPoolExecutor(jobs) as threads,
    ):

        def one(scenario: Scenario) -> RunResult:
            with running(scenario.name):
                try:
                    return processes.submit(runner.run, scenario, options).result()
                except BrokenExecutor as error:
                    raise LabFailure("a process that ran scenarios was killed; what it ran has no verdict") from error

        waiting: dict[Future[RunResult], int] = {
            threads.submit(one, scenario): number for number, scenario in enumerate(scenarios)
        }
        try:
            for done in as_completed(waiting):
                yield waiting[done], done.result()
        except (KeyboardInterrupt, GeneratorExit):  # nobody waits for those that run
            enough.set()
            raise
        finally:
            for future in waiting:
                future.cancel()


def _end_with(pid: int, enough: Event) -> None:
    """Let this process, and with it its lab, end with that one. (PR_SET_PDEATHSIG would bind it to the fork server.)

    Also once that one has enough: Ctrl-C goes to every process of the terminal, and that one deals with it for all.
    """
    signal.signal(signal.SIGINT, lambda *_: None)  # not SIG_IGN, which every program under test would inherit

    def watch() -> None:
        try:
            select.select([os.pidfd_open(pid)], [], [])
        finally:
            os._exit(1)

    def listen() -> None:
        enough.wait()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    threading.Thread(target=listen, daemon=True).start()
