"""What each direction of a TCP connection did, as one observer saw it: rules, and the RFC that each is from.

Two captures of one connection give different facts, and should: what is lost behind an observer was seen by it.
"""

from __future__ import annotations

from array import array
from collections import deque
from dataclasses import dataclass, field

import numpy as np

from faultlab.captures.columns import I64
from faultlab.captures.tcp_marks import Mark
from faultlab.network.packets import FIN, HALF, MASK, RST, SYN
from faultlab.network.tcp_stream import StreamCoverage

_MAX_WAITING = 4096
"""Segments without acknowledgement that are remembered for a direction: what bounds its memory."""
_RETRANSMISSION, _FAST = Mark.RETRANSMISSION.value, Mark.FAST_RETRANSMISSION.value
_SPURIOUS, _OUT_OF_ORDER = Mark.SPURIOUS_RETRANSMISSION.value, Mark.OUT_OF_ORDER.value
_DUPLICATE_ACK, _ZERO_WINDOW = Mark.DUPLICATE_ACK.value, Mark.ZERO_WINDOW.value
_AGAIN = _RETRANSMISSION | _OUT_OF_ORDER | Mark.KEEP_ALIVE.value


@dataclass(slots=True)
class TcpDirection:
    """What one end sent. Times are ns since the epoch, or -1 where it did not happen.

    - `segments`: packets with payload.
    - `retransmissions` (RFC 9293, 3.8.1) are `fast` (after the third ACK of the same, RFC 5681, 3.2), `spurious` (of
      what was acknowledged already: what RFC 3522 and RFC 4015 detect by timestamps), or `by_timeout` (all others,
      RFC 6298, 5; an observer can't tell a tail loss probe, RFC 8985, 7, from them).
    - `out_of_order`, `duplicate_acks` (RFC 5681, 2), `zero_windows` (RFC 9293, 3.8.6.1): packets so marked.
    - `duplicates_reported`: D-SACKs, by which this end says that bytes came twice (RFC 2883); RFC 3708, 2 takes them as
      proof that the peer sent again without need. They are looked for in duplicate ACKs.
    - `syn_ns`, `fin_ns`, `reset_ns`: its first SYN, FIN and RST; `resets`: how many RSTs.
    - `stream`: which bytes were seen (`seen`), how many are whole (`in_order`), and how many the peer acknowledged that
      the capture lacks (`missing`).
    """

    segments: int = 0
    retransmissions: int = 0
    fast: int = 0
    spurious: int = 0
    out_of_order: int = 0
    duplicate_acks: int = 0
    zero_windows: int = 0
    duplicates_reported: int = 0
    resets: int = 0
    syn_ns: int = -1
    fin_ns: int = -1
    reset_ns: int = -1
    first_data_ns: int = -1
    last_progress_ns: int = -1
    stream: StreamCoverage = field(default_factory=StreamCoverage)
    _rtt_time: array[int] = field(default_factory=lambda: array("q"))
    _rtt: array[int] = field(default_factory=lambda: array("q"))
    _waiting: deque[tuple[int, int]] = field(default_factory=deque)
    _doubtful: int = -1
    """The end of what is waiting that leaves no sample."""

    @property
    def by_timeout(self) -> int:
        return self.retransmissions - self.fast - self.spurious

    @property
    def goodput(self) -> float:
        """Bytes in order per second, from the first data to the last that moved on; 0 where that is one moment.

        RFC 2647, 3.17: what reaches the application, without what was sent again.
        """
        took = self.last_progress_ns - self.first_data_ns
        return self.stream.in_order * 1e9 / took if self.first_data_ns >= 0 and took > 0 else 0.0

    @property
    def rtt_time_ns(self) -> I64:
        """When each round trip was over: the ACK's time."""
        return np.array(self._rtt_time, np.int64)

    @property
    def rtt_ns(self) -> I64:
        """Round trips from this observer to the receiver and back: from a segment to the first ACK that covers it.

        One for each ACK, of the last segment that it covers; none of what was sent twice (Karn's rule, RFC 6298, 3),
        nor of what waited behind that.
        """
        return np.array(self._rtt, np.int64)

    def sent(self, seq: int, flags: int, size: int, now: int, marks: int) -> None:
        """A packet of this end's."""
        if marks:
            self._count(marks)
        if flags & (SYN | FIN | RST):
            self._special(seq, flags, now)
        if size:
            self.segments += 1
            if self.first_data_ns < 0:
                self.first_data_ns = now
        if (size or flags & (SYN | FIN)) and not flags & RST:
            self._wait((seq + size + (flags & (SYN | FIN) != 0)) & MASK, now, marks)
            moved = self.stream.take(seq + bool(flags & SYN), size, bool(flags & FIN))
            if size and moved:
                self.last_progress_ns = now

    def acknowledged(self, ack: int, now: int) -> None:
        """By the peer."""
        waiting, newest = self._waiting, -1
        while waiting and (ack - waiting[0][0]) & MASK < HALF:
            end, since = waiting.popleft()
            newest = -1 if end == self._doubtful else since
            if end == self._doubtful:
                self._doubtful = -1
        if 0 <= newest <= now and self._doubtful < 0:  # clocks go back
            self._rtt_time.append(now)
            self._rtt.append(now - newest)
        self.stream.acknowledged(ack)

    def _count(self, marks: int) -> None:
        if marks & _RETRANSMISSION:
            self.retransmissions += 1
            self.fast += bool(marks & _FAST)
            self.spurious += bool(marks & _SPURIOUS)
        self.out_of_order += bool(marks & _OUT_OF_ORDER)
        self.duplicate_acks += bool(marks & _DUPLICATE_ACK)
        self.zero_windows += bool(marks & _ZERO_WINDOW)

    def _special(self, seq: int, flags: int, now: int) -> None:
        if flags & SYN:
            self.syn_ns = now if self.syn_ns < 0 else self.syn_ns
            self.stream.begin((seq + 1) & MASK)
        if flags & FIN and self.fin_ns < 0:
            self.fin_ns = now
        if flags & RST:
            self.resets += 1
            self.reset_ns = now if self.reset_ns < 0 else self.reset_ns

    def _wait(self, end: int, now: int, marks: int) -> None:
        if marks & _AGAIN:
            if self._waiting:
                self._doubtful = self._waiting[-1][0]
            return
        if len(self._waiting) == _MAX_WAITING:
            self._waiting.popleft()
        self._waiting.append((end, now))


@dataclass(frozen=True, slots=True)
class Handshake:
    """Times of the first SYN, the first SYN-ACK and the first ACK of that, in ns since the epoch (RFC 9293, 3.5)."""

    syn_ns: int
    syn_ack_ns: int
    ack_ns: int

    @property
    def took_ns(self) -> int:
        """From SYN to ACK. Lost SYNs and SYN-ACKs are in it."""
        return self.ack_ns - self.syn_ns
