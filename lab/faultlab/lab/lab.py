"""`Lab`: a lab you can hold. The command line, the runner and your own tests all use this.

with Lab.up("mine") as lab:
    with lab.fault("client<->tcp-server", Loss(percent=5), Latency(delay_ms=20)):
        lab.exec("client", ["python3", "my_client.py", "tcp-server"])
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import product
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from faultlab.engines.registry import link_engine
from faultlab.engines.timetable import set_order
from faultlab.engines.toxiproxy import ToxiproxyEngine
from faultlab.errors import LabError, LabFailure, MissingCapability, Unwritten, UsageError, of_system
from faultlab.faults import Fault, check_composition, fault_from_json
from faultlab.network import standard_lab
from faultlab.network.plan import Guest
from faultlab.network.topology import Network, NetworkPath, parse_paths
from faultlab.runtimes import control
from faultlab.runtimes.compose import runtime as compose
from faultlab.runtimes.launch import Runtime, Standing, Wish
from faultlab.runtimes.netns import runtime as netns

RUNTIMES: dict[str, Runtime] = {"netns": netns, "compose": compose}
LAB_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,40}")
END = "end.json"
LONGEST_MS = 86_400_000.0
"""For which the engine itself can clear a fault: its loop waits for no more than 24 days (epoll_wait(2))."""
TRUSTED = "programs in nodes may do on this host what you may (--trust)"
DOWN_SECONDS = 20.0
FORCE_SECONDS = 30.0
"""What a supervisor that was told to end by force has for that, until it is killed."""
FINISH_SECONDS = 360.0
"""What taking a lab down may take, with the ledger of a long netem run inferred on the way."""


def quiet(_: str) -> None:
    """A progress listener that does not listen."""


class Lab:
    """A running lab, by its name. Make one with `up` (and use it in a `with` block) or `attach`."""

    def __init__(self, name: str, standing: Standing | None = None, runtime: str = "netns") -> None:
        self.name = name
        self._standing = standing
        self._buried_later = runtime == "compose"
        self.end: dict[str, Any] | None = None
        """After `down`: what the engine said last (stray frames, frames lost before the wire)."""

    # -- coming and going ----------------------------------------------------------------------------------------------

    @classmethod
    def up(
        cls,
        name: str = "lab",
        *,
        runtime: str = "netns",
        engine: str = "auto",
        seed: int | None = None,
        network: Network | None = None,
        nodes: Sequence[str] = standard_lab.NODES,
        evidence: Path | None = None,
        record: bool = True,
        publish: Sequence[standard_lab.Publish] = standard_lab.PUBLISHED,
        udp_mode: str = "ack",
        forced_drops: Path | None = None,
        guest: Guest | None = None,
        trust: bool = False,
        progress: Callable[[str], None] = quiet,
    ) -> Self:
        """Stand a lab up and wait until every server listens.

        Args:
            name: labs of different names run side by side.
            runtime: `netns`, `compose`, or `auto`: compose where a Docker engine answers and has our images.
            engine: `wire`, `netem`, or `auto` for the best there is.
            seed: of every random decision; random, and printed in `status()`, where None.
            network: the lab's own address block; where None, the usual one, or the first free one after it.
            evidence: folder for ledger, captures and journals; it must be empty, or not there yet
                (default: a new one under `runs/`). record: False for benchmarks: neither ledger nor captures.
            guest: a server of your own, in a node of its own beside `nodes`.
            trust: whether programs in nodes may see and do on this host what you may (docs/isolation.md).
            publish: which ports to relay on the host's 127.0.0.1 (compose publishes the standard ones, on ports of its
                own); with `faultlab.network.standard_lab.CONTROL` toxiproxy's API too, which every user of this host
                can then use. udp_mode: what the UDP server answers, `ack` or `echo`. forced_drops: drops to repeat
                (`lab replay`).

        Raises: UsageError, MissingCapability (with the fix), LabFailure, Unwritten; then nothing of the lab is left.
        """
        if not LAB_NAME.fullmatch(name):
            raise UsageError(f"lab name {name!r}: expected lower-case letters, digits and '-', at most 41")
        place, notes = pick_runtime(runtime)
        engine, why = _pick_engine(engine)
        if place.KERNEL_IS_OURS:
            link_engine(engine).check_host()
        if name in control.running():
            raise UsageError(f"a lab {name!r} is up already; use it, take it down, or choose another --name")
        folder = (evidence or new_folder(name)).resolve()
        _claim(folder)
        wish = Wish(
            name=name,
            engine=engine,
            seed=random.SystemRandom().randrange(1_000_000) if seed is None else seed,
            network=network,
            nodes=(*nodes, *([guest.node] if guest else [])),
            evidence=folder,
            record=record,
            publish=tuple(publish),
            udp_mode=udp_mode,
            forced_drops=forced_drops.resolve() if forced_drops else None,
            trust=trust,
            notes=(*notes, *why, *([TRUSTED] if trust else [])),
            guest=guest,
        )
        try:
            return cls(name, place.stand_up(wish, progress), place.NAME)
        except (LabError, OSError) as error:
            with suppress(OSError):  # it holds what the lab's processes said, where there were any
                (folder / "log").rmdir()
            if isinstance(error, OSError):
                raise of_system(error, folder) from error
            raise

    @classmethod
    def attach(cls, name: str = "lab") -> Lab:
        """A lab that is up already. UsageError where none of this name is."""
        control.ask(name, {"do": "status"})
        return cls(name)

    def keep(self) -> None:
        """Let the lab outlive this process; without this it ends with it, however that ends."""
        if self._standing is not None:
            self._standing.keep()
            self._standing = None

    def down(self) -> dict[str, Any]:
        """Drain the servers, put the evidence on disk, end everything. Returns once nothing is left."""
        if self.end is None:
            pid = self.status()["supervisor_pid"]
            answer, _ = control.ask(self.name, {"do": "down"}, FINISH_SECONDS)
            self.end = answer["end"]
            _await_end(pid, self.name)
        return self.end

    def down_by_force(self) -> Path | None:
        """End a lab whose supervisor may not answer; returns the folder of its evidence, where that is known.

        A supervisor that is stopped is let go on and told to end (SIGTERM), so that all evidence is kept. One that does
        not end so is killed: then there is the evidence that was on disk, and in Compose what the hub has.
        """
        folder = None
        with ExitStack() as opened:
            held = [(pid, os.pidfd_open(pid)) for pid in control.holders(self.name)]
            for pid, fd in held:
                opened.callback(os.close, fd)
                folder = _evidence_of(pid) or folder
            for signals in ((signal.SIGTERM, signal.SIGCONT), (signal.SIGKILL,)):
                for number, (_, fd) in product(signals, held):
                    with suppress(ProcessLookupError):
                        signal.pidfd_send_signal(fd, number)
                deadline = time.monotonic() + FORCE_SECONDS
                while not self.is_gone() and time.monotonic() < deadline:
                    time.sleep(0.02)
        if not self.is_gone():
            raise LabFailure(f"lab {self.name!r} can't be ended: who holds it is another user's process")
        sweep()
        return folder

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if not self.is_gone():
                self.down()
        except LabError:
            if not self.ends_by_itself():
                raise
        finally:
            if self._standing is not None:
                self._standing.lifeline.close()

    def ends_by_itself(self) -> bool:
        """Whether the lab has ended or is about to, unasked; then it returns once nothing of it answers any more."""
        try:
            self.status()
            return False
        except LabError:
            pass  # it has no answer: it ends
        deadline = time.monotonic() + DOWN_SECONDS
        while not self.is_gone() and time.monotonic() < deadline:
            time.sleep(0.02)
        return self.is_gone()

    def is_gone(self) -> bool:
        """Whether this lab has ended, by itself or because it was killed."""
        return self.name not in control.running()

    def why_gone(self, evidence: Path) -> str:
        """The reason that a lab which ended by itself left with its evidence; waits for it, but not for ever."""
        return str(self._end_word(evidence)["reason"])

    def part_gone(self, evidence: Path) -> str | None:
        """Which part of it ended and took the lab with it: a service, a sidecar; None where it was none of those."""
        return self._end_word(evidence).get("part")

    def _end_word(self, evidence: Path) -> dict[str, Any]:
        deadline = time.monotonic() + DOWN_SECONDS
        while not (evidence / END).exists() and self._buried_later and time.monotonic() < deadline:
            time.sleep(0.05)
        return end_word(evidence)

    # -- looking -------------------------------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """Name, runtime, engine, seed, supervisor_pid, nodes with addresses, services, ports, faults, evidence."""
        return control.ask(self.name, {"do": "status"})[0]

    @property
    def evidence(self) -> Path:
        """The folder of this lab's ledger, captures and journals."""
        return Path(self.status()["evidence"])

    def python(self) -> tuple[str, ...]:
        """How a program of the lab's own starts in a node: with its Python, whatever `python` means to the user."""
        return RUNTIMES[self.status()["runtime"]].PYTHON

    # -- commands ------------------------------------------------------------------------------------------------------

    def popen(self, node: str, argv: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start a command in a node; `options` are subprocess.Popen's. It ends with the lab, or with this process."""
        return RUNTIMES[self.status()["runtime"]].popen(self.name, node, argv, **options)

    def exec(
        self,
        node: str,
        argv: Sequence[str],
        *,
        input: str | bytes | None = None,
        capture_output: bool = False,
        timeout: float | None = None,
        check: bool = False,
        **options: Any,
    ) -> subprocess.CompletedProcess[Any]:
        """Run a command in a node to its end, with the options of subprocess.run; `timeout` is in seconds.

        A death by signal N is exit status 128 + N, as in a shell.
        Raises: subprocess.TimeoutExpired, when the command is gone; with `check`, subprocess.CalledProcessError.
        """
        if capture_output:
            if not options.keys().isdisjoint({"stdout", "stderr"}):
                raise ValueError("capture_output catches stdout and stderr; expected none of these two beside it")
            options |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        if input is not None:
            options["stdin"] = subprocess.PIPE
        process = self.popen(node, argv, **options)
        try:
            out, err = process.communicate(input, timeout)
        except subprocess.TimeoutExpired:
            process.kill()  # the command ends with its stand-in
            process.wait()
            raise
        except BaseException:
            process.send_signal(signal.SIGTERM)
            process.wait()
            raise
        done = subprocess.CompletedProcess(list(argv), process.returncode, out, err)
        if check:
            done.check_returncode()
        return done

    def toxiproxy(self) -> ToxiproxyEngine:
        """The lab's toxiproxy. MissingCapability where this host has no toxiproxy server."""
        if "toxiproxy" not in self.status()["services"]:
            raise MissingCapability("toxiproxy", f"lab {self.name!r} has no toxiproxy", standard_lab.TOXIPROXY_HINT)

        def ask(method: str, path: str, body: Any) -> dict[str, Any]:
            return control.ask(self.name, {"do": "toxiproxy", "method": method, "path": path, "body": body})[0]

        return ToxiproxyEngine(ask, self)

    def toxics(self) -> dict[str, list[dict[str, Any]]]:
        """What acts at each proxy now, by `toxiproxy:PORT`; also what was set past the lab, by toxiproxy's own API.

        Each has `describe`, in words. Where toxiproxy gives no answer, such as in a lab that ends, that stands there.
        """
        try:
            return self.toxiproxy().standing()
        except MissingCapability:
            return {}
        except LabFailure as error:
            return {"toxiproxy": [{"describe": f"toxics not known: {error}"}]}

    def now(self) -> int:
        """The time on the engine's clock, in monotonic ns: that of the ledger and the journals."""
        return int(control.ask(self.name, {"do": "show"})[0]["t"])

    def packets(self) -> int:
        """How many packets the engine has seen since the lab came up."""
        return int(control.ask(self.name, {"do": "show"})[0]["packets"])

    def flush(self) -> dict[str, Any]:
        """Put on disk what the engine has recorded so far, which it else does when it comes to rest.

        Returns `t`, `faults`, `packets` and `waiting` of that moment, and as `written` how many bytes of each evidence
        file are there, in whole records; engine netem adds its qdiscs' `counters` of each path.
        """
        return control.ask(self.name, {"do": "flush"})[0]

    def await_quiet(self, quiet_ms: float = 30.0, seconds: float = 3.0) -> None:
        """Until nothing waits on the wire and no packet came for `quiet_ms`, or `seconds` are over."""
        deadline, since, last = time.monotonic() + seconds, time.monotonic(), None
        while time.monotonic() < min(deadline, since + quiet_ms / 1e3):
            shown = control.ask(self.name, {"do": "show"})[0]
            now = (shown["packets"], shown["waiting"])
            if now != last or shown["waiting"]:
                last, since = now, time.monotonic()
            time.sleep(0.005)

    # -- faults --------------------------------------------------------------------------------------------------------

    def set_faults(
        self,
        path: str,
        *faults: Fault,
        for_ms: float | None = None,
        later: Sequence[tuple[float, Sequence[Fault]]] = (),
    ) -> None:
        """Make `faults` all that is on the path (`a->b`, or `a<->b` for both ways); none clears it.

        With `for_ms`, at most a day, the engine itself clears the path after that time, whatever becomes of this
        process. `later` is what it makes of the path at which time, in ms from the next packet that any node sends.
        LabFailure where the engine's answer shows anything else on the path than what was asked.
        """
        for step in (faults, *(faults_then for _, faults_then in later)):
            check_composition(step)
        if for_ms is not None and not 0 <= for_ms <= LONGEST_MS:
            raise UsageError(f"faults for {for_ms:g}ms: expected 0ms to {LONGEST_MS:g}ms (a day)")
        for one in self._paths(path):
            answer = control.ask(self.name, set_order(str(one), faults, for_ms, later))[0]
            shown = [fault_from_json(fault) for fault in answer["faults"].get(str(one), ())]
            if sorted(map(repr, shown)) != sorted(map(repr, faults)):
                asked, there = (", ".join(fault.describe() for fault in some) or "nothing" for some in (faults, shown))
                raise LabFailure(f"{one}: {asked} was asked for, and the engine says that {there} stands there")

    def faults(self) -> dict[str, tuple[Fault, ...]]:
        """What is on each faulted path now, as the engine says."""
        shown = control.ask(self.name, {"do": "show"})[0]["faults"]
        return {path: tuple(fault_from_json(one) for one in faults) for path, faults in shown.items()}

    def clear_faults(self, path: str | None = None) -> None:
        """Clear one path, or all of them."""
        for name in self.faults() if path is None else [str(one) for one in self._paths(path)]:
            self.set_faults(name)

    @contextmanager
    def fault(self, path: str, *faults: Fault) -> Iterator[None]:
        """These faults, besides what is on the path already, exactly as long as the block."""
        paths = [str(one) for one in self._paths(path)]
        placed = []
        try:
            for name in paths:
                self.set_faults(name, *self.faults().get(name, ()), *faults)
                placed.append(name)
            yield
        finally:
            if self.name in control.running():
                for name in placed:
                    self.set_faults(name, *_without(self.faults().get(name, ()), faults))

    def note(self, kind: str, **fields: object) -> None:
        """Write a remark into the ledger, with the time."""
        control.ask(self.name, {"do": "note", "note": kind, "fields": fields})

    def _paths(self, text: str) -> tuple[NetworkPath, ...]:
        return parse_paths(text, tuple(self.status()["nodes"]))


def _without(all_faults: Sequence[Fault], gone: Sequence[Fault]) -> list[Fault]:
    left = list(all_faults)
    for fault in gone:
        if fault in left:
            left.remove(fault)
    return left


def end_word(evidence: Path) -> dict[str, Any]:
    """Why a lab ended (`reason`) and which part of it ended first (`part`), as it left it with its evidence."""
    file = evidence / END
    try:
        return dict(json.loads(file.read_text()))
    except FileNotFoundError:
        return {"reason": "the lab's supervisor was killed"}
    except ValueError:  # the disk was full, or the supervisor was killed meanwhile
        room = "" if shutil.disk_usage(evidence).free else f": no space left in {evidence}"
        return {"reason": f"the lab ended, and {END} does not say why{room}"}


def sweep() -> list[str]:
    """Remove what Compose labs of this host left whose every process was killed; returns their projects' names."""
    try:
        with compose.talking() as client:
            return compose.sweep(client)
    except MissingCapability:
        return []  # no engine, nothing of it here


def pick_runtime(name: str) -> tuple[Runtime, tuple[str, ...]]:
    """The runtime of this name, tried, and what to tell its user; `auto` says why it is not compose where it is not."""
    if name == "auto":
        try:
            compose.check_host()
        except MissingCapability as error:
            netns.check_host()
            return netns, (f"runtime netns, because {error.what} (for compose: {error.fix})",)
        return compose, ("runtime compose, because a Docker engine answers and has the lab's images",)
    if name not in RUNTIMES:
        raise UsageError(f"no runtime {name!r}; the runtimes are auto, {', '.join(RUNTIMES)}")
    RUNTIMES[name].check_host()
    return RUNTIMES[name], ()


def _pick_engine(name: str) -> tuple[str, tuple[str, ...]]:
    """`auto` is the wire, on either runtime."""
    if name == "auto":
        return "wire", ("engine wire: it works on every kernel and keeps a ledger of its own",)
    link_engine(name)
    return name, ()


def new_folder(name: str, root: Path | None = None) -> Path:
    """A new evidence folder under `runs/`, named after the lab and the time."""
    root = root or Path("runs")
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for number in range(1000):
        folder = root / (f"{name}-{stamp}" + (f"-{number}" if number else ""))
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise _no_folder(folder, error) from error
        return folder
    raise LabFailure(f"no free folder name under {root} for {name}-{stamp}")


def _claim(folder: Path) -> None:
    """Make an evidence folder this lab's own. UsageError where it holds anything: no evidence is ever overwritten."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise UsageError(f"evidence folder {folder}: it is not empty; expected a new or empty one with --out DIR")
        (folder / "log").mkdir()  # of two labs that come at the same moment only one can
    except OSError as error:
        raise _no_folder(folder, error) from error


def _no_folder(folder: Path, error: OSError) -> LabError:
    full = of_system(error, folder)
    return (
        full
        if isinstance(full, Unwritten)
        else UsageError(f"evidence folder {folder}: {error.strerror}; choose another with --out DIR")
    )


def _await_end(pid: int, name: str) -> None:
    """Until the supervisor, and with it all of the lab, is gone. A zombie may have a thread that still ends."""
    deadline = time.monotonic() + DOWN_SECONDS
    while (Path(f"/proc/{pid}").exists() and not _is_zombie(pid)) or name in control.running():
        if time.monotonic() > deadline:
            raise LabFailure(f"lab {name!r}: its supervisor (process {pid}) did not end within {DOWN_SECONDS:g} s")
        time.sleep(0.002)


def _evidence_of(pid: int) -> Path | None:
    """The folder in which a supervisor writes its own output: its standard error says so when nothing else answers."""
    try:
        log = Path(f"/proc/{pid}/fd/2").readlink()
    except OSError:
        return None
    return log.parent if log.name == "supervisor.txt" else None


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True
