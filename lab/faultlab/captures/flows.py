"""Flows: the packets of a capture by conversation, numbered as Wireshark does (tcp.stream, udp.stream).

    flows = Flows()
    for columns in file.batches():
        of = flows.feed(columns)  # of.flow[i] is packet i's place in flows.all, or -1

A flow is all that two endpoints say to each other; of protocols without ports, such as ICMP, two hosts. Of TCP it ends
where a SYN has another initial sequence number than the one before: RFC 9293, 3.6.1 lets ports be used again. Memory
grows with the flows, not with the packets.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faultlab.captures.columns import I32, I64, Columns, Flags, address_text
from faultlab.network.packets import ACK, MASK, SYN, TCP, UDP, protocol_name

_WITH_PORTS = (TCP, UDP)
_END = (("high", "u8"), ("low", "u8"), ("port", "u2"))
_KEY = np.dtype(
    [("protocol", "u1"), ("ip", "u1"), *((f"{end}_{name}", kind) for end in ("lower", "upper") for name, kind in _END)]
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address, as people write it, and a port; None for a protocol that has none."""

    address: str
    port: int | None

    def __str__(self) -> str:
        if self.port is None:
            return self.address
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


@dataclass(slots=True)
class Flow:
    """One conversation. Lists have two elements: from `ends[0]`, who sent the first packet seen, and from `ends[1]`.

    `index` is its place in `Flows.all`, `number` counts those of its protocol. `bytes` are whole IP packets,
    `payload` is what is in them as sent: a retransmission counts again. Times are ns since the epoch.
    """

    index: int
    number: int
    protocol: int
    ends: tuple[Endpoint, Endpoint]
    first_ns: int
    last_ns: int
    packets: list[int] = field(default_factory=lambda: [0, 0])
    bytes: list[int] = field(default_factory=lambda: [0, 0])
    payload: list[int] = field(default_factory=lambda: [0, 0])

    def __str__(self) -> str:
        return f"{protocol_name(self.protocol)} {self.number}: {self.ends[0]} <-> {self.ends[1]}"


@dataclass(frozen=True, slots=True)
class FlowColumns:
    """Beside a batch of `Columns`: each packet's flow, as its place in `Flows.all` or -1, and which end sent it.

    `reused` marks a SYN or SYN-ACK that begins anew where a connection was.
    """

    flow: I32
    side: NDArray[np.int8]
    reused: Flags


@dataclass(slots=True)
class _Pair:
    """Two endpoints' flow of now, and which of them is its first: the upper one, by address and port?

    `initial` are the initial sequence numbers of the lower and the upper end: a SYN's, or one less than the first that
    was seen or acknowledged; None where nothing told it.
    """

    flow: int
    upper_first: bool
    initial: list[int | None]


class Flows:
    """`all` are the flows in the order of their first packets."""

    def __init__(self) -> None:
        self.all: list[Flow] = []
        self._pairs: dict[bytes, _Pair] = {}
        self._numbers: Counter[int] = Counter()

    def feed(self, columns: Columns) -> FlowColumns:
        """The next batch. In no flow are later fragments of TCP and UDP, and headers that were cut off."""
        count = len(columns)
        out = FlowColumns(np.full(count, -1, np.int32), np.zeros(count, np.int8), np.zeros(count, np.bool_))
        who = np.flatnonzero(in_a_flow(columns))
        if len(who):
            self._group(columns, who, out)
            self._count(columns, who, out)
        return out

    def _group(self, columns: Columns, who: I64, out: FlowColumns) -> None:
        keys, from_upper = _keys(columns, who)
        values, first, group = np.unique(keys, return_index=True, return_inverse=True)
        names = [value.tobytes() for value in values]
        pairs = [self._pairs.get(name) for name in names]
        flow, upper_first = np.full(len(who), -1, np.int32), np.zeros(len(who), np.bool_)
        asks = (columns.protocol[who] == TCP) & (columns.flags[who] & SYN != 0)
        for at, pair in zip(first.tolist(), pairs, strict=True):
            if pair is None:
                asks[at] = True
            else:
                flow[at], upper_first[at] = pair.flow, pair.upper_first
        for at in np.flatnonzero(asks).tolist():
            index, upper, pair = int(who[at]), bool(from_upper[at]), pairs[group[at]]
            anew = pair is not None and _anew(columns, index, upper, pair)
            out.reused[index] = anew
            if pair is None or (anew and not columns.flags[index] & ACK):
                pair = pairs[group[at]] = self._pairs[names[group[at]]] = self._begin(columns, index, upper)
                flow[at], upper_first[at] = pair.flow, pair.upper_first
        # Each group's first packet has a flow now, and so has each that begins another: what follows it has the same.
        order = np.argsort(group, kind="stable")
        known = np.maximum.accumulate(np.where(flow[order] >= 0, np.arange(len(who)), 0))
        source = np.empty_like(order)
        source[order] = order[known]
        out.flow[who] = flow[source]
        out.side[who] = from_upper != upper_first[source]

    def _begin(self, columns: Columns, index: int, upper: bool) -> _Pair:
        protocol, time = int(columns.protocol[index]), int(columns.time_ns[index])
        number = self._numbers[protocol]
        self._numbers[protocol] += 1
        self.all.append(Flow(len(self.all), number, protocol, _ends(columns, index), time, time))
        initial: list[int | None] = [None, None]
        if protocol == TCP:
            flags = int(columns.flags[index])
            initial[upper] = (int(columns.seq[index]) - (not flags & SYN)) & MASK
            initial[not upper] = (int(columns.ack[index]) - 1) & MASK if flags & ACK else None
        return _Pair(len(self.all) - 1, upper, initial)

    def _count(self, columns: Columns, who: I64, out: FlowColumns) -> None:
        flow, side, time = out.flow[who], out.side[who], columns.time_ns[who]
        places, group = np.unique(flow, return_inverse=True)
        by_flow = np.argsort(group, kind="stable")
        begins = np.searchsorted(group[by_flow], np.arange(len(places)))
        ends = np.maximum.reduceat(time[by_flow], begins).tolist()
        slot = group * 2 + side
        sums = [
            np.bincount(slot, weights, 2 * len(places)).astype(np.int64).reshape(-1, 2).tolist()
            for weights in (None, columns.ip_bytes[who], columns.payload[who])
        ]
        for at, place in enumerate(places.tolist()):
            of = self.all[place]
            of.last_ns = max(of.last_ns, ends[at])
            for total, added in zip((of.packets, of.bytes, of.payload), sums, strict=True):
                total[0] += added[at][0]
                total[1] += added[at][1]


def in_a_flow(columns: Columns) -> Flags:
    """Which packets are: those whose TCP or UDP header is there, or that are of another protocol over IP."""
    tcp = (columns.protocol == TCP) & (columns.tcp_header > 0)
    udp = (columns.protocol == UDP) & (columns.payload_at > 0)
    other = (columns.ip_bytes > 0) & ~np.isin(columns.protocol, _WITH_PORTS)
    return np.asarray(tcp | udp | other)


def _keys(columns: Columns, who: I64) -> tuple[NDArray[Any], Flags]:
    """A key for each packet that is the same in both directions, and whether its sender is the upper end of the two."""
    source: list[NDArray[Any]] = [columns.source_high[who], columns.source_low[who], columns.source_port[who]]
    target: list[NDArray[Any]] = [columns.target_high[who], columns.target_low[who], columns.target_port[who]]
    same_high, same_low = source[0] == target[0], source[1] == target[1]
    upper = (source[0] > target[0]) | (same_high & ((source[1] > target[1]) | (same_low & (source[2] > target[2]))))
    keys = np.empty(len(who), _KEY)
    keys["protocol"], keys["ip"] = columns.protocol[who], columns.ip[who]
    for (name, _), s, t in zip(_END, source, target, strict=True):
        keys[f"lower_{name}"], keys[f"upper_{name}"] = np.where(upper, t, s), np.where(upper, s, t)
    return keys.view(f"V{_KEY.itemsize}"), upper


def _anew(columns: Columns, index: int, upper: bool, pair: _Pair) -> bool:
    """Whether a SYN or SYN-ACK has another initial sequence number than its end had, which is then its own."""
    before, seq = pair.initial[upper], int(columns.seq[index])
    pair.initial[upper] = seq
    return before is not None and before != seq


def _ends(columns: Columns, index: int) -> tuple[Endpoint, Endpoint]:
    ip = int(columns.ip[index])
    source, target = (
        Endpoint(
            address_text(ip, int(getattr(columns, f"{end}_high")[index]), int(getattr(columns, f"{end}_low")[index])),
            int(getattr(columns, f"{end}_port")[index]) if columns.protocol[index] in _WITH_PORTS else None,
        )
        for end in ("source", "target")
    )
    return source, target
