"""Waits beside a Compose lab's supervisor, and removes the lab where the supervisor could not do so itself.

    python -m faultlab.runtimes.compose.reaper PROJECT FOLDER

Docker's containers outlive whoever started them. The supervisor holds the other end of this process's standard input:
when that ends without the word that all is done, the supervisor died, and what it leaves is collected and removed here.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

DONE = b"done"
ENGINE_SECONDS = 120.0
"""How long it waits for an engine that went away; one that restarts is back by then."""
RETRY_SECONDS = 1.0


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    words = b""
    while data := os.read(0, 64):
        words += data
    if words != DONE:
        bury(sys.argv[1], Path(sys.argv[2]))


def bury(name: str, folder: Path) -> None:
    """Evidence into the folder, then nothing of the project is left, as soon as the engine answers."""
    import docker  # only here: it is waited for by nobody until now

    from faultlab.errors import LabFailure
    from faultlab.runtimes.compose.project import NO_ANSWER, Project

    deadline = time.monotonic() + ENGINE_SECONDS
    while True:
        try:
            Project(name).bury(docker.from_env(timeout=30), folder, "the lab's supervisor was killed, so the lab ended")
            return
        except (LabFailure, *NO_ANSWER) as error:
            print(f"undertaker: {error}", file=sys.stderr, flush=True)
        if time.monotonic() > deadline:
            sys.exit("undertaker: the rest is left to lab down")
        time.sleep(RETRY_SECONDS)


if __name__ == "__main__":
    main()
