"""Every error the lab raises on purpose.

    LabError
    ├── UsageError          bad input: a file, a command line, a value         exit code 2
    │   └── NetworkTaken    the lab's address block is somebody else's
    ├── MissingCapability   the host lacks something needed; says the fix      exit code 4
    ├── LabFailure          the lab itself went wrong: died, refused, timed out exit code 3
    └── Unwritten           no room, or no right, to write what was found out  exit code 5

Each message is one line for a person: what, where, what was expected, and a fix. The CLI prints it and exits
with `exit_code`; nothing else in the tree decides exit codes for errors.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any


class LabError(Exception):
    """The root; never raised itself."""

    exit_code = 3


class UsageError(LabError):
    """What the user wrote can't be meant; nothing was started."""

    exit_code = 2


class NetworkTaken(UsageError):
    """The address block that was asked for is in use; another one may be free."""


class MissingCapability(LabError):
    """The host lacks what was asked for. `name` is the capability as in `LAB_REQUIRE`, `fix` how to get it."""

    exit_code = 4

    def __init__(self, name: str, what: str, fix: str) -> None:
        super().__init__(f"{what}. Fix: {fix}")
        self.name = name
        self.what = what
        self.fix = fix

    def __reduce__(self) -> tuple[type[MissingCapability], tuple[str, str, str]]:
        return type(self), (self.name, self.what, self.fix)


class LabFailure(LabError):
    """The lab stopped doing what it was asked to do; the run proves nothing."""


class Unwritten(LabError):
    """A file could not be written, or standard output: a full disk, say. What was to be told was found out, or not."""

    exit_code = 5


@contextmanager
def as_given() -> Iterator[None]:
    """Around the reading of files that the user named: that they are damaged is bad input, and no failure of a lab."""
    try:
        yield
    except LabFailure as error:
        raise UsageError(str(error)) from error


_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}


def reason(error: Exception) -> str:
    """What the system or a library said, without the number and the file that Python adds to an OSError."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def of_system(error: OSError, place: object = "") -> LabError:
    """What the system said, as one line for a person: Unwritten where there is no room, a LabFailure otherwise.

    `place` is where it happened, in case the system does not say so.
    """
    where = f"{error.filename or place}: ".removeprefix(": ")
    if error.errno in _NO_ROOM:
        return Unwritten(f"{where}{reason(error)}; make room, or choose another folder with --out")
    return LabFailure(where + reason(error))


def as_message(error: Exception, text: str = "") -> dict[str, Any]:
    """An error for another process, as JSON data. Any other error is a LabFailure there. `text` may say it better."""
    if not isinstance(error, LabError):
        error = of_system(error) if isinstance(error, OSError) else LabFailure(text or str(error))
    message = {"error": text or str(error), "kind": type(error).__name__}
    if isinstance(error, MissingCapability):
        message |= {"error": error.what, "name": error.name, "fix": error.fix}
    return message


def from_message(message: Mapping[str, Any]) -> LabError:
    """The error that `as_message` made the message of: of the same kind, so with the same exit code."""
    if message["kind"] == MissingCapability.__name__:
        return MissingCapability(message["name"], message["error"], message["fix"])
    kinds = {kind.__name__: kind for kind in (UsageError, NetworkTaken, LabFailure, Unwritten)}
    return kinds[message["kind"]](message["error"])
