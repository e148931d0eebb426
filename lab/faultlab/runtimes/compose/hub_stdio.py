"""A line into the hub: JSON orders, one a line, from standard input; answers and news, one a line, to standard output.

    docker exec -i HUB python -m faultlab.runtimes.compose.hub_stdio NAME

So the lab's controller needs nothing of the hub's container but the Docker API, wherever the Docker engine runs. When
the controller dies, standard input ends, so does the line, and the hub knows.
"""

from __future__ import annotations

import os
import select
import socket
import sys
import time

from faultlab.runtimes import control

HUB_SECONDS = 20.0
RETRY_SECONDS = 0.02
_SIZE = 1 << 20


def _connected(name: str) -> socket.socket:
    """The hub's container is up before the hub listens. OSError where it never does."""
    deadline = time.monotonic() + HUB_SECONDS
    while True:
        try:
            return control.connect(name)
        except OSError:
            if time.monotonic() > deadline:
                raise
        time.sleep(RETRY_SECONDS)


def main() -> None:
    hub = _connected(sys.argv[1])
    waiting = b""
    while True:
        ready, _, _ = select.select((0, hub.fileno()), (), ())
        if hub.fileno() in ready:
            news = hub.recv(_SIZE)
            if not news:
                return
            sys.stdout.buffer.write(news + b"\n")
            sys.stdout.buffer.flush()
        if 0 in ready:
            data = os.read(0, _SIZE)
            if not data:
                return
            *orders, waiting = (waiting + data).split(b"\n")
            for order in orders:
                hub.send(order)


if __name__ == "__main__":
    main()
