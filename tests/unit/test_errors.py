"""An error is the same one in whatever process it was raised: its kind, its words, its exit code."""

from __future__ import annotations

import errno
import json
import os
import pickle
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from faultlab.engines.worker import Worker, obey
from faultlab.errors import (
    LabError,
    LabFailure,
    MissingCapability,
    NetworkTaken,
    Unwritten,
    UsageError,
    as_message,
    from_message,
    of_system,
)
from faultlab.runtimes import control
from faultlab.runtimes.compose.supervisor import Line
from faultlab.runtimes.launch import _await_ready

ERRORS = (
    UsageError("faults clash"),
    NetworkTaken("10.77.0.0/24 overlaps another"),
    MissingCapability("netem", "the kernel has no sch_netem", "use --engine wire"),
    LabFailure("the wire is gone"),
    Unwritten("runs: No space left on device"),
)


def kinds(root: type[Exception]) -> set[type[Exception]]:
    return {one for kind in root.__subclasses__() for one in (kind, *kinds(kind))}


def test_every_kind_is_tried() -> None:
    assert kinds(LabError) == {type(error) for error in ERRORS}


# -- the channels ------------------------------------------------------------------------------------------------------


def engine(error: LabError) -> None:
    """An engine's process and its supervisor."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def refuse(_: Mapping[str, Any]) -> dict[str, object]:
        raise error

    with ours, theirs:
        theirs.send(b'{"ready": true}')
        worker = Worker("wire", ours)
        obeying = threading.Thread(target=obey, args=(theirs, refuse))
        obeying.start()
        try:
            worker.ask({"do": "set"})
        finally:
            obeying.join()


def control_socket(error: LabError) -> None:
    """A supervisor and whoever asks it: `lab fault set`, say."""
    name = f"errors-{os.getpid()}"
    server = control.listen(name)
    assert server is not None

    def refuse() -> None:
        channel, _ = server.accept()
        with channel:
            control.receive(channel)
            control.answer(channel, as_message(error))

    with server:
        refusing = threading.Thread(target=refuse)
        refusing.start()
        try:
            control.ask(name, {"do": "set"})
        finally:
            refusing.join()


def supervisor(error: LabError) -> None:
    """A supervisor whose lab does not come up, and whoever wanted it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with theirs:
            theirs.send(json.dumps(as_message(error)).encode())
        _await_ready(ours, 0, Path("nowhere"), lambda _: None, 10)


def hub(error: LabError) -> None:
    """The hub and a Compose lab's supervisor."""
    news, events = socket.socketpair()
    said = json.dumps(as_message(error))
    argv = [sys.executable, "-c", f"input(); print({said!r}, flush=True); input()"]
    with news, events, subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
        try:
            Line(process, events, lambda: None).ask({"do": "set"})
        finally:
            process.kill()


def process_pool(error: LabError) -> None:
    """`lab run --jobs`"""
    raise pickle.loads(pickle.dumps(error))


@pytest.mark.parametrize("channel", [engine, control_socket, supervisor, hub, process_pool])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_arrives_as_it_was_raised(error: LabError, channel: Callable[[LabError], None]) -> None:
    with pytest.raises(LabError) as raised:
        channel(error)
    assert (type(raised.value), str(raised.value), vars(raised.value)) == (type(error), str(error), vars(error))


def test_what_the_system_refused_is_one_line_and_no_room_is_told_apart() -> None:
    full = from_message(as_message(OSError(errno.ENOSPC, "No space left on device", "runs/ledger.bin")))
    assert isinstance(full, Unwritten)
    assert str(full).startswith("runs/ledger.bin: No space left on device; make room")
    other = of_system(ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"))
    assert (type(other), str(other)) == (LabFailure, "Connection reset by peer")


def test_an_error_of_another_library_is_the_lab_s_failure() -> None:
    made = from_message(as_message(ValueError("no number"), "the part ended"))
    assert (type(made), str(made)) == (LabFailure, "the part ended")
