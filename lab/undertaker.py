"""Waits beside a Compose lab's supervisor, and removes the lab where the supervisor could not do so itself.

    python -m lab.undertaker PROJECT FOLDER

Docker's containers outlive whoever started them. The supervisor holds the other end of this process's standard input:
when that ends without the word that all is done, the supervisor died, and what it leaves is collected and removed here.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

DONE = b"done"
HUB_SECONDS = 10.0


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    words = b""
    while data := os.read(0, 64):
        words += data
    if words != DONE:
        bury(sys.argv[1], Path(sys.argv[2]))


def bury(name: str, folder: Path) -> None:
    """Evidence into the folder, then nothing of the project is left. LabFailure where something stays."""
    import docker  # only here: it is waited for by nobody until now

    from lab.errors import LabFailure
    from lab.runtimes.project import Project

    project, client = Project(name), docker.from_env(timeout=30)
    reason = "the lab's supervisor was killed, so the lab ended"
    try:
        _await_hub(client, project.container("hub"))
        project.collect(client, folder)
    except (LabFailure, docker.errors.DockerException) as error:
        print(f"undertaker: {error}", file=sys.stderr)
    (folder / "end.json").write_text(json.dumps({"reason": reason}) + "\n")
    project.remove(client)


def _await_hub(client: Any, container: str) -> None:
    """The hub ends by itself, its controller being gone, and writes its evidence out before."""
    deadline = time.monotonic() + HUB_SECONDS
    while client.containers.get(container).status == "running" and time.monotonic() < deadline:
        time.sleep(0.05)


if __name__ == "__main__":
    main()
