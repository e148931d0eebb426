"""Senders and sinks for the benchmarks: small programs that run inside nodes. `python -m bench.traffic ROLE ARGS...`

Each prints one JSON line. Stamps are CLOCK_REALTIME, which all nodes of one host share.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from struct import Struct

STAMP = Struct("<QQ")
TIMESPEC = Struct("<qq")
SO_TIMESTAMPNS = 35  # socket(7); Python has no name for it
LAST = (1 << 64) - 1
QUIET_SECONDS = 1.5
SO_RCVBUFFORCE = 33  # socket(7); Python has no name for it


def paced_sender(host: str, port: str, rate: str, seconds: str, protocol: str) -> dict[str, object]:
    """`rate` messages a second, each with its number and time; the last one says so."""
    end = _connect(host, int(port), protocol)
    count, gap = int(float(rate) * float(seconds)), 1e9 / float(rate)
    start = time.monotonic_ns()
    for number in range(count):
        due = start + round(number * gap)
        while (ahead := due - time.monotonic_ns()) > 0:
            if ahead > 200_000:
                time.sleep((ahead - 150_000) / 1e9)
        end.send(STAMP.pack(number, time.time_ns()))
    end.send(STAMP.pack(LAST, 0))
    return {"sent": count}


def delay_sink(port: str, protocol: str) -> dict[str, object]:
    """One-way delays in ms, to the moment the kernel took each message in: when we run is not the network's doing."""
    end = _accept(int(port), protocol)
    end.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    delays: list[float] = []
    buffer = b""
    while True:
        data, ancillary, _, _ = end.recvmsg(65536, 64)
        if not data:
            break
        buffer += data
        arrived = _kernel_time(ancillary)
        while len(buffer) >= STAMP.size:
            number, sent = STAMP.unpack_from(buffer)
            buffer = buffer[STAMP.size :]
            if number == LAST:
                return {"delays_ms": delays}
            if arrived is not None:
                delays.append((arrived - sent) / 1e6)
    return {"delays_ms": delays}


def _kernel_time(ancillary: list[tuple[int, int, bytes]]) -> int | None:
    for level, kind, payload in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS):
            seconds, nanoseconds = TIMESPEC.unpack_from(payload)
            return int(seconds) * 10**9 + int(nanoseconds)
    return None


def blast_sender(host: str, port: str, seconds: str, size: str) -> dict[str, object]:
    """UDP datagrams of `size` bytes as fast as they go."""
    end = _connect(host, int(port), "udp")
    payload, sent = bytes(int(size)), 0
    stop = time.monotonic() + float(seconds)
    while time.monotonic() < stop:
        for _ in range(100):
            end.send(payload)
        sent += 100
    return {"sent": sent}


def blast_sink(port: str) -> dict[str, object]:
    """Datagrams received until it is quiet, and how many a second from the first to the last."""
    end = _accept(int(port), "udp")
    end.recv(2048)
    first = last = time.monotonic_ns()
    count = 0
    end.settimeout(QUIET_SECONDS)
    try:
        while True:
            end.recv(2048)
            count += 1
            if not count % 64:
                last = time.monotonic_ns()
    except TimeoutError:
        return {"received": count, "per_second": count / ((last - first) / 1e9)}


def bulk_sender(host: str, port: str, seconds: str) -> dict[str, object]:
    """TCP, as much as goes."""
    end = _connect(host, int(port), "tcp")
    block, sent = bytes(1 << 18), 0
    stop = time.monotonic() + float(seconds)
    while time.monotonic() < stop:
        sent += end.send(block)
    return {"sent": sent}


def bulk_sink(port: str) -> dict[str, object]:
    """Goodput from the first byte to the last."""
    end = _accept(int(port), "tcp")
    buffer = bytearray(1 << 18)
    first = last = time.monotonic()
    received = 0
    while count := end.recv_into(buffer):
        received += count
        last = time.monotonic()
    return {"received": received, "gbit_per_second": received * 8 / 1e9 / (last - first)}


def _connect(host: str, port: int, protocol: str) -> socket.socket:
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    end = socket.socket(socket.AF_INET, kind)
    end.connect((host, port))
    if protocol == "tcp":
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return end


def _accept(port: int, protocol: str) -> socket.socket:
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    end = socket.socket(socket.AF_INET, kind)
    end.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    end.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 24)
    end.bind(("", port))
    end.settimeout(30)
    if protocol == "udp":
        print(json.dumps({"listening": port}), flush=True)
        return end
    end.listen(1)
    print(json.dumps({"listening": port}), flush=True)
    accepted, _ = end.accept()
    accepted.settimeout(30)
    return accepted


ROLES = {one.__name__: one for one in (paced_sender, delay_sink, blast_sender, blast_sink, bulk_sender, bulk_sink)}

if __name__ == "__main__":
    print(json.dumps(ROLES[sys.argv[1]](*sys.argv[2:])), flush=True)
