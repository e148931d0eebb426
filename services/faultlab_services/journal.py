"""The journal: what one process saw, as JSON Lines (one object a line, UTF-8, no blank lines).

Every line has these keys, in this order, and may have more after them (docs/services.md lists them by operation):

| key      | type        | meaning                                                                             |
| -------- | ----------- | ----------------------------------------------------------------------------------- |
| `t`      | int         | CLOCK_MONOTONIC in ns, the same clock for every process of a host (clock_gettime(2)) |
| `actor`  | str         | who writes: `tcp-server`, `tcp-client`, ...                                          |
| `op`     | str         | what is being done: `connect`, `message`, `frame`, `datagram`, `query`, ...          |
| `phase`  | str         | `invoke`, `ok`, `fail`, `unknown`, `note` or `duplicate`                              |
| `conn`   | int or null | the connection it belongs to, counted from 0                                         |
| `n`      | int or null | the message, frame or query, counted from 0 within `conn`                            |
| `size`   | int         | bytes of the message that the line is about; 0 when it is about none                 |
| `digest` | str or null | BLAKE2b of that message, 8 bytes in hex                                              |
| `why`    | str or null | the reason, for a person                                                             |

An operation is one `invoke` and later at most one `ok`, `fail` or `unknown` with the same `op`, `conn` and `n`:
`unknown` when it timed out or its connection was lost, since then nobody can say whether it took effect.
`note` and `duplicate` are observations and end nothing.

The first line is `{"op": "journal", "phase": "invoke", "version": 1, "pid": ..., "wall_ns": ...}`, the last
`{"op": "journal", "phase": "ok"}`, or `fail` with the reason: a journal without it was cut off (`kill -9`). Each line
is one write(2) to a file opened O_APPEND, so even then every line is whole.
"""

import hashlib
import json
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

Phase = Literal["invoke", "ok", "fail", "unknown", "note", "duplicate"]

VERSION = 1
DIGEST_BYTES = 8

_encode = json.JSONEncoder(separators=(",", ":")).encode


def digest(data: bytes) -> str:
    """BLAKE2b of `data`, 8 bytes in hex: the journal's name for a message."""
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES).hexdigest()


class Journal:
    """Appends to the file at `path`; with no path it writes nothing. Raises `OSError` when the file can't be had."""

    def __init__(self, path: Path | None, actor: str) -> None:
        self._actor = actor
        self._fd: int | None = None
        if path is not None:
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self.write("journal", "invoke", version=VERSION, pid=os.getpid(), wall_ns=time.time_ns())

    def write(
        self,
        op: str,
        phase: Phase,
        *,
        conn: int | None = None,
        n: int | None = None,
        data: bytes | None = None,
        why: str | None = None,
        **extra: Any,
    ) -> None:
        """One line; `data` is the message it is about."""
        if self._fd is None:
            return
        line = {
            "t": time.monotonic_ns(),
            "actor": self._actor,
            "op": op,
            "phase": phase,
            "conn": conn,
            "n": n,
            "size": 0 if data is None else len(data),
            "digest": None if data is None else digest(data),
            "why": why,
            **extra,
        }
        os.write(self._fd, _encode(line).encode() + b"\n")

    def close(self, why: str | None = None) -> None:
        """Writes the last line, with the reason where its writer failed. Closing twice is harmless."""
        if self._fd is None:
            return
        self.write("journal", "ok" if why is None else "fail", why=why)
        os.close(self._fd)
        self._fd = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A task that is cancelled, as by SIGTERM, ends in order.
        self.close(f"{type(error).__name__}: {error}" if isinstance(error, Exception) else None)
