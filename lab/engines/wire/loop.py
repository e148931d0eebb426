"""The wire's I/O: TAP devices on one side, the core on the other, and a control channel.

A process of its own, which the supervisor forks. The loop reads frames in
batches, hands them to the core with the time, writes what comes out, and sleeps until the next deadline: with
microsecond `select`, then awake for the last stretch, because a sleeping process is woken late.
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
from pathlib import Path as FilePath
from typing import Any

from lab.engines.wire.core import Core
from lab.engines.wire.stages import Recorded
from lab.engines.wire.state import Out
from lab.engines.worker import obey
from lab.evidence.recorder import FileRecorder
from lab.faults import Fault, fault_from_json, fault_to_json
from lab.runtimes.linux import sharp_timers
from lab.sendings import Sending
from lab.topology import Node

BATCH = 64
"""Frames read from one device before the others and the deadlines have their turn."""
AWAKE_NS = 120_000
"""How long before a deadline the loop stops sleeping: a wake-up's usual lateness."""
FRAME_ROOM = 65_600
_clock = time.monotonic_ns


class Loop:
    """Runs the core until told to stop. `taps` are non-blocking TAP descriptors, in the order of the core's nodes."""

    def __init__(self, core: Core, taps: Sequence[int], control: socket.socket, recorder: FileRecorder | None) -> None:
        self._core = core
        self._taps = list(taps)
        self._control = control
        self._recorder = recorder
        self._stopping = False
        self._refused = 0
        self._expiries: dict[str, int] = {}
        self._node_of = {fd: number for number, fd in enumerate(taps)}

    def run(self) -> None:
        poller = select.epoll()
        for fd in (*self._taps, self._control.fileno()):
            poller.register(fd, select.EPOLLIN)
        while not self._stopping:
            self._wait(poller)
            for fd, _ in poller.poll(0):
                if fd in self._node_of:
                    self._read(fd)
                elif not obey(self._control, self._carry_out):
                    self._stopping = True
            self._release()

    def _wait(self, poller: select.epoll) -> None:
        """Until a frame, an order or the next deadline; evidence goes to disk before any real sleep."""
        deadline = self._next_deadline()
        if deadline is None:
            if not poller.poll(0):
                self._flush()
                select.select((poller,), (), ())
            return
        ahead = deadline - _clock() - AWAKE_NS
        if ahead > 0:
            if ahead > 1_000_000:
                self._flush()
            select.select((poller,), (), (), ahead / 1e9)

    def _next_deadline(self) -> int | None:
        deadline = self._core.deadline
        if self._expiries:
            expiry = min(self._expiries.values())
            return expiry if deadline is None else min(deadline, expiry)
        return deadline

    def _read(self, fd: int) -> None:
        core, node, read, write = self._core, self._node_of[fd], os.read, self._write
        for _ in range(BATCH):
            try:
                frame = read(fd, FRAME_ROOM)
            except BlockingIOError:
                return
            now = _clock()
            for out in core.receive(node, frame, now):
                write(out)
            deadline = core.deadline
            if deadline is not None and deadline <= now:
                self._release()

    def _release(self) -> None:
        deadline = self._core.deadline
        if deadline is not None:
            now = _clock()
            if deadline <= now:
                for out in self._core.release(now):
                    self._write(out)
        if self._expiries:
            self._expire(_clock())

    def _expire(self, now: int) -> None:
        """Clear the paths whose faults were set for a time that is over."""
        for path in [path for path, expiry in self._expiries.items() if expiry <= now]:
            self._set(path, (), None)

    def _set(self, path: str, faults: Sequence[Fault], for_ms: float | None) -> None:
        now = _clock()
        self._expiries.pop(path, None)
        for out in self._core.set_faults(path, faults, now):
            self._write(out)
        if for_ms is not None:
            self._expiries[path] = now + round(for_ms * 1e6)

    def _write(self, out: Out) -> None:
        target, frame = out
        try:
            os.write(self._taps[target], frame)
        except OSError as error:
            self._refused += 1
            if self._recorder is not None and self._refused <= 100:
                self._recorder.note("refused", node=target, error=str(error), t=_clock(), size=len(frame))

    def _flush(self) -> None:
        if self._recorder is not None:
            self._recorder.flush()

    def _carry_out(self, order: Mapping[str, Any]) -> dict[str, object]:
        match order["do"]:
            case "set":
                faults = [fault_from_json(one) for one in order["faults"]]
                self._set(order["path"], faults, order.get("for_ms"))
                self._flush()
                return {"t": _clock(), "faults": self._shown()}
            case "show":
                return {
                    "t": _clock(),
                    "faults": self._shown(),
                    "packets": self._core.packets,
                    "waiting": self._core.waiting,
                }
            case "note":
                if self._recorder is not None:
                    self._recorder.note(order["note"], t=_clock(), **order["fields"])
                    self._flush()
                return {"t": _clock()}
            case "stop":
                self._stopping = True
                return {"strays": self._core.strays, "refused": self._refused}
        raise ValueError(f"no such order: {order['do']}")

    def _shown(self) -> dict[str, list[dict[str, Any]]]:
        shown = {}
        for name in self._core.paths:
            faults = self._core.faults(name)
            if faults:
                shown[name] = [{**fault_to_json(fault), "describe": fault.describe()} for fault in faults]
        return shown


def _be_first() -> None:
    """Run before ordinary programs, where the host allows it: a wire that waits for a processor delays every packet.

    Not with a single processor, of which a busy wire would leave the others next to nothing (sched(7), SCHED_FIFO).
    """
    if len(os.sched_getaffinity(0)) < 2:
        return
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        print("no real-time priority for an ordinary user: delays depend on the host's load", flush=True)


def main(config: Mapping[str, Any]) -> None:
    """Build the core and run it until the control channel says stop, or its other end is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sharp_timers()
    _be_first()
    nodes = [Node(**fields) for fields in config["nodes"]]
    recorder = None
    if config["evidence"] is not None:
        header = {"seed": config["seed"], "engine": "wire", "lab": config["lab"]}
        recorder = FileRecorder(FilePath(config["evidence"]), nodes, header)
    forced = _forced_drops(config["forced_drops"])
    core = Core(nodes, config["seed"], recorder, forced)
    control = socket.socket(fileno=config["control"])
    gc.collect()
    gc.freeze()
    gc.disable()  # nothing here makes cycles, and a collection would delay packets
    control.send(json.dumps({"ready": True}).encode())
    loop = Loop(core, config["taps"], control, recorder)
    try:
        loop.run()
    finally:
        if recorder is not None:
            recorder.close(strays=core.strays)


def _forced_drops(file: str | None) -> dict[tuple[str, str], Recorded] | None:
    if file is None:
        return None
    drops: dict[tuple[str, str], dict[tuple[Sending, int], str]] = {}
    for path, flow, sending, copy, fault in json.loads(FilePath(file).read_text()):
        drops.setdefault((path, flow), {})[Sending(*sending), copy] = fault
    return dict(drops)
