"""`Lab`: a lab you can hold. The command line, the runner and your own tests all use this.

with Lab.up("mine") as lab:
    with lab.fault("client<->tcp-server", Loss(percent=5), Latency(delay_ms=20)):
        lab.exec("client", ["python3", "my_client.py", "tcp-server"])
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path as FilePath
from types import TracebackType
from typing import Any

from lab import control, stack
from lab.engines.base import link_engine
from lab.engines.toxiproxy import ToxiproxyEngine
from lab.errors import LabFailure, MissingCapability, UsageError
from lab.faults import Fault, check_composition, fault_from_json, fault_to_json
from lab.runtimes import netns
from lab.runtimes.base import Plan
from lab.topology import Network, Path, parse_paths

LAB_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,40}")
DOWN_SECONDS = 10.0


def quiet(_: str) -> None:
    """A progress listener that does not listen."""


class Lab:
    """A running lab, by its name. Make one with `up` (and use it in a `with` block) or `attach`."""

    def __init__(self, name: str, standing: netns.Standing | None = None) -> None:
        self.name = name
        self._standing = standing
        self.end: dict[str, Any] | None = None
        """After `down`: what the engine said last (stray frames, frames lost before the wire)."""

    # -- coming and going ----------------------------------------------------------------------------------------------

    @classmethod
    def up(
        cls,
        name: str = "lab",
        *,
        engine: str = "auto",
        seed: int | None = None,
        network: Network | None = None,
        nodes: Sequence[str] = stack.NODES,
        evidence: FilePath | None = None,
        record: bool = True,
        publish: Sequence[stack.Publish] = stack.PUBLISHED,
        udp_mode: str = "ack",
        forced_drops: FilePath | None = None,
        progress: Callable[[str], None] = quiet,
    ) -> Lab:
        """Stand a lab up and wait until every server listens.

        Args:
            name: labs of different names run side by side.
            engine: `wire`, `netem`, or `auto` for the best this host has.
            seed: of every random decision; random, and printed in `status()`, where None.
            network: the lab's own address block. evidence: folder for ledger, captures and journals
                (default: a new one under `runs/`). record: False for benchmarks: neither ledger nor captures.
            publish: which ports to relay on the host's 127.0.0.1.
            udp_mode: what the UDP server answers, `ack` or `echo`. forced_drops: drops to repeat (`lab replay`).

        Raises: UsageError, MissingCapability (with the fix), LabFailure; then nothing of the lab is left.
        """
        if not LAB_NAME.fullmatch(name):
            raise UsageError(f"lab name {name!r}: expected lower-case letters, digits and '-', at most 41")
        network = network if network is not None else Network()
        hosts = network.nodes(nodes)
        netns.check_network(network)
        netns.check_host()
        engine = _pick(engine)
        link_engine(engine).check_host()
        if name in control.running():
            raise UsageError(f"a lab {name!r} is up already; use it, take it down, or choose another --name")
        seed = random.SystemRandom().randrange(1_000_000) if seed is None else seed
        folder = (evidence or new_folder(name)).resolve()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _no_folder(folder, error) from error
        services = stack.services(hosts, folder, seed, udp_mode)
        notes = () if stack.find_toxiproxy() or "toxiproxy" not in nodes else (_NO_TOXIPROXY,)
        running = {service.node for service in services}
        wishes = [one for one in publish if (one[3] if one[3] != "localhost" else one[2]) in running]
        publications, sockets = netns.publish(wishes, hosts)
        resolver = next((node.ipv4 for node in hosts if node.name == "dns-server"), None)
        plan = Plan(
            name=name,
            engine=engine,
            seed=seed,
            nodes=hosts,
            ipv4_prefix=network.ipv4.prefixlen,
            ipv6_prefix=network.ipv6.prefixlen,
            services=services,
            publications=tuple(publications),
            control=-1,
            lifeline=-1,
            evidence=str(folder),
            record=record,
            resolver=resolver,
            forced_drops=str(forced_drops.resolve()) if forced_drops else None,
            notes=notes,
        )
        try:
            return cls(name, netns.stand_up(plan, sockets, progress))
        finally:
            for one in sockets:
                one.close()

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
            answer, _ = control.ask(self.name, {"do": "down"})
            self.end = answer["end"]
            _await_end(pid, self.name)
        return self.end

    def __enter__(self) -> Lab:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self.name in control.running():
                self.down()
        finally:
            if self._standing is not None:
                self._standing.lifeline.close()

    # -- looking -------------------------------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """Name, runtime, engine, seed, supervisor_pid, nodes with addresses, services, ports, faults, evidence."""
        return control.ask(self.name, {"do": "status"})[0]

    @property
    def evidence(self) -> FilePath:
        """The folder of this lab's ledger, captures and journals."""
        return FilePath(self.status()["evidence"])

    # -- commands ------------------------------------------------------------------------------------------------------

    def popen(self, node: str, argv: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start a command in a node; `options` are subprocess.Popen's. It ends with the lab, or with this process.

        The folder of this Python comes first on its PATH, so that `python -m services` is the lab's own.
        """
        env = dict(options.pop("env", None) or os.environ)
        env["PATH"] = os.pathsep.join((str(FilePath(sys.executable).parent), env.get("PATH", os.defpath)))
        return netns.popen(self.name, node, argv, env=env, **options)

    def exec(self, node: str, argv: Sequence[str], **options: Any) -> subprocess.CompletedProcess[Any]:
        """Run a command in a node to its end; a death by signal N is exit status 128 + N, as in a shell."""
        process = self.popen(node, argv, **options)
        try:
            out, err = process.communicate()
        except BaseException:
            process.send_signal(signal.SIGTERM)
            process.wait()
            raise
        return subprocess.CompletedProcess(list(argv), process.returncode, out, err)

    def toxiproxy(self) -> ToxiproxyEngine:
        """The lab's toxiproxy, through its relayed API. MissingCapability where this host has no toxiproxy server."""
        for one in self.status()["published"]:
            if one["via"] == "toxiproxy":
                host, _, port = one["address"].rpartition(":")
                return ToxiproxyEngine(host, int(port))
        raise MissingCapability("toxiproxy", f"lab {self.name!r} has no toxiproxy", stack.TOXIPROXY_HINT)

    def packets(self) -> int:
        """How many packets the engine has seen since the lab came up."""
        return int(control.ask(self.name, {"do": "show"})[0]["packets"])

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

    def set_faults(self, path: str, *faults: Fault, for_ms: float | None = None) -> None:
        """Make `faults` all that is on the path (`a->b`, or `a<->b` for both ways); none clears it.

        With `for_ms` the engine itself clears the path after that time, whatever becomes of this process.
        """
        check_composition(faults)
        for one in self._paths(path):
            order = {"do": "set", "path": str(one), "faults": [fault_to_json(fault) for fault in faults]}
            control.ask(self.name, order if for_ms is None else {**order, "for_ms": for_ms})

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

    def _paths(self, text: str) -> tuple[Path, ...]:
        return parse_paths(text, tuple(self.status()["nodes"]))


_NO_TOXIPROXY = f"no toxiproxy server found, so the lab is up without it; {stack.TOXIPROXY_HINT}"


def _without(all_faults: Sequence[Fault], gone: Sequence[Fault]) -> list[Fault]:
    left = list(all_faults)
    for fault in gone:
        if fault in left:
            left.remove(fault)
    return left


def _pick(engine: str) -> str:
    """`auto` in namespaces is the wire: it works on every kernel and keeps a true ledger."""
    return "wire" if engine == "auto" else engine


def new_folder(name: str, root: FilePath | None = None) -> FilePath:
    """A new evidence folder under `runs/`, named after the lab and the time."""
    root = root or FilePath("runs")
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


def _no_folder(folder: FilePath, error: OSError) -> UsageError:
    return UsageError(f"evidence folder {folder}: {error.strerror}; choose another with --out DIR")


def _await_end(pid: int, name: str) -> None:
    """Until the supervisor, and with it all of the lab, is gone."""
    deadline = time.monotonic() + DOWN_SECONDS
    while FilePath(f"/proc/{pid}").exists() and not _is_zombie(pid):
        if time.monotonic() > deadline:
            raise LabFailure(f"lab {name!r}: its supervisor (process {pid}) did not end within {DOWN_SECONDS:g} s")
        time.sleep(0.002)


def _is_zombie(pid: int) -> bool:
    try:
        return FilePath(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True
