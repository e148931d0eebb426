"""What each conversation of a capture did, in a few numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lab.captures.flows import Endpoint, Flow
from lab.captures.tcp import TcpFacts
from lab.captures.tcp_facts import TcpDirection
from lab.packets import PROTOCOL_NAMES


@dataclass(frozen=True)
class TcpSide:
    """What one end of a TCP connection sent: see `lab.captures.tcp_facts` for each rule. None: not measured."""

    retransmissions: int
    fast: int
    spurious: int
    out_of_order: int
    duplicate_acks: int
    zero_windows: int
    resets: int
    missing_bytes: int
    rtt_p50_ns: int | None
    goodput_bytes_per_second: float


@dataclass(frozen=True)
class FlowFacts:
    """One conversation. `number` counts from 1 in the order of the first packets; `stream` is Wireshark's tcp.stream or
    udp.stream. Pairs are of who began, and of the other. `bytes` are whole IP packets, times ns since time 0. Of TCP:
    `handshake_ns` (None: not seen whole), and what each side sent.
    """

    number: int
    protocol: str
    stream: int
    ends: tuple[str, str]
    packets: tuple[int, int]
    bytes: tuple[int, int]
    first_ns: int
    last_ns: int
    handshake_ns: int | None
    tcp: tuple[TcpSide, TcpSide] | None

    @property
    def hosts(self) -> tuple[str, str]:
        """Both ends without their ports."""
        return self.ends[0].rpartition(":")[0], self.ends[1].rpartition(":")[0]

    def __str__(self) -> str:
        return f"{self.protocol} {self.ends[0]} <-> {self.ends[1]}"


def flow_facts(flow: Flow, tcp: TcpFacts | None, start_ns: int, name: Callable[[Endpoint], str]) -> FlowFacts:
    """`start_ns`: time 0, since the epoch; `name` is how an endpoint is called."""
    return FlowFacts(
        flow.index + 1,
        PROTOCOL_NAMES[flow.protocol],
        flow.number,
        (name(flow.ends[0]), name(flow.ends[1])),
        (flow.packets[0], flow.packets[1]),
        (flow.bytes[0], flow.bytes[1]),
        flow.first_ns - start_ns,
        flow.last_ns - start_ns,
        tcp.handshake.took_ns if tcp and tcp.handshake else None,
        (_side(tcp.sides[0]), _side(tcp.sides[1])) if tcp else None,
    )


def _side(one: TcpDirection) -> TcpSide:
    rtt = one.rtt_ns
    return TcpSide(
        one.retransmissions,
        one.fast,
        one.spurious,
        one.out_of_order,
        one.duplicate_acks,
        one.zero_windows,
        one.resets,
        one.stream.missing,
        int(np.median(rtt)) if len(rtt) else None,
        one.goodput,
    )
