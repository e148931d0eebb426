"""Senders and sinks for the benchmarks: small programs that run inside nodes. `python -m bench.traffic ROLE ARGS...`

Each prints one JSON line. Times are CLOCK_REALTIME, the kernel's own for its stamps.
"""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import time
from struct import Struct

NUMBER = Struct("<Q8x")
TIMESPEC = Struct("<qq")
EXTENDED_ERROR = Struct("<IBBBxII")
SO_TIMESTAMPNS, SO_TIMESTAMPING = 35, 37  # socket(7), linux/net_tstamp.h; Python has no names for them
TX_STAMPS = 1 << 1 | 1 << 4 | 1 << 7 | 1 << 11
"""Stamp in software, report it, with the message's number, without the message."""
LAST = (1 << 64) - 1
FAREWELLS = 20
"""The end is said so often over UDP, because a lossy path may lose it."""
QUIET_SECONDS = 1.5
SO_RCVBUFFORCE = 33  # socket(7); Python has no name for it


def paced_sender(host: str, port: str, rate: str, seconds: str, protocol: str) -> dict[str, object]:
    """`rate` numbered messages a second; when the kernel handed each to its device, in ns. The last one says so."""
    end = _connect(host, int(port), protocol)
    end.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, TX_STAMPS)
    count, gap = int(float(rate) * float(seconds)), 1e9 / float(rate)
    start = time.monotonic_ns()
    stamps: dict[int, int] = {}
    for number in range(count):
        due = start + round(number * gap)
        while (ahead := due - time.monotonic_ns()) > 0:
            if ahead > 200_000:
                time.sleep((ahead - 150_000) / 1e9)
        end.send(NUMBER.pack(number))
        _collect_stamps(end, protocol, stamps)
    _say_farewell(end, FAREWELLS if protocol == "udp" else 1)
    _collect_stamps(end, protocol, stamps)
    return {"sent_ns": sorted(stamps.items())}


def sleeping_sender(host: str, port: str, rate: str, seconds: str) -> dict[str, object]:
    """As `paced_sender` over UDP, but asleep between two, and with its own clock: for a machine with one processor, and
    for a bridge, behind which the kernel's transmit stamp is that of the last device."""
    end = _connect(host, int(port), "udp")
    count, gap = int(float(rate) * float(seconds)), 1e9 / float(rate)
    start = time.monotonic_ns()
    sent = []
    for number in range(count):
        time.sleep(max(0.0, (start + number * gap - time.monotonic_ns()) / 1e9))
        sent.append((number, time.time_ns()))
        end.send(NUMBER.pack(number))
    _say_farewell(end, FAREWELLS)
    return {"sent_ns": sent}


def _say_farewell(end: socket.socket, times: int) -> None:
    time.sleep(0.1)  # for what is still on its way, so that what says the end overtakes nothing
    with contextlib.suppress(ConnectionRefusedError):  # the sink has heard it, and is gone
        for _ in range(times):
            end.send(NUMBER.pack(LAST))
            time.sleep(0.01)


def _collect_stamps(end: socket.socket, protocol: str, stamps: dict[int, int]) -> None:
    """The kernel's transmit stamps from the socket's error queue (its Documentation/networking/timestamping.rst)."""
    while True:
        try:
            _, ancillary, _, _ = end.recvmsg(64, 512, socket.MSG_ERRQUEUE | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        stamp = number = None
        for level, kind, payload in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPING):
                seconds, nanoseconds = TIMESPEC.unpack_from(payload)
                stamp = seconds * 10**9 + nanoseconds
            elif level in (socket.IPPROTO_IP, socket.IPPROTO_IPV6):
                number = EXTENDED_ERROR.unpack_from(payload)[5]
        if stamp is not None and number is not None:
            # UDP counts datagrams; TCP counts bytes, and names the last one of a send.
            stamps[number if protocol == "udp" else number // NUMBER.size] = stamp


def delay_sink(port: str, protocol: str) -> dict[str, object]:
    """When the kernel took in each message, in ns: when this program gets to run is not the network's doing."""
    end = _accept(int(port), protocol)
    end.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    arrivals: dict[int, int] = {}
    buffer = b""
    while True:
        data, ancillary, _, _ = end.recvmsg(65536, 64)
        buffer += data
        arrived = _kernel_time(ancillary)
        while len(buffer) >= NUMBER.size:
            (number,) = NUMBER.unpack_from(buffer)
            buffer = buffer[NUMBER.size :]
            if number != LAST and arrived is not None:
                arrivals[number] = arrived
        if not data or number == LAST:
            return {"arrived_ns": sorted(arrivals.items())}


def _kernel_time(ancillary: list[tuple[int, int, bytes]]) -> int | None:
    for level, kind, payload in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS):
            seconds, nanoseconds = TIMESPEC.unpack_from(payload)
            return int(seconds) * 10**9 + int(nanoseconds)
    return None


def round_trips(host: str, port: str, count: str) -> dict[str, object]:
    """Request and answer over TCP, one at a time."""
    end = _connect(host, int(port), "tcp")
    took = []
    for _ in range(int(count)):
        start = time.perf_counter_ns()
        end.send(NUMBER.pack(0))
        end.recv(64)
        took.append((time.perf_counter_ns() - start) / 1e6)
    return {"round_trips_ms": took}


def echo_sink(port: str) -> dict[str, object]:
    """Answers every message with itself."""
    end = _accept(int(port), "tcp")
    while data := end.recv(64):
        end.send(data)
    return {}


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


ROLES = {
    one.__name__: one
    for one in (
        paced_sender,
        sleeping_sender,
        delay_sink,
        round_trips,
        echo_sink,
        blast_sender,
        blast_sink,
        bulk_sender,
        bulk_sink,
    )
}

if __name__ == "__main__":
    print(json.dumps(ROLES[sys.argv[1]](*sys.argv[2:])), flush=True)
