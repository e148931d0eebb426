"""Numbered datagrams between two nodes, run inside them: `traffic.py receive PORT` and `traffic.py send HOST PORT ...`.

The receiver says `ready`, takes what comes until its input is closed and then nothing has come for a while, and prints
[number, monotonic ns] of each datagram as JSON. The sender prints when it sent each.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time

IDLE_SECONDS = 0.3


def receive(port: int) -> list[tuple[int, int]]:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as end:
        end.bind(("::", port))
        print("ready", flush=True)
        seen: list[tuple[int, int]] = []
        sources = [end, sys.stdin]
        while True:
            ready, _, _ = select.select(sources, (), (), None if len(sources) == 2 else IDLE_SECONDS)
            if sys.stdin in ready:
                sources.remove(sys.stdin)
            if end in ready:
                seen.append((int(end.recv(65536).split()[0]), time.monotonic_ns()))
            if not ready:
                return seen


def send(host: str, port: int, count: int, gap_ms: float, size: int) -> list[int]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sent = []
    with socket.socket(family, socket.SOCK_DGRAM) as end:
        start = time.monotonic()
        for number in range(count):
            time.sleep(max(0.0, start + number * gap_ms / 1e3 - time.monotonic()))
            sent.append(time.monotonic_ns())
            end.sendto(f"{number} ".encode().ljust(size, b"."), (host, port))
    return sent


if __name__ == "__main__":
    if sys.argv[1] == "receive":
        print(json.dumps(receive(int(sys.argv[2]))))
    else:
        print(json.dumps(send(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]), int(sys.argv[6]))))
