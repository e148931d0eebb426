# SPDX-License-Identifier: GPL-2.0-only
"""One end of a TCP connection made by hand with scapy, in a node whose kernel has no address and so keeps out of it.

`python tcp_peer.py CASE SOURCE ADDRESS MAC DEVICE` plays a case against the echo server, length-prefixed or by lines,
and prints what it saw as one JSON object. A program of its own: scapy is GPL-2.0-only.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable
from typing import Any

from scapy.config import conf
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

LENGTH2, LINE = 8082, 8081
LINE_LIMIT = 65_536
WAIT_S = 5.0
PING = b"\0\4ping"
PONG = b"\0\4pong"


class Peer:
    """Sends segments as it is told to; what the server sends to its port can be waited for."""

    def __init__(self, source: str, address: str, mac: str, device: str, port: int) -> None:
        self.to = LENGTH2
        self._below = Ether(dst=mac) / IP(src=source, dst=address)
        self._socket = conf.L2socket(iface=device, filter=None)
        self.port = port
        self.seq = random.Random(port).randrange(1 << 30)
        self.ack = 0
        self.got = b""

    def send(self, flags: str, data: bytes = b"", *, seq: int | None = None, **fields: Any) -> None:
        """A segment at `seq`, or in its turn; what is in its turn moves on."""
        options = {"seq": self.seq if seq is None else seq, "ack": self.ack if "A" in flags else 0, "window": 8192}
        segment = TCP(sport=self.port, dport=self.to, flags=flags, **(options | fields))
        self._socket.send(self._below / segment / data)
        if seq is None:
            self.seq += len(data) + ("S" in flags) + ("F" in flags)

    def hear(self, meant: Callable[[Any], bool], seconds: float = WAIT_S) -> Any:
        """The next segment of the server's that is meant, or None; data in its turn is kept and moves on `ack`."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            for sock in self._socket.select([self._socket], left):
                frame = sock.recv()
                if frame is None or TCP not in frame or (frame[TCP].sport, frame[TCP].dport) != (self.to, self.port):
                    continue
                segment = frame[TCP]
                size = frame[IP].len - frame[IP].ihl * 4 - segment.dataofs * 4
                if segment.seq == self.ack and size:
                    self.got += bytes(segment.payload)[:size]
                    self.ack += size
                if meant(segment):
                    return segment
        return None

    def connect(self, **fields: Any) -> Peer:
        self.send("S", **fields)
        self.ack = self.hear(lambda one: one.flags == "SA").seq + 1
        self.send("A", **fields)
        return self

    def answered(self, frame: bytes) -> bool:
        """Whether the server sends this, after all that came before."""
        self.hear(lambda one: frame in self.got)
        return frame in self.got


def reset(one: Any) -> bool:
    return "R" in str(one.flags)


def gone(peer: Peer) -> dict[str, Any]:
    """A RST, then an old ACK: where there is no connection any more, it is answered with a RST."""
    peer.send("R")
    peer.send("A")
    return {"gone": peer.hear(reset) is not None}


def half_open(peer: Peer, more: Callable[[], Peer]) -> dict[str, Any]:
    """SYNs whose SYN-ACK is never acknowledged; the server sends it again, and goes on serving."""
    peers = [more() for _ in range(20)]
    for one in peers:
        one.send("S")
    first = [one.hear(lambda one: one.flags == "SA") is not None for one in peers]
    again = peers[0].hear(lambda one: one.flags == "SA")
    peer.connect().send("PA", PING)
    return {"syn_acks": sum(first), "again": again is not None, "served": peer.answered(PING)}


def reset_in_syn_received(peer: Peer, more: Callable[[], Peer]) -> dict[str, Any]:
    peer.send("S")
    peer.ack = peer.hear(lambda one: one.flags == "SA").seq + 1
    return gone(peer)


def reset_in_established(peer: Peer, more: Callable[[], Peer]) -> dict[str, Any]:
    peer.connect().send("R")
    peer.send("PA", PING)
    return {"gone": peer.hear(reset) is not None}


def reset_in_close_wait(peer: Peer, more: Callable[[], Peer]) -> dict[str, Any]:
    """The server's answer is kept back by a closed window, so that our FIN finds it in CLOSE-WAIT."""
    peer.connect(window=0).send("PA", PING, window=0)
    peer.send("FA", window=0)
    peer.hear(lambda one: one.ack == peer.seq)
    return gone(peer)


def reset_in_last_ack(peer: Peer, more: Callable[[], Peer]) -> dict[str, Any]:
    """The server answers our FIN with its own, which nobody acknowledges."""
    peer.connect().send("FA")
    peer.hear(fin)
    return gone(peer)


def fin(one: Any) -> bool:
    return "F" in str(one.flags)


def closed_by_the_server(peer: Peer, acknowledged: bool) -> Peer:
    """A line that is too long makes the server end the connection first."""
    peer.to = LINE
    peer.connect()
    for _ in range(0, 2 * LINE_LIMIT, 16_384):
        for _ in range(16):
            peer.send("A", b"x" * 1024)
        if fin(peer.hear(lambda one: fin(one) or one.ack == peer.seq)):
            break
    if acknowledged:
        peer.ack += 1
        peer.send("A")
    return peer


def reset_in_fin_wait_1(peer: Peer, more: Callable[[], Peer]) -> dict[str, Any]:
    return gone(closed_by_the_server(peer, acknowledged=False))


def reset_in_fin_wait_2(peer: Peer, more: Callable[[], Peer]) -> dict[str, Any]:
    return gone(closed_by_the_server(peer, acknowledged=True))


def reset_in_time_wait(peer: Peer, more: Callable[[], Peer]) -> dict[str, Any]:
    closed_by_the_server(peer, acknowledged=True).send("FA")
    peer.hear(lambda one: one.ack == peer.seq)
    return gone(peer)


def reset_not_exact(peer: Peer, more: Callable[[], Peer]) -> dict[str, Any]:
    """In the window, but not the next number: a challenge ACK, and the connection stays."""
    peer.connect().send("R", seq=peer.seq + 100)
    challenge = peer.hear(lambda one: one.flags == "A")
    peer.send("PA", PING)
    return {"challenged": challenge is not None and challenge.ack == peer.seq - len(PING), "stays": peer.answered(PING)}


def out_of_window(peer: Peer, more: Callable[[], Peer]) -> dict[str, Any]:
    peer.connect().send("PA", PONG, seq=peer.seq + (1 << 24))
    acked = peer.hear(lambda one: one.flags == "A")
    peer.send("PA", PING)
    alone = peer.answered(PING) and peer.got == PING
    return {"acked_what_it_has": acked is not None and acked.ack == peer.seq - len(PING), "alone": alone}


def overlapping(peer: Peer, more: Callable[[], Peer]) -> dict[str, Any]:
    """Two segments that share bytes, each of them twice, and the later ones first."""
    peer.connect()
    start, stream = peer.seq, PING + PONG
    for at, end in ((4, 12), (4, 12), (0, 8), (0, 8)):
        peer.send("PA", stream[at:end], seq=start + at)
    return {"whole": peer.answered(stream), "once": peer.got == stream}


def bad_checksum(peer: Peer, more: Callable[[], Peer]) -> dict[str, Any]:
    peer.connect().send("PA", PONG, seq=peer.seq, chksum=0x1234)
    peer.send("PA", PING)
    return {"alone": peer.answered(PING) and peer.got == PING}


def zero_window(peer: Peer, more: Callable[[], Peer]) -> dict[str, Any]:
    """No answer leaves while our window is closed, but a probe does; then the answer, when it opens."""
    peer.connect(window=0).send("PA", PING, window=0)
    probe = peer.hear(lambda one: one.flags == "A" and one.ack == peer.seq and one.seq == peer.ack - 1)
    kept = peer.got == b""
    peer.send("A")
    return {"kept": kept, "probed": probe is not None, "answered": peer.answered(PING)}


def urgent(peer: Peer, more: Callable[[], Peer]) -> dict[str, Any]:
    """The byte before the urgent pointer is taken out of the stream, so one more makes the frame whole."""
    peer.connect().send("PAU", b"\0\4pi!", urgptr=5)
    peer.send("PA", b"ng")
    return {"out_of_band": peer.answered(PING)}


CASES = {
    function.__name__.replace("_", "-"): function
    for function in (
        half_open,
        reset_in_syn_received,
        reset_in_established,
        reset_in_close_wait,
        reset_in_last_ack,
        reset_in_fin_wait_1,
        reset_in_fin_wait_2,
        reset_in_time_wait,
        reset_not_exact,
        out_of_window,
        overlapping,
        bad_checksum,
        zero_window,
        urgent,
    )
}


def main() -> None:
    case, *place = sys.argv[1:]
    ports = iter(range(30_000 + 100 * list(CASES).index(case), 60_000))

    def more() -> Peer:
        return Peer(*place, next(ports))

    print(json.dumps(CASES[case](more(), more)))


if __name__ == "__main__":
    main()
