"""The netem process: sees every frame, carries out orders on the qdiscs, ends faults whose time is over.

Forked by the supervisor into the namespace of the bridge. The orders are the wire's.
"""

from __future__ import annotations

import errno
import json
import select
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

from faultlab.engines.netem.finish import Run, Timeline, finish
from faultlab.engines.netem.inference import Setting
from faultlab.engines.netem.live import Live
from faultlab.engines.netem.qdiscs import Qdiscs
from faultlab.engines.netem.sniffer import Sniffer
from faultlab.engines.netem.switch import port
from faultlab.engines.netem.translate import translate
from faultlab.engines.timetable import Timetable
from faultlab.engines.worker import obey
from faultlab.errors import UsageError
from faultlab.faults import Fault, check_composition, fault_to_json
from faultlab.network.topology import Node, PathEnds

BATCH = 256
QUIET_TRIES = 20
_clock = time.monotonic_ns


class Process:
    """Runs until told to stop. `live` and `sniffer` are None where nothing is recorded."""

    def __init__(
        self, nodes: Sequence[Node], seed: int, control: socket.socket, live: Live | None, sniffer: Sniffer | None
    ) -> None:
        names = [node.name for node in nodes]
        self._ends: dict[str, PathEnds] = {
            f"{a}->{b}": (source, target)
            for source, a in enumerate(names)
            for target, b in enumerate(names)
            if source != target
        }
        self._seed = seed
        self._control = control
        self._live = live
        self._sniffer = sniffer
        self._qdiscs = Qdiscs(nodes)
        self._timeline = Timeline()
        self._active: dict[str, dict[str, Fault]] = {}
        self._timetable = Timetable()
        self._faults = 0
        self._stopping = False
        self._told_about_seed = False

    def run(self) -> None:
        poller = select.epoll()
        poller.register(self._control, select.EPOLLIN)
        if self._sniffer is not None:
            poller.register(self._sniffer, select.EPOLLIN)
        while not self._stopping:
            ready = [fd for fd, _ in poller.poll(0)]
            if not ready:
                self._flush()
                ready = [fd for fd, _ in poller.poll(self._seconds_to_change())]
            if self._control.fileno() in ready and not obey(self._control, self._carry_out):
                self._stopping = True
            self._look()
            now = _clock()
            if self._timetable.begins(self._sent(), now):
                self._note("began", now)
            self._change_what_is_due(now)
        self._flush()

    def _look(self) -> int:
        """Write down what the sniffer has; returns how many frames that was."""
        if self._sniffer is None or self._live is None:
            return 0
        count = 0
        for sighting in self._sniffer.read(BATCH):
            self._live.see(sighting)
            count += 1
        return count

    def _drain(self) -> None:
        while self._look():
            pass

    def _flush(self) -> None:
        if self._live is not None:
            self._live.flush()

    def _seconds_to_change(self) -> float | None:
        if self._timetable.next is None:
            return None
        return max(0.0, (self._timetable.next - _clock()) / 1e9)

    def _change_what_is_due(self, now: int) -> None:
        for path, faults in self._timetable.due(now):
            try:
                self._set(path, faults)
            except UsageError as error:
                self._note("warning", _clock(), text=str(error))

    # -- orders --------------------------------------------------------------------------------------------------------

    def _carry_out(self, order: Mapping[str, Any]) -> dict[str, object]:
        match order["do"]:
            case "set":
                self._set(order["path"], self._timetable.follow(order, self._sent()))
                self._timetable.is_set(order, _clock())
                return {"t": _clock(), "faults": self._shown()}
            case "show":
                return {"t": _clock(), "faults": self._shown(), **self._traffic()}
            case "flush":
                traffic = self._traffic()
                self._flush()
                written = {} if self._live is None else self._live.written
                return {
                    "t": _clock(),
                    "faults": self._shown(),
                    **traffic,
                    "written": written,
                    "counters": self._counted(),
                }
            case "note":
                self._note(order["note"], _clock(), **order["fields"])
                return {"t": _clock()}
            case "stop":
                self._stopping = True
                return {"strays": self._finish(), "refused": 0}
        raise ValueError(f"no such order: {order['do']}")

    def _shown(self) -> dict[str, list[dict[str, Any]]]:
        return {
            path: [{**fault_to_json(fault), "describe": fault.describe()} for fault in faults.values()]
            for path, faults in self._active.items()
            if faults
        }

    def _traffic(self) -> dict[str, int]:
        """Frames seen from their senders so far (0 where nothing is recorded), and packets in the qdiscs now."""
        self._drain()
        waiting = sum(counted.waiting for counted in self._qdiscs.counters().values())
        return {"packets": self._sent(), "waiting": waiting}

    def _sent(self) -> int:
        return self._live.sent if self._live is not None else 0

    def _counted(self) -> dict[str, dict[str, int]]:
        """What the qdiscs counted on each path that had faults: packets let go, dropped and waiting."""
        names = {ends: path for path, ends in self._ends.items()}
        return {names[ends]: vars(counted) for ends, counted in self._qdiscs.counters().items()}

    def _set(self, path: str, faults: Sequence[Fault]) -> None:
        """Make `faults` all that is on the path. UsageError where netem can't; then nothing changes."""
        check_composition(faults)
        netem = translate(path, faults)
        ends = self._ends[path]
        first = _clock()
        if faults:
            self._place(path, netem.encode(self._seed_of(path)))
        else:
            self._qdiscs.clear(ends)
        last = _clock()
        self._exchange(path, faults, first, last)
        reasons = {fault.kind: (name, fault.describe()) for name, fault in self._active[path].items()}
        self._timeline.change(ends, first, last, Setting(netem, reasons))
        if faults and not self._told_about_seed:
            self._tell_about_seed(ends, last)

    def _place(self, path: str, options: bytes) -> None:
        try:
            self._qdiscs.set(self._ends[path], options)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            raise UsageError(
                f"engine netem: this kernel refuses these faults on {path} (since 6.16 some kernels let a netem that "
                "duplicates have no other beside it towards the same node); clear the other path, or use --engine wire"
            ) from error

    def _exchange(self, path: str, faults: Sequence[Fault], first: int, last: int) -> None:
        """Note which faults came and went; one that stays keeps its id."""
        old = self._active.get(path, {})
        stays = {name: fault for name, fault in old.items() if fault in faults}
        for name in old.keys() - stays.keys():
            self._note("fault-cleared", last, id=name, path=path)
        for fault in faults:
            if fault not in stays.values():
                self._faults += 1
                name = f"f{self._faults}"
                stays[name] = fault
                words: dict[str, Any] = {"fault": fault.kind, "describe": fault.describe()}
                words |= {"leaves": sorted(fault.leaves), "asked": fault_to_json(fault)}
                self._note("fault-set", first, id=name, path=path, reorders=fault.reorders, **words)
        self._active[path] = stays

    def _seed_of(self, path: str) -> int:
        return int.from_bytes(blake2b(f"{self._seed}\0{path}".encode(), digest_size=8).digest(), "little")

    def _tell_about_seed(self, ends: PathEnds, now: int) -> None:
        self._told_about_seed = True
        if self._qdiscs.seeded(ends):
            text = (
                "netem is seeded: the same packets in the same order meet the same fate, but for which bit is flipped"
            )
        else:
            text = "this kernel's netem takes no seed (before 6.6), so its random decisions can't be had again"
        self._note("seed", now, text=text, seeded=self._qdiscs.seeded(ends))

    def _note(self, kind: str, t: int, **fields: object) -> None:
        if self._live is not None:
            self._live.note(kind, t, **fields)
            self._live.flush()

    # -- the end -------------------------------------------------------------------------------------------------------

    def _finish(self) -> int:
        if self._live is None or self._sniffer is None:
            return 0
        counters = self._qdiscs.counters()
        for _ in range(QUIET_TRIES):
            self._drain()
            before, counters = counters, self._qdiscs.counters()
            if before == counters:
                break
        return finish(Run(self._live, self._timeline, counters, self._sniffer.lost))


def main(config: Mapping[str, Any]) -> None:
    """Record and obey until the control channel says stop, or its other end is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    nodes = [Node(**fields) for fields in config["nodes"]]
    sniffer = live = None
    if config["evidence"] is not None:
        sniffer = Sniffer()
        devices = [socket.if_nametoindex(port(number)) for number in range(len(nodes))]
        header = {"seed": config["seed"], "engine": "netem", "lab": config["lab"], "inferred": True}
        live = Live(Path(config["evidence"]), nodes, devices, header)
    control = socket.socket(fileno=config["control"])
    process = Process(nodes, config["seed"], control, live, sniffer)
    control.send(json.dumps({"ready": True}).encode())
    process.run()
