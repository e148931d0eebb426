"""A supervisor that can't bring its lab up, and whose control socket is closed only after its lifeline."""

from __future__ import annotations

import json
import os
import socket
import sys
import time

LINGERS_SECONDS = 0.3


def main() -> None:
    plan = json.loads(sys.stdin.read())
    if os.fork():
        os._exit(0)
    lifeline = socket.socket(fileno=plan["lifeline"])
    lifeline.send(json.dumps({"error": "Pool overlaps with other one", "usage": True}).encode())
    lifeline.close()
    time.sleep(LINGERS_SECONDS)  # the moment in which somebody else could see the name taken


if __name__ == "__main__":
    main()
