"""The wire's I/O: TAP devices on one side, the core on the other, and a control channel.

A process of its own, which the supervisor forks. The loop reads frames in
batches, hands them to the core with the time, writes what comes out, and sleeps until the next deadline: with
microsecond `select`, then awake for the last stretch, because a sleeping process is woken late. Between two looks at
its devices it asks for the time once: in a User-Mode Linux guest that alone takes 50 us.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from faultlab.engines.recorder import FileRecorder
from faultlab.engines.timetable import Timetable
from faultlab.engines.transit import Out
from faultlab.engines.wire.core import Core
from faultlab.engines.wire.gaps import HEARTBEAT_NS, GapWatch
from faultlab.engines.wire.lateness import Lateness
from faultlab.engines.wire.reaction import reaction_ns
from faultlab.engines.wire.stages import Recorded
from faultlab.engines.worker import obey
from faultlab.faults import Fault, fault_to_json
from faultlab.kernel.node_device import QUEUE
from faultlab.kernel.syscalls import sharp_timers
from faultlab.network.sendings import RecordedFate, Sending
from faultlab.network.topology import Node

BATCH = 64
"""Frames read from one device before the others and the deadlines have their turn."""
FRAME_ROOM = 65_600
FIRST = -20
_LONG = 3_600_000_000_000
_clock = time.monotonic_ns


class Loop:
    """Runs the core until told to stop. `taps` are non-blocking TAP descriptors, in the order of the core's nodes;
    `reaction` is how many ns the loop takes to notice a frame."""

    def __init__(
        self, core: Core, taps: Sequence[int], control: socket.socket, recorder: FileRecorder | None, reaction: int = 0
    ) -> None:
        self._core = core
        self._taps = list(taps)
        self._control = control
        self._recorder = recorder
        self._stopping = False
        self._refused = 0
        self._timetable = Timetable()
        self._now = 0
        """The core's time never goes back."""
        self._lateness = Lateness()
        self._reaction = reaction
        self._node_of = {fd: number for number, fd in enumerate(taps)}
        self._gaps = GapWatch(self._note_gap, _clock(), QUEUE // BATCH)

    def run(self) -> None:
        poller = select.epoll()
        for fd in (*self._taps, self._control.fileno()):
            poller.register(fd, select.EPOLLIN)
        gaps = self._gaps
        while not self._stopping:
            woken = self._wait(poller)
            gaps.look(woken)
            ready = poller.poll(0)
            for fd, _ in ready:
                if fd in self._node_of:
                    self._read(fd, woken)
                elif not obey(self._control, self._carry_out):
                    self._stopping = True
            if self._timetable.begins(self._core.packets, woken) and self._recorder is not None:
                self._recorder.note("began", t=woken)
            self._release(_clock() if ready else woken)

    def _wait(self, poller: select.epoll) -> int:
        """Until a frame, an order, the next deadline or heartbeat; evidence goes to disk before any real sleep.

        Returns the time: where something woke the loop, that at which it came.
        """
        deadline, now = self._next_deadline(), _clock()
        self._gaps.mind(now)
        due = (now + _LONG if deadline is None else deadline) - self._lateness.lead
        ahead = due - self._lateness.awake - now
        if ahead <= 0 or (ahead > 1_000_000 and (poller.poll(0) or self._flush())):
            return now
        nap = min(ahead, HEARTBEAT_NS)
        came = select.select((poller,), (), (), nap / 1e9)[0]
        woken = _clock()
        self._gaps.slept(now, woken, nap)
        if came:
            return woken - self._reaction
        if nap == ahead:
            self._lateness.woke(woken - due)
        return woken

    def _next_deadline(self) -> int | None:
        deadline = self._core.deadline
        change = self._timetable.next
        if change is None or deadline is None:
            return deadline if change is None else change
        return min(deadline, change)

    def _read(self, fd: int, woken: int) -> None:
        """A frame came before it was read: the first at `woken` at the latest, each other one before its own read."""
        core, node, read, write = self._core, self._node_of[fd], os.read, self._write
        now = began = max(woken, self._now)
        for _ in range(BATCH):
            try:
                frame = read(fd, FRAME_ROOM)
            except BlockingIOError:
                if self._gaps.queues:
                    self._gaps.emptied(node, now)
                break
            for out in core.receive(node, frame, now):
                write(out)
            deadline = core.deadline
            if deadline is not None and deadline <= now:
                self._release(now)
            now = max(self._now, _clock())
        else:
            self._gaps.left_over(node, began, now)
        self._now = now

    def _release(self, now: int) -> None:
        """A frame leaves in the middle of its write, so the write starts earlier: by the lead that leaves half late."""
        deadline = self._core.deadline
        if deadline is not None and deadline <= now + self._lateness.lead:
            self._now = max(self._now, now, deadline)
            left = None
            for out in self._core.release(self._now):
                self._write(out)
                if left is None:
                    left = (now + _clock()) // 2
            if left is not None:
                self._lateness.left(left - deadline)
        change = self._timetable.next
        if change is not None and change <= now:
            for path, faults in self._timetable.due(now):
                self._set(path, faults)

    def _set(self, path: str, faults: Sequence[Fault]) -> None:
        now = self._now = max(self._now, _clock())
        for out in self._core.set_faults(path, faults, now):
            self._write(out)

    def _write(self, out: Out) -> None:
        target, frame = out
        try:
            os.write(self._taps[target], frame)
        except OSError as error:
            self._refused += 1
            if self._recorder is not None and self._refused <= 100:
                self._recorder.note("refused", node=target, error=str(error), t=_clock(), size=len(frame))

    def _flush(self) -> bool:
        """Returns whether there was anything to write, which takes its time."""
        return self._recorder is not None and self._recorder.flush()

    def _note_gap(self, since: int, until: int, node: int | None) -> None:
        if self._recorder is not None:
            named = {} if node is None else {"node": self._core.nodes[node].name}
            self._recorder.note("gap", t=since, until=until, **named)

    def _carry_out(self, order: Mapping[str, Any]) -> dict[str, object]:
        match order["do"]:
            case "set":
                self._set(order["path"], self._timetable.follow(order, self._core.packets))
                self._timetable.is_set(order, _clock())
                self._flush()
                return {"t": _clock(), "faults": self._shown()}
            case "show":
                return self._state()
            case "flush":
                self._flush()
                return {**self._state(), "written": {} if self._recorder is None else self._recorder.written}
            case "note":
                if self._recorder is not None:
                    self._recorder.note(order["note"], t=_clock(), **order["fields"])
                    self._flush()
                return {"t": _clock()}
            case "stop":
                self._stopping = True
                return {"strays": self._core.strays, "refused": self._refused}
        raise ValueError(f"no such order: {order['do']}")

    def _state(self) -> dict[str, object]:
        core = self._core
        return {"t": _clock(), "faults": self._shown(), "packets": core.packets, "waiting": core.waiting}

    def _shown(self) -> dict[str, list[dict[str, Any]]]:
        shown = {}
        for name in self._core.paths:
            faults = self._core.faults(name)
            if faults:
                shown[name] = [{**fault_to_json(fault), "describe": fault.describe()} for fault in faults]
        return shown


def _be_first() -> None:
    """Run before ordinary programs, where the host allows it: a wire that waits for a processor delays every packet.

    With a single processor, of which a busy real-time wire would leave the others next to nothing, and in a container,
    which has no real-time share, as the first among ordinary programs (sched(7): SCHED_FIFO, the nice value).
    """
    try:
        if len(os.sched_getaffinity(0)) < 2:
            raise PermissionError
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        try:
            os.setpriority(os.PRIO_PROCESS, 0, FIRST)
        except PermissionError:
            print("no priority for an ordinary user: delays depend on the host's load", flush=True)


def main(config: Mapping[str, Any]) -> None:
    """Build the core and run it until the control channel says stop, or its other end is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sharp_timers()
    _be_first()
    nodes = [Node(**fields) for fields in config["nodes"]]
    recorder = None
    if config["evidence"] is not None:
        header = {"seed": config["seed"], "engine": "wire", "lab": config["lab"]}
        recorder = FileRecorder(Path(config["evidence"]), nodes, header)
    forced = _forced_drops(config["forced_drops"])
    core = Core(nodes, config["seed"], recorder, forced)
    control = socket.socket(fileno=config["control"])
    reaction = reaction_ns()
    gc.collect()
    gc.freeze()
    gc.disable()  # nothing here makes cycles, and a collection would delay packets
    control.send(json.dumps({"ready": True}).encode())
    loop = Loop(core, config["taps"], control, recorder, reaction)
    try:
        loop.run()
    finally:
        if recorder is not None:
            recorder.close(strays=core.strays)


def _forced_drops(file: str | None) -> dict[tuple[str, str], Recorded] | None:
    if file is None:
        return None
    drops: dict[tuple[str, str], dict[Sending, RecordedFate]] = {}
    for path, flow, sending, dropped, arrived in json.loads(Path(file).read_text()):
        drops.setdefault((path, flow), {})[Sending(*sending)] = RecordedFate(dict(dropped), arrived)
    return dict(drops)
