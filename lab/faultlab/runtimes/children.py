"""The processes that a lab's own process starts: their output in files, their ends noticed, its signals kept from them.

It also holds the selector that its owner waits with, because a child's end must wake the owner wherever it waits.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from faultlab.errors import LabFailure, reason
from faultlab.kernel import syscalls

_OUR_SIGNALS = (signal.SIGCHLD, signal.SIGTERM)
LAST_LINES = 3
_LAST_BYTES = 400


def for_owner(path: str, flags: int) -> int:
    """An opener for `open`: what programs say may hold their traffic, so it is their owner's alone, as captures are."""
    return os.open(path, flags, 0o600)


class Processes:
    """For one owner, in its main thread.

    Args:
        logs: folder of the processes' output, a file each.
        ended: told a process's name and how it ended ("exit status 1", "killed by SIGKILL").
        terminated: called when the owner gets SIGTERM.
    """

    def __init__(self, logs: Path, ended: Callable[[str, str], None], terminated: Callable[[], None]) -> None:
        self._logs = logs
        self._ended = ended
        self._children: dict[int, str] = {}
        # A Popen that is let go is reaped by the next one made (subprocess._cleanup), and its end goes unnoticed here.
        self._held: list[subprocess.Popen[bytes]] = []
        self._selector = selectors.DefaultSelector()
        self._ready: deque[selectors.SelectorKey] = deque()
        logs.mkdir(parents=True, exist_ok=True)
        wake, woken = socket.socketpair()
        wake.setblocking(False)
        woken.setblocking(False)
        signal.set_wakeup_fd(woken.fileno())
        self._woken = woken
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: terminated())
        self.listen(wake, lambda: self._reap(wake))

    def log(self, name: str) -> Path:
        return self._logs / f"{name}.txt"

    def last_words(self, name: str) -> str:
        """What a process said last, and where all of its output is; to go behind a sentence about it."""
        log = self.log(name)
        return f"{said_last(log)}; its output: {log}"

    def running(self, but: Sequence[str] = ()) -> dict[int, str]:
        """Process ids and names."""
        return {pid: name for pid, name in self._children.items() if name not in but}

    # -- starting ------------------------------------------------------------------------------------------------------

    def spawn(
        self, name: str, argv: Sequence[str], fds: Sequence[int] = (), enter: Callable[[], None] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a program; `enter` runs in it first. LabFailure where it can't be started."""
        with open(self.log(name), "ab", opener=for_owner) as log:
            try:
                process = subprocess.Popen(
                    list(argv), stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=fds, preexec_fn=enter
                )
            except (OSError, subprocess.SubprocessError) as error:
                raise LabFailure(f"{name}: can't start {argv[0]}: {reason(error)}") from error
        self.adopt(name, process)
        return process

    def adopt(self, name: str, process: subprocess.Popen[bytes]) -> None:
        """Look after a program that was started elsewhere."""
        self._children[process.pid] = name
        self._held.append(process)

    def fork(
        self, name: str, work: Callable[[], None], fds: Sequence[int], enter: Callable[[], None] | None = None
    ) -> int:
        """Run a function in a process of its own, with these descriptors; `enter` runs in it first."""
        log = for_owner(str(self.log(name)), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        held = signal.pthread_sigmask(signal.SIG_BLOCK, _OUR_SIGNALS)
        pid = os.fork()
        if pid == 0:
            try:
                _become(name, log, fds, enter)
                work()
            except BaseException:  # noqa: BLE001 - whatever it is, a forked child must end here and say why
                traceback.print_exc()
                sys.stderr.flush()
                os._exit(1)
            os._exit(0)
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
        os.close(log)
        self._children[pid] = name
        return pid

    # -- waiting -------------------------------------------------------------------------------------------------------

    def listen(self, end: socket.socket | int, act: Callable[[], None]) -> None:
        """Call `act` whenever `end` can be read."""
        self._selector.register(end, selectors.EVENT_READ, act)

    def ignore(self, end: socket.socket | int) -> None:
        self._selector.unregister(end)

    def step(self, timeout: float | None) -> None:
        """Wait at most so long for something to happen, and act on it.

        What it calls may call it again: each event is taken from one list, once, and not any more where it is of a
        descriptor that is ignored meanwhile.
        """
        if not self._ready:
            self._ready.extend(key for key, _ in self._selector.select(timeout))
        while self._ready:
            key = self._ready.popleft()
            if self._selector.get_map().get(key.fd) is key:
                key.data()

    def wait_until(self, done: Callable[[], bool], seconds: float) -> bool:
        """Act on what happens until `done`, or for so long; returns whether it is done."""
        deadline = time.monotonic() + seconds
        while not done() and time.monotonic() < deadline:
            self.step(max(0.0, deadline - time.monotonic()))
        return done()

    def _reap(self, wake: socket.socket) -> None:
        while True:
            try:
                wake.recv(4096)
            except BlockingIOError:
                break
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for process in self._held:
                if process.pid == pid:
                    process.returncode = os.waitstatus_to_exitcode(status)
            name = self._children.pop(pid, None)
            if name is not None:
                self._ended(name, how_ended(status))


def said_last(log: Path) -> str:
    """`; its last words: ...`, of the last lines of its output; nothing where there are none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _LAST_BYTES))
            return words_of(file.read())
    except OSError:
        return ""


def words_of(output: bytes) -> str:
    """As `said_last`, of the end of an output itself."""
    lines = [line.strip() for line in output[-_LAST_BYTES:].decode(errors="replace").splitlines() if line.strip()]
    return f"; its last words: {' / '.join(lines[-LAST_LINES:])}" if lines else ""


def how_ended(status: int) -> str:
    """A status of waitpid(2) in words."""
    code = os.waitstatus_to_exitcode(status)
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"


def _become(name: str, log: int, fds: Sequence[int], enter: Callable[[], None] | None) -> None:
    """Shed what a forked child has of its parent: its signals, its descriptors, its name."""
    signal.set_wakeup_fd(-1)
    for number in _OUR_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    # Only now: a SIGTERM that came between fork and here would have gone to the parent's handler, unheard.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _OUR_SIGNALS)
    if enter is not None:
        enter()
    os.dup2(log, 1)
    os.dup2(log, 2)
    kept = {0, 1, 2, *fds}
    for fd in [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]:
        if fd not in kept:
            with contextlib.suppress(OSError):  # the listing's own descriptor is closed already
                os.close(fd)
    syscalls.name_process(f"lab-{name}")
