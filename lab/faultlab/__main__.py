"""The command `lab`. It is a door of its own so that Ctrl-C is heard while the rest is still being imported."""

from __future__ import annotations

import os
import sys
from typing import NoReturn


def main() -> NoReturn:
    _open_what_is_closed()
    try:
        from faultlab.cli.main import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(130)


def _open_what_is_closed() -> None:
    """`lab ... >&-`: Python has no such stream then, and a later file or socket gets its number, also in what we start.

    What is read from them is empty; what is written to standard output fails (EBADF), and so is told as "not written".
    """
    for number, flags in enumerate((os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, flags)  # the lowest number that is free: this one
            os.set_inheritable(number, True)
    # They stay open as long as the process lives.
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


if __name__ == "__main__":
    main()
