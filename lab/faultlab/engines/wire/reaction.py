"""How long the wire takes to notice a frame: measured when it starts, and taken off each delay.

A frame waits in its device until the sleeping loop has been woken and has asked for the time. On an ordinary kernel
that is some 30 us, in a User-Mode Linux guest, where each system call is dear, 300 us. A process that writes its own
time into a pipe stands for the sender here.
"""

from __future__ import annotations

import os
import select
import time
from statistics import median
from struct import Struct

TRIES = 15
PAUSE_SECONDS = 0.001
MOST_NS = 500_000
"""More is no reaction time, but a host that is busy just now."""
_STAMP = Struct("=q")


def reaction_ns() -> int:
    """The median, in ns, from before a sender's system call to when a sleeping loop knows of it and of the time."""
    reading, writing = os.pipe()
    sender = os.fork()
    if sender == 0:
        try:
            _send(writing)
        finally:
            os._exit(0)
    os.close(writing)
    taken = []
    while True:
        select.select((reading,), (), ())
        now = time.monotonic_ns()
        data = os.read(reading, _STAMP.size)
        if len(data) < _STAMP.size:
            break
        taken.append(now - _STAMP.unpack(data)[0])
    os.close(reading)
    os.waitpid(sender, 0)
    return min(MOST_NS, round(median(taken))) if taken else 0


def _send(writing: int) -> None:
    """As an ordinary program: the wire's own priority would be no sender's."""
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    os.setpriority(os.PRIO_PROCESS, 0, 0)
    for _ in range(TRIES):
        time.sleep(PAUSE_SECONDS)
        os.write(writing, _STAMP.pack(time.monotonic_ns()))
