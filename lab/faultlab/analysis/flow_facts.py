"""What each conversation of a capture did, in a few numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from faultlab.analysis.streams import SentStream, Streams
from faultlab.captures.columns import I64
from faultlab.captures.flows import Endpoint, Flow
from faultlab.captures.tcp import TcpFacts
from faultlab.captures.tcp_facts import TcpDirection
from faultlab.network.packets import protocol_name


@dataclass(frozen=True)
class TcpSide:
    """What one end of a TCP connection sent: see `faultlab.captures.tcp_facts` for each rule. None: not measured."""

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
    udp.stream, of other protocols it counts their flows. Pairs are of who began, and of the other. `bytes` are whole IP
    packets, times ns since time 0. Of TCP: `handshake_ns` (None: not seen whole), what each side sent, and
    `forged_resets`: how many RSTs that a fault forged reached each end.

    Of a run, whose captures are of both ends, round trips and handshake are as the ends themselves saw them
    (`faultlab.analysis.streams`); of a single capture, as whoever captured did: a handshake then ends with the ACK.
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
    forged_resets: tuple[int, int] = (0, 0)

    @property
    def hosts(self) -> tuple[str, str]:
        """Both ends without their ports."""
        one, other = (end.rpartition(":")[0] if self.has_ports else end for end in self.ends)
        return one, other

    @property
    def has_ports(self) -> bool:
        return self.protocol in ("tcp", "udp")

    def __str__(self) -> str:
        return f"{self.protocol} {self.ends[0]} <-> {self.ends[1]}"


def end_name(host: str, end: Endpoint) -> str:
    """`client:20000`; of a protocol without ports `client`."""
    return host if end.port is None else f"{host}:{end.port}"


def flow_facts(flow: Flow, tcp: TcpFacts | None, start_ns: int, name: Callable[[Endpoint], str]) -> FlowFacts:
    """`start_ns`: time 0, since the epoch; `name` is how an endpoint is called."""
    return FlowFacts(
        flow.index + 1,
        protocol_name(flow.protocol),
        flow.number,
        (name(flow.ends[0]), name(flow.ends[1])),
        (flow.packets[0], flow.packets[1]),
        (flow.bytes[0], flow.bytes[1]),
        flow.first_ns - start_ns,
        flow.last_ns - start_ns,
        tcp.handshake.took_ns if tcp and tcp.handshake and tcp.handshake.took_ns >= 0 else None,
        (_side(tcp.sides[0]), _side(tcp.sides[1])) if tcp else None,
    )


def as_ends_saw(facts: FlowFacts, streams: Streams) -> FlowFacts:
    """The same facts of a flow, with times as its ends saw them where that can be known."""
    if facts.tcp is None or not streams.whole:
        return facts
    flow = facts.number - 1
    one, other = (_timed(side, streams.of(flow, end)) for end, side in enumerate(facts.tcp))
    return replace(facts, handshake_ns=streams.handshake_ns(flow), tcp=(one, other))


def _timed(side: TcpSide, stream: SentStream | None) -> TcpSide:
    return replace(side, rtt_p50_ns=_median(stream.round_trips[1]) if stream else None)


def _side(one: TcpDirection) -> TcpSide:
    return TcpSide(
        one.retransmissions,
        one.fast,
        one.spurious,
        one.out_of_order,
        one.duplicate_acks,
        one.zero_windows,
        one.resets,
        one.stream.missing,
        _median(one.rtt_ns),
        one.goodput,
    )


def _median(times_ns: I64) -> int | None:
    return int(np.median(times_ns)) if len(times_ns) else None
