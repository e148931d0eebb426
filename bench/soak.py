"""Many labs up and down and many cut connections, beside two busy loops: nothing may hang, nothing may stay.

python -m bench.soak                          all of it: 1,000 cuts on each runtime; 1,000 labs in namespaces, 300 in
                                              Compose
python -m bench.soak --part 0.1               a tenth of it (or LAB_SOAK=0.1)
python -m bench.soak compose --cuts 0 --labs 60 --seconds 200     one runtime, its own numbers, and a time to stop at

A lab here has two nodes, which is as many as a path needs. The exit status is 1 where something hung, failed or stayed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import select
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from struct import pack
from tempfile import TemporaryDirectory
from typing import Any

from faultlab.errors import LabError
from faultlab.faults import Reset
from faultlab.lab.lab import Lab
from faultlab.runtimes import control
from faultlab.runtimes.compose import runtime as compose
from faultlab.runtimes.compose.project import HOLDER_LABEL

LABS = {"netns": 1000, "compose": 300}
CUTS = 1000
JOBS = {"netns": 4, "compose": 2}
"""Labs that come and go at the same time."""
PAIR = ("client", "tcp-server")
PUBLISH = (("tcp", 8082, "client", "tcp-server", 8082),)
LOOPS = 2
MARK = "FAULT_LAB_SOAK"
HANG_SECONDS = 180.0
"""A lab that takes longer than this to come and go hangs: some 50 times what it takes."""
TALK_SECONDS = 30.0
GONE_SECONDS = 60.0


@dataclass
class Tally:
    """What was done on one runtime, and what went wrong."""

    ups: list[float] = field(default_factory=list)
    downs: list[float] = field(default_factory=list)
    cuts: int = 0
    wrong: list[str] = field(default_factory=list)


# -- labs --------------------------------------------------------------------------------------------------------------


def come_and_go(runtime: str, name: str, folder: str) -> tuple[float, float]:
    """One lab, up and down; how long each took, in seconds."""
    evidence = Path(folder) / name
    began = time.monotonic()
    os.environ[MARK] = name.rpartition("-")[0]
    with Lab.up(name, runtime=runtime, nodes=PAIR, publish=(), evidence=evidence, seed=1) as lab:
        stood = time.monotonic()
        lab.down()
    ended = time.monotonic()
    if not (evidence / "ledger.bin").exists():
        raise RuntimeError(f"{name}: no ledger in its evidence")
    shutil.rmtree(evidence)
    return stood - began, ended - stood


def labs(runtime: str, count: int, until: float, mark: str, tally: Tally) -> None:
    """So many labs, a few at a time, or as many as there is time for."""
    context = multiprocessing.get_context("forkserver")
    with TemporaryDirectory() as folder, ProcessPoolExecutor(JOBS[runtime], context) as pool:
        running: dict[Future[tuple[float, float]], tuple[str, float]] = {}
        started = 0
        while running or (started < count and time.monotonic() < until):
            while len(running) < JOBS[runtime] and started < count and time.monotonic() < until:
                started += 1
                name = f"{mark}-{started}"
                running[pool.submit(come_and_go, runtime, name, folder)] = name, time.monotonic()
            done, _ = wait(running, HANG_SECONDS, FIRST_COMPLETED)
            for one in done:
                name, _ = running.pop(one)
                try:
                    up, down = one.result()
                except (LabError, OSError, RuntimeError) as error:
                    tally.wrong.append(f"{name}: {error}")
                    continue
                tally.ups.append(up)
                tally.downs.append(down)
            if stuck := [name for name, since in running.values() if time.monotonic() - since > HANG_SECONDS]:
                tally.wrong.append(f"{', '.join(stuck)}: hung for {HANG_SECONDS:g} s")
                for process in list((pool._processes or {}).values()):
                    process.kill()  # and each of its labs with it
                return


# -- cut connections ---------------------------------------------------------------------------------------------------


def talk(end: socket.socket) -> None:
    """A framed message and its answer. OSError where they don't come."""
    word = b"hello"
    end.sendall(len(word).to_bytes(2, "big") + word)
    answer = b""
    while len(answer) < 2 + len(word):
        data = end.recv(100)
        if not data:
            raise ConnectionError(f"the connection ended after {len(answer)} bytes of the answer")
        answer += data


def abort(end: socket.socket) -> None:
    """Close with a reset (socket(7), SO_LINGER)."""
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, pack("ii", 1, 0))
    end.close()


def cut(lab: Lab, where: tuple[str, int], number: int) -> None:
    """One connection that ends badly, in one of four ways by turns."""
    match number % 4:
        case 0:  # aborted at once
            abort(socket.create_connection(where, TALK_SECONDS))
        case 1:  # aborted in the middle
            end = socket.create_connection(where, TALK_SECONDS)
            talk(end)
            abort(end)
        case 2:  # ended with an answer unread
            end = socket.create_connection(where, TALK_SECONDS)
            end.sendall(b"\0\5hello")
            select.select([end], [], [], TALK_SECONDS)
            end.close()
        case _:  # reset on the way, both ends of it
            reset = lab.fault("client->tcp-server", Reset(nth=(1,)))
            with reset, socket.create_connection(where, TALK_SECONDS) as end, suppress(ConnectionError):
                talk(end)
                raise RuntimeError("the fault reset nothing")


def cuts(runtime: str, count: int, until: float, mark: str, tally: Tally) -> None:
    """So many cut connections through a published port, a whole one after each."""
    with TemporaryDirectory() as folder, marking(mark):
        lab = Lab.up(f"{mark}-cuts", runtime=runtime, nodes=PAIR, publish=PUBLISH, evidence=Path(folder), seed=1)
        with lab:
            host, _, port = lab.status()["published"][0]["address"].rpartition(":")
            for number in range(count):
                if time.monotonic() > until:
                    return
                try:
                    cut(lab, (host, int(port)), number)
                    with socket.create_connection((host, int(port)), TALK_SECONDS) as end:
                        talk(end)
                        talk(end)
                except (LabError, OSError, RuntimeError) as error:
                    tally.wrong.append(f"cut {number}, of kind {number % 4}: {error}")
                tally.cuts += 1


@contextmanager
def marking(mark: str) -> Iterator[None]:
    """Programs that are started meanwhile carry the mark in their environment; this one's own /proc entry does not."""
    os.environ[MARK] = mark
    try:
        yield
    finally:
        del os.environ[MARK]


# -- what is left ------------------------------------------------------------------------------------------------------


def marked(mark: str) -> set[int]:
    """The processes of labs."""
    wanted, found = f"{MARK}={mark}".encode(), set()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):
                if wanted in (folder / "environ").read_bytes().split(b"\0"):
                    found.add(int(folder.name))
    return found


def devices() -> set[str]:
    """Of this network namespace; what /sys shows may be another's (sysfs(5))."""
    return {name for _, name in socket.if_nameindex()}


def mounts() -> set[str]:
    """Namespaces that a mount keeps (namespaces(7)): no process needs to be in them."""
    return {line for line in Path("/proc/self/mountinfo").read_text().splitlines() if " - nsfs " in line}


def in_docker(mark: str) -> set[str]:
    """Containers, networks and volumes of labs of this mark."""
    client: Any = compose.engine()
    try:
        ours = {"label": HOLDER_LABEL}
        found = [*client.containers.list(all=True, filters=ours, ignore_removed=True)]
        found += [*client.networks.list(filters=ours), *client.volumes.list(filters=ours)]
        return {one.name for one in found if one.name.startswith(f"fault-lab-{mark}")}
    finally:
        client.close()


def left(runtime: str, mark: str, before: dict[str, set[Any]]) -> list[str]:
    """What is there that was not there before, once it has had its time to go."""
    deadline = time.monotonic() + GONE_SECONDS
    while True:
        found = {f"process {pid}" for pid in marked(mark)}
        found |= {f"device {name}" for name in devices() - before["devices"]}
        found |= {f"namespace {line}" for line in mounts() - before["mounts"]}
        found |= {f"control socket of lab {name}" for name in control.running() if name.startswith(mark)}
        if runtime == "compose":
            found |= in_docker(mark)
        if not found or time.monotonic() > deadline:
            return sorted(found)
        time.sleep(0.1)


@contextmanager
def busy(loops: int) -> Iterator[None]:
    """That many processes that do nothing but work. Each ends with this one, whatever ends it."""
    code = "import os, sys\nwhile os.getppid() == int(sys.argv[1]):\n for _ in range(10**6): pass"
    running = [subprocess.Popen([sys.executable, "-c", code, str(os.getpid())]) for _ in range(loops)]
    try:
        yield
    finally:
        for one in running:
            one.kill()
            one.wait()


# -- all of it ---------------------------------------------------------------------------------------------------------


def soak(runtime: str, count: int, count_cuts: int, until: float) -> bool:
    """One runtime; prints the figures. False where something went wrong."""
    mark, tally, began = f"soak-{os.getpid()}", Tally(), time.monotonic()
    with busy(LOOPS):
        before = {"devices": devices(), "mounts": mounts()}
        if count_cuts:
            cuts(runtime, count_cuts, until, mark, tally)
        if count:
            labs(runtime, count, until, mark, tally)
        tally.wrong += [f"left: {thing}" for thing in left(runtime, mark, before)]
    print(f"{runtime}: {tally.cuts} of {count_cuts} cuts, each followed by a whole connection")
    print(f"{runtime}: {len(tally.ups)} of {count} labs up and down in {time.monotonic() - began:.0f} s with all")
    for word, times in (("up", tally.ups), ("down", tally.downs)):
        if times:
            print(f"{runtime}: {word} p50 {statistics.median(times):.2f} s, longest {max(times):.2f} s")
    for one in tally.wrong:
        print(f"{runtime}: {one}")
    print(f"{runtime}: {'WRONG' if tally.wrong else 'no hang, nothing left'}", flush=True)
    return not tally.wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runtimes", nargs="*", help="netns, compose (default: both)")
    parser.add_argument("--part", type=float, default=float(os.environ.get("LAB_SOAK", "1")))
    parser.add_argument("--labs", type=int, help="in place of the part's")
    parser.add_argument("--cuts", type=int, help="in place of the part's")
    parser.add_argument(
        "--seconds", type=float, default=float("inf"), help="to start labs and cuts for; of each runtime"
    )
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    well = True
    for runtime in asked.runtimes or LABS:
        count = round(LABS[runtime] * asked.part) if asked.labs is None else asked.labs
        count_cuts = round(CUTS * asked.part) if asked.cuts is None else asked.cuts
        well &= soak(runtime, count, count_cuts, time.monotonic() + asked.seconds)
    sys.exit(not well)


if __name__ == "__main__":
    main()
