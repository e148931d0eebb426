"""What every runtime does for those who want a lab, and how a lab's supervisor is started and waited for."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from faultlab.errors import LabFailure, UsageError, from_message
from faultlab.network.plan import Guest
from faultlab.network.topology import Network
from faultlab.runtimes import control
from faultlab.runtimes.children import for_owner
from faultlab.runtimes.control import KEEP

READY_SECONDS = 60.0


@dataclass(frozen=True)
class Wish:
    """The lab that somebody wants; a runtime makes a `Plan` of it. See `faultlab.lab.lab.Lab.up` for the fields."""

    name: str
    engine: str
    seed: int
    network: Network | None
    nodes: tuple[str, ...]
    evidence: Path
    record: bool
    publish: tuple[tuple[str, int, str, str, int], ...]
    udp_mode: str
    forced_drops: Path | None
    trust: bool = False
    notes: tuple[str, ...] = ()
    guest: Guest | None = None


@dataclass
class Standing:
    """A lab that came up. It ends when `lifeline` closes, by whatever end of this process, unless it is kept."""

    name: str
    lifeline: socket.socket

    def keep(self) -> None:
        """From here on the lab lives until `lab down`."""
        self.lifeline.send(KEEP)
        self.lifeline.close()


class Runtime(Protocol):
    """Where nodes live: a module of `faultlab.runtimes`."""

    NAME: str
    PYTHON: tuple[str, ...]
    """How our own programs start in a node. `-P`: a `services` or `lab.py` in the working folder is the user's."""
    KERNEL_IS_OURS: bool
    """Whether its engines run on this host's kernel, so that they can be tried here."""

    def check_host(self) -> None:
        """MissingCapability, with the fix, where a lab of this kind can't be held; found by trying."""

    def stand_up(self, wish: Wish, progress: Callable[[str], None]) -> Standing:
        """Start the lab's supervisor and wait until the lab is ready. LabError; then nothing of it is left."""

    def popen(self, name: str, node: str, argv: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start a command in a node; `options` are subprocess.Popen's. It ends with the lab, or with this process."""


def supervise(
    module: str,
    name: str,
    plan: Callable[[int, int], str],
    keep: Sequence[int],
    evidence: Path,
    progress: Callable[[str], None],
    seconds: float = READY_SECONDS,
) -> Standing:
    """Start a lab's supervisor, `python -m MODULE` with a plan on its standard input, and wait until the lab is ready.

    Args:
        plan: makes the text for the supervisor from the descriptors of its control socket and lifeline.
        keep: further descriptors that it needs.
        evidence: where its output goes.
        seconds: how long it may take.

    UsageError where the lab's name is taken; otherwise the error that the supervisor says.
    """
    server = control.listen(name)
    if server is None:
        raise UsageError(f"a lab {name!r} is up already; use it, take it down, or choose another --name")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with server, theirs:
        errors = evidence / "supervisor.txt"
        with open(errors, "wb", opener=for_owner) as log:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", module, name],  # the name is for `ps`
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=[server.fileno(), theirs.fileno(), *keep],
            )
            process.communicate(plan(server.fileno(), theirs.fileno()).encode())
    try:
        _await_ready(ours, process.returncode, errors, progress, seconds)
    except BaseException:
        ours.close()
        raise
    return Standing(name, ours)


def _await_ready(
    ours: socket.socket, status: int, errors: Path, progress: Callable[[str], None], seconds: float
) -> None:
    ours.settimeout(seconds)
    while True:
        try:
            data = ours.recv(1 << 16)
        except TimeoutError as error:
            raise LabFailure(f"the lab was not ready within {seconds:g} s; see {errors}") from error
        if not data:
            raise LabFailure(f"the lab's supervisor {_how_it_ended(status, errors)}")
        message = json.loads(data)
        if "progress" in message:
            progress(message["progress"])
            continue
        if "ready" in message:
            return
        _await_end(ours)
        raise from_message(message)


def _how_it_ended(status: int, errors: Path) -> str:
    """In words, of a supervisor that said nothing: `status` is that of the program that started it and let it go."""
    text = errors.read_text(errors="replace")
    if status > 0 or "Traceback" in text:  # Python says why a program ends; only a signal leaves it no time for that
        return f"ended (exit status {status}): {text.strip().splitlines()[-1] if text.strip() else 'no reason given'}"
    return "was killed before the lab was up: by SIGKILL, which the kernel also sends when memory runs out"


def _await_end(ours: socket.socket) -> None:
    """Until the supervisor, which has said why it ends, is gone: whoever hears the reason may count on that."""
    with suppress(ConnectionResetError, TimeoutError):
        while ours.recv(1 << 16):
            continue
