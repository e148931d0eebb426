"""The control channel of a running lab: an abstract Unix socket, one JSON order and one JSON answer per connection.

An abstract socket has no file, so nothing of it can outlive the lab, whatever kills it; its name holds the user's id
and the lab's name, and both sides check with SO_PEERCRED that the other is the same user. (unix(7))
"""

from __future__ import annotations

import array
import json
import os
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from struct import Struct
from typing import Any

from faultlab.errors import LabFailure, UsageError, from_message, reason

INSTALLATION = str(Path(__file__).resolve().parents[3])
"""The checkout, or the environment's packages, that this very code is of."""
KEEP = b"keep"
"""Said down the lifeline: the lab outlives the program that wanted it."""
_PREFIX = "fault-lab"
_SIZE = 1 << 20
_LOOK_SECONDS = 1.0
"""How often whoever waits for an answer looks whether there can be one."""
_RETRY_SECONDS = 0.02
_LISTENS = 0x10000  # __SO_ACCEPTCON of the kernel's include/uapi/linux/net.h, in /proc/net/unix
_SCM_CREDENTIALS = 2  # unix(7); Python 3.11 does not name it on every build
_CREDENTIALS = Struct("3i")


def address(name: str) -> str:
    return f"\0{_PREFIX}/{os.getuid()}/{name}"


def listen(name: str) -> socket.socket | None:
    """The lab's control socket, or None where a lab of this name is up already."""
    server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        server.bind(address(name))
    except OSError:
        server.close()
        return None
    server.listen(64)
    return server


def accept(server: socket.socket) -> socket.socket | None:
    """Who came to a listening socket that does not block; None where nobody did, or they have left already."""
    try:
        return server.accept()[0]
    except (BlockingIOError, ConnectionAbortedError):
        return None


def running() -> list[str]:
    """The names of this user's labs that are up, from /proc/net/unix."""
    start = f"@{_PREFIX}/{os.getuid()}/"
    names = set()
    for line in Path("/proc/net/unix").read_text().splitlines():
        field = line.split(" ")[-1]
        if field.startswith(start):
            names.add(field.removeprefix(start))
    return sorted(names)


def connect(name: str) -> socket.socket:
    """A connection to the lab's supervisor, for more than one message. OSError where none of this name is up."""
    return dial(address(name))


def dial(end: str) -> socket.socket:
    """A connection to whoever listens at this end: an abstract address or a file. OSError where nobody does."""
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        channel.connect(end)
    except OSError:
        channel.close()
        raise
    return channel


def ask(name: str, order: dict[str, Any], timeout: float = 30.0) -> tuple[dict[str, Any], list[int]]:
    """Send one order; returns the answer and the descriptors that came with it.

    UsageError where no lab of this name is up; LabFailure where it dies meanwhile or does not answer within `timeout`
    seconds, and as soon as it is seen that its supervisor is stopped; where it refuses, what it says.
    """
    deadline = time.monotonic() + timeout
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as channel:
        channel.settimeout(_LOOK_SECONDS)
        while True:
            try:
                channel.connect(address(name))
                break
            except BlockingIOError:  # unix(7): so many wait to be heard that no more may queue
                _check_patience(name, deadline)
                time.sleep(_RETRY_SECONDS)
            except OSError as error:
                others = ", ".join(running()) or "none"
                raise UsageError(
                    f"no lab {name!r} is up (up: {others}); start it with: lab up --name {name}"
                ) from error
        if not same_user(channel):
            raise LabFailure(f"lab {name!r}: its control socket belongs to another user; use another --name")
        try:
            channel.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            channel.send(json.dumps(order).encode())
            while True:
                try:
                    answer, fds = receive(channel)
                    break
                except TimeoutError:
                    _check_patience(name, deadline)
        except OSError as error:
            raise LabFailure(f"lab {name!r} gave no answer: {reason(error)}") from error
    if answer is None:
        raise LabFailure(f"lab {name!r} ended before it answered")
    if "error" in answer:
        raise from_message(answer)
    return answer, fds


def _check_patience(name: str, deadline: float) -> None:
    """LabFailure where the lab can't answer, or has not until the deadline: what is wrong, and what helps."""
    force = f"end the lab with: lab down --force --name {name}"
    supervisors = holders(name)
    for pid in supervisors:
        if _state(pid) in ("T", "t"):  # proc(5)
            raise LabFailure(
                f"lab {name!r} gives no answer: its supervisor (process {pid}) is stopped; "
                f"let it go on with: kill -CONT {pid}; or {force}"
            )
    if time.monotonic() > deadline:
        who = " ".join(str(pid) for pid in supervisors) or "none"
        raise LabFailure(f"lab {name!r} is busy: its supervisor (process {who}) does not answer; wait, or {force}")


def holders(name: str) -> list[int]:
    """The processes of this user's that hold the lab's listening socket: its supervisor, once the lab stands."""
    wanted = set()
    for line in Path("/proc/net/unix").read_text().splitlines():
        fields = line.split(" ")
        if fields[-1] == f"@{address(name)[1:]}" and int(fields[3], 16) & _LISTENS:
            wanted.add(f"socket:[{line.split()[6]}]")
    return [int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit() and _has(folder, wanted)]


def _has(process: Path, links: set[str]) -> bool:
    """Whether a descriptor of this process is one of these."""
    try:
        return any(str(entry.readlink()) in links for entry in (process / "fd").iterdir())
    except OSError:  # it is another user's, or ends
        return False


def _state(pid: int) -> str:
    """The state of a process in a letter of proc(5); empty where it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def receive(channel: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    """One message and its descriptors; None at the end of the stream.

    Where the channel asked for credentials (SO_PASSCRED), the sender's process id as this side sees it comes along as
    `supervisor_pid`: only the kernel can say it, because a supervisor knows itself as process 1.
    """
    fds = array.array("i")
    pid = None
    data, ancillary, _, _ = channel.recvmsg(_SIZE, socket.CMSG_SPACE(16 * fds.itemsize) + 64, socket.MSG_CMSG_CLOEXEC)
    for level, kind, payload in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
        elif (level, kind) == (socket.SOL_SOCKET, _SCM_CREDENTIALS):
            pid = _CREDENTIALS.unpack_from(payload)[0]
    message = json.loads(data) if data else None
    if message is not None and pid is not None:
        message["supervisor_pid"] = pid
    return message, list(fds)


def answer(channel: socket.socket, message: dict[str, Any], fds: Sequence[int] = ()) -> None:
    socket.send_fds(channel, [json.dumps(message).encode()], list(fds))


def same_user(channel: socket.socket) -> bool:
    """Whether the other end runs as this user. An id that the user namespace can't show counts as another's."""
    credentials = channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, _ = _CREDENTIALS.unpack(credentials)
    return bool(uid == os.getuid())
