"""Marks: what is remarkable about each TCP packet, in the meaning of Wireshark's `tcp.analysis` (tshark 4.0).

The rules are those of the Wireshark User's Guide, 7.5 "TCP Analysis"; where it is silent, or says another thing than
tshark does, they were found out with captures made for it, and docs/captures.md says what is left. An observer knows no
more than the packets that pass it, in the order in which they pass: a mark is an opinion.

Of packets that were captured at their senders more is known, and tshark's guess has no place: their order is the order
of sending, so nothing is out of order, and what was sent before was sent again (RFC 4022, tcpRetransSegs).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntFlag

import numpy as np
from numpy.typing import NDArray

from faultlab.captures.columns import I32, I64, U16, U32, Columns
from faultlab.captures.flows import FlowColumns
from faultlab.network.packets import ACK, FIN, HALF, MASK, RST, SYN

_LATE_NS, _REORDERED_NS = 20_000_000, 3_000_000


class Mark(IntFlag):
    """Of one packet, named as tshark's fields after `tcp.analysis.`; a fast or spurious retransmission is both."""

    RETRANSMISSION = 1 << 0
    FAST_RETRANSMISSION = 1 << 1
    SPURIOUS_RETRANSMISSION = 1 << 2
    OUT_OF_ORDER = 1 << 3
    LOST_SEGMENT = 1 << 4
    ACK_LOST_SEGMENT = 1 << 5
    DUPLICATE_ACK = 1 << 6
    ZERO_WINDOW = 1 << 7
    ZERO_WINDOW_PROBE = 1 << 8
    ZERO_WINDOW_PROBE_ACK = 1 << 9
    WINDOW_FULL = 1 << 10
    WINDOW_UPDATE = 1 << 11
    KEEP_ALIVE = 1 << 12
    KEEP_ALIVE_ACK = 1 << 13
    REUSED_PORTS = 1 << 14


# The loop takes plain numbers: an operation on an enumeration's members costs as much as all else about a packet.
(
    _RETRANSMISSION,
    _FAST,
    _SPURIOUS,
    _OUT_OF_ORDER,
    _LOST,
    _ACK_LOST,
    _DUPLICATE_ACK,
    _ZERO_WINDOW,
    _PROBE,
    _PROBE_ACK,
    _WINDOW_FULL,
    _WINDOW_UPDATE,
    _KEEP_ALIVE,
    _KEEP_ALIVE_ACK,
    _REUSED_PORTS,
) = (mark.value for mark in Mark)


class _Side:
    """What was seen of one direction so far; sequence numbers and times are 0 where nothing was.

    `next` is the number after the highest that was sent, since `next_ns`; `whole` the end of what was seen without a
    hole; `beyond_told`: of an acknowledgement beyond all that was told. `begun`: something was sent, though `next` is 0
    again after a wrap, where tshark takes it for nothing. `ack`, `window` (-1: none yet) and `marks` are the last
    packet's, at `ack_ns`; `duplicates` counts the ACKs that repeat that `ack`. `told` is what it acknowledged, heard by
    the other end or not.
    """

    __slots__ = (
        "ack", "ack_ns", "begun", "beyond_told", "duplicates", "marks", "next", "next_ns", "scale", "told",
        "whole", "window",
    )  # fmt: skip

    def __init__(self, scale: int = -1) -> None:
        self.next = self.next_ns = self.whole = self.ack = self.ack_ns = self.duplicates = self.marks = 0
        self.told = 0
        self.window = -1
        self.scale = scale
        self.begun = self.beyond_told = False


@dataclass(frozen=True, slots=True)
class Heard:
    """What reached the ends of a batch's flows: `columns`, and of each packet the flow (-1: none) and who sent it."""

    columns: Columns
    flow: I32
    side: NDArray[np.int8]


class _Connection:
    """Both sides, and of the handshake: the last SYN's time, whether a SYN-ACK came, and how long it all took."""

    __slots__ = ("opened", "round_trip_ns", "sides", "syn_ns", "synced")

    def __init__(self) -> None:
        self.sides = [_Side(), _Side()]
        self.syn_ns = -1
        self.opened = self.synced = False
        self.round_trip_ns = 0

    def handshake(self, flags: int, acknowledges_all: bool, now: int) -> None:
        if flags & SYN:
            self.opened = True
            if flags & ACK:
                self.synced = True
            else:
                self.syn_ns = now
        elif self.synced and self.syn_ns >= 0 and flags & ACK and acknowledges_all:
            self.round_trip_ns = max(now - self.syn_ns, 1)
            self.synced = False

    def scaled(self, side: _Side) -> int:
        """A side's window in bytes. The option counts where both sides sent it (RFC 7323, 2.2)."""
        both = self.sides[0].scale >= 0 <= self.sides[1].scale
        return side.window << side.scale if both else side.window


class TcpMarks:
    """`feed` takes batch after batch. Memory grows with the connections, not with the packets."""

    def __init__(self) -> None:
        self._connections: dict[int, _Connection] = {}

    def feed(
        self,
        columns: Columns,
        of: FlowColumns,
        who: I64,
        scales: dict[int, int],
        at_senders: bool = False,
        heard: Heard | None = None,
    ) -> tuple[U16, U32]:
        """Marks of a batch, and of each duplicate ACK which one it is (from 1); both as long as the batch.

        `who` are the TCP packets in flows. `scales` has the window scale option of the SYNs that have one, by index.
        `at_senders`: each packet was captured at its sender; with `heard` it is marked by what its sender had heard of
        the other end by then, otherwise by what the other end had sent.
        """
        marks, duplicates = np.zeros(len(columns), np.uint16), np.zeros(len(columns), np.uint32)
        connections = self._connections
        got, counts = [], []
        order, rows = _rows(columns, of, who, heard)
        anew = set(np.flatnonzero(of.reused).tolist())
        for index, key, end, seq, ack, flags, window, size, now in rows:
            connection = connections.get(key)
            if connection is None:
                connection = connections[key] = _Connection()
            side = connection.sides[end]
            if index in scales:
                side.scale = scales[index]
                if heard is not None:
                    connections.setdefault(key ^ 1, _Connection()).sides[end].scale = scales[index]
            if at_senders and index in anew:
                side = connection.sides[end] = _Side(side.scale)
            found = _mark(connection, side, connection.sides[1 - end], seq, ack, flags, window, size, now, at_senders)
            if index >= 0:
                (connection if heard is None else connections.setdefault(key ^ 1, _Connection())).sides[end].told = ack
            got.append(found)
            counts.append(side.duplicates if found & _DUPLICATE_ACK else 0)
        own = order >= 0
        marks[order[own]], duplicates[order[own]] = np.array(got, np.uint16)[own], np.array(counts, np.uint32)[own]
        marks[of.reused] |= _REUSED_PORTS
        return marks, duplicates


def _rows(
    columns: Columns, of: FlowColumns, who: I64, heard: Heard | None
) -> tuple[I64, Iterator[tuple[int, int, int, int, int, int, int, int, int]]]:
    """Each packet's index (-1: it was only heard), and that with the connection it belongs to and what `_mark` takes.

    Where both ends were captured each end has a connection of its own: what it sent and what it heard, by time.
    """
    names = ("seq", "ack", "flags", "window", "payload", "time_ns")
    values = [getattr(columns, name)[who] for name in names]
    index, key, side = who, of.flow[who].astype(np.int64), of.side[who]
    if heard is not None:
        came = np.flatnonzero(heard.flow >= 0)
        came_side = heard.side[came]
        key = np.concatenate((heard.flow[came].astype(np.int64) * 2 + 1 - came_side, key * 2 + side))
        values = [
            np.concatenate((getattr(heard.columns, name)[came], own)) for name, own in zip(names, values, strict=True)
        ]
        index, side = np.concatenate((np.full(len(came), -1), index)), np.concatenate((came_side, side))
        by_time = np.argsort(values[-1], kind="stable")
        index, key, side, values = index[by_time], key[by_time], side[by_time], [one[by_time] for one in values]
    return index, zip(index.tolist(), key.tolist(), side.tolist(), *(one.tolist() for one in values), strict=True)


def _mark(
    connection: _Connection,
    side: _Side,
    peer: _Side,
    seq: int,
    ack: int,
    flags: int,
    window: int,
    size: int,
    now: int,
    at_sender: bool,
) -> int:
    """The marks of a packet that `side` sent; takes it into both sides' state."""
    expected, special = side.next, flags & (SYN | FIN | RST)
    if connection.round_trip_ns == 0 and (special or connection.synced):
        connection.handshake(flags, ack == peer.next, now)
    if size == 1 and seq == expected and peer.window == 0 and not at_sender:
        marks = _PROBE
    else:
        marks = 0 if special else _of_windows(connection, side, peer, seq, ack, window, size)
        if at_sender and size:
            marks &= ~_KEEP_ALIVE  # the last byte again, and that is what its sender meant
        if expected and 0 < (seq - expected) & MASK < HALF and not flags & RST:
            marks |= _LOST
    if ack != side.ack:
        side.duplicates = 0
    if flags & ACK and 0 < (ack - peer.whole) & MASK < HALF and peer.whole:
        marks |= _ack_lost(peer)
    end = (seq + size + (1 if flags & (SYN | FIN) else 0)) & MASK
    if (size or flags & (SYN | FIN)) and not marks & _KEEP_ALIVE:
        marks |= _sent_again(connection, side, peer, seq, size, end, now, at_sender)
    if not marks & _PROBE:
        if not (side.begun if at_sender else expected) or 0 < (end - expected) & MASK < HALF:
            side.next, side.next_ns, side.begun = end, now, True
        if seq == side.whole or not side.whole:
            side.whole = side.next
    side.ack, side.ack_ns, side.window, side.marks = ack, now, window, marks
    return marks


def _of_windows(connection: _Connection, side: _Side, peer: _Side, seq: int, ack: int, window: int, size: int) -> int:
    """The marks that have to do with windows, or with segments that carry nothing. Not for SYN, FIN and RST."""
    marks = 0 if window else _ZERO_WINDOW
    if size:
        if connection.opened and (seq + size - peer.ack) & MASK == connection.scaled(peer):
            marks |= _WINDOW_FULL
    elif seq == side.next and ack == side.ack:
        if window != side.window:
            return _WINDOW_UPDATE if window else marks
        if window == 0:
            return marks | (_PROBE_ACK if peer.marks & _PROBE else 0)
        if peer.marks & _KEEP_ALIVE:
            return _KEEP_ALIVE_ACK
        side.duplicates += 1
        side.beyond_told = True
        return _DUPLICATE_ACK
    if size <= 1 and side.next and seq == (side.next - 1) & MASK:
        marks |= _KEEP_ALIVE
    return marks


def _ack_lost(peer: _Side) -> int:
    """For an acknowledgement of what was not seen: told once for each hole, and once for what is beyond all."""
    if peer.whole == peer.next:
        if peer.beyond_told:
            return 0
        peer.beyond_told = True
    peer.whole = peer.next
    return _ACK_LOST


def _sent_again(
    connection: _Connection, side: _Side, peer: _Side, seq: int, size: int, end: int, now: int, at_sender: bool
) -> int:
    """The marks of a segment that takes sequence numbers and does not begin at the next one."""
    if at_sender:
        behind = side.begun and 0 < (side.next - seq) & MASK < HALF
        if not behind:
            return 0
    else:
        # A sender may send a probe's byte again with more behind it, and that is new.
        behind = 0 < (side.next - seq) & MASK < HALF and not (size > 1 and seq == (side.next - 1) & MASK)
        behind = behind and side.next != 0
    if behind and peer.duplicates >= 2 and peer.ack == seq and 0 <= now - peer.ack_ns < _LATE_NS:
        return _FAST | _RETRANSMISSION
    if size and peer.told and (peer.told - seq - size) & MASK < HALF:
        return _SPURIOUS | _RETRANSMISSION
    if not behind:
        return 0
    if not at_sender and end != side.next and 0 <= now - side.next_ns < (connection.round_trip_ns or _REORDERED_NS):
        return _OUT_OF_ORDER
    return _RETRANSMISSION
