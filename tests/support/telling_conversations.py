"""For each mark, conversations whose last packet has it, and ones that lack just what it takes; tshark 4.0 agrees."""

from __future__ import annotations

from faultlab.captures.tcp_marks import Mark

from tests.support.conversations import Segment


def a(ms: float, seq: int, size: int = 10, ack: int = 5000, window: int = 1000, flags: str = "A") -> Segment:
    return Segment(ms, "A", flags, seq, ack, size, window)


def b(ms: float, ack: int, seq: int = 5000, size: int = 0, window: int = 1000, flags: str = "A") -> Segment:
    return Segment(ms, "B", flags, seq, ack, size, window)


def opened(rtt_ms: float, scale_a: bytes = b"", scale_b: bytes = b"", window: int = 1000) -> list[Segment]:
    """A handshake; the next numbers are 1000 and 5000."""
    return [
        Segment(0, "A", "S", 999, 0, 0, window, scale_a),
        Segment(rtt_ms / 2, "B", "SA", 4999, 1000, 0, window, scale_b),
        Segment(rtt_ms, "A", "A", 1000, 5000, 0, window),
    ]


NONE = Mark(0)
AGAIN = Mark.RETRANSMISSION
FAST = AGAIN | Mark.FAST_RETRANSMISSION
SPURIOUS = AGAIN | Mark.SPURIOUS_RETRANSMISSION
TWO = [a(0, 1000), a(0, 1010)]
THREE_ACKS = [b(1, 1000), b(2, 1000), b(3, 1000)]
TIMES_TWO, TIMES_FOUR = b"\x03\x03\x01\x01", b"\x03\x03\x02\x01"

TELLING: dict[str, tuple[Mark, list[Segment]]] = {
    "the next segment": (NONE, [a(0, 1000), a(1, 1010)]),
    "sent again": (AGAIN, [a(0, 1000), a(300, 1000)]),
    "sent again soon, and it was the last": (AGAIN, [a(0, 1000), a(1, 1000)]),
    "an older one within 3 ms": (Mark.OUT_OF_ORDER, [*TWO, a(2.9, 1000)]),
    "an older one after 3 ms": (AGAIN, [*TWO, a(3, 1000)]),
    "an older one before it in time": (AGAIN, [a(10, 1010), a(9, 1000)]),
    "an older one within the handshake's round trip": (Mark.OUT_OF_ORDER, [*opened(40), a(50, 1010), a(89, 1000)]),
    "an older one after the handshake's round trip": (AGAIN, [*opened(40), a(50, 1010), a(90, 1000)]),
    "the handshake's round trip counts from the last SYN": (
        AGAIN,
        [Segment(-20, "A", "S", 999, 0), *opened(10), a(50, 1010), a(61, 1000)],
    ),
    "after three ACKs": (FAST, [*TWO, *THREE_ACKS, a(22, 1000)]),
    "after two ACKs": (AGAIN, [*TWO, *THREE_ACKS[:2], a(22, 1000)]),
    "20 ms after three ACKs": (AGAIN, [*TWO, *THREE_ACKS, a(23, 1000)]),
    "another one after three ACKs": (AGAIN, [*TWO, *THREE_ACKS, a(22, 1005)]),
    "acknowledged already": (SPURIOUS, [*TWO, b(1, 1010), a(2, 1000)]),
    "partly acknowledged": (Mark.OUT_OF_ORDER, [*TWO, b(1, 1005), a(2, 1000)]),
    "acknowledged before it was seen": (SPURIOUS, [b(0, 1010), a(1, 1000)]),
    "a SYN again": (AGAIN, [*opened(10), Segment(50, "A", "S", 999, 0)]),
    "a FIN again": (AGAIN, [a(0, 1000, flags="FA"), a(300, 1000, flags="FA")]),
    "a hole before it": (Mark.LOST_SEGMENT, [a(0, 1000), a(1, 1020)]),
    "a hole before an empty one": (Mark.LOST_SEGMENT, [a(0, 1000), a(1, 1020, 0)]),
    "a reset far away": (NONE, [a(0, 1000), a(1, 9000, 0, flags="R")]),
    "an ACK for what was not seen": (Mark.ACK_LOST_SEGMENT, [a(0, 1000), b(1, 1020)]),
    "an ACK for a hole": (Mark.ACK_LOST_SEGMENT, [a(0, 1000), a(1, 1020), b(2, 1020)]),
    "an ACK for a hole that was filled": (NONE, [a(0, 1000), a(1, 1020), a(2, 1010), b(2, 1030)]),
    "an ACK, told once": (NONE, [a(0, 1000), b(1, 1020), b(2, 1021)]),
    "the same ACK again": (Mark.DUPLICATE_ACK, [*TWO, b(1, 1000), b(2, 1000)]),
    "the same ACK with another window": (Mark.WINDOW_UPDATE, [*TWO, b(1, 1000), b(2, 1000, window=1001)]),
    "the same ACK with data": (NONE, [*TWO, b(1, 1000), b(2, 1000, size=1)]),
    "the same ACK with a FIN": (NONE, [*TWO, b(1, 1000), b(2, 1000, flags="FA")]),
    "no window": (Mark.ZERO_WINDOW, [a(0, 1000), b(1, 1010, window=0)]),
    "no window in a reset": (NONE, [a(0, 1000), b(1, 1010, window=0, flags="RA")]),
    "a byte for no window": (Mark.ZERO_WINDOW_PROBE, [a(0, 1000), b(1, 1010, window=0), a(2, 1010, 1)]),
    "two bytes for no window": (NONE, [a(0, 1000), b(1, 1010, window=0), a(2, 1010, 2)]),
    "still no window": (
        Mark.ZERO_WINDOW | Mark.ZERO_WINDOW_PROBE_ACK,
        [a(0, 1000), b(1, 1010, window=0), a(2, 1010, 1), b(3, 1010, window=0)],
    ),
    "a probe's byte with more behind it": (
        NONE,
        [a(0, 1000), b(1, 1010, window=0), a(2, 1010, 1), b(3, 1010, window=9), a(4, 1010, 5)],
    ),
    "one byte before the next": (Mark.KEEP_ALIVE, [a(0, 1000), b(1, 1010), a(9000, 1009, 0)]),
    "one byte before the next, with it": (Mark.KEEP_ALIVE, [a(0, 1000), b(1, 1010), a(9000, 1009, 1)]),
    "two bytes before the next": (NONE, [a(0, 1000), b(1, 1010), a(9000, 1008, 0)]),
    "an answer to a keep-alive": (Mark.KEEP_ALIVE_ACK, [a(0, 1000), b(1, 1010), a(9000, 1009, 0), b(9001, 1010)]),
    "the window to its last byte": (Mark.WINDOW_FULL, [*opened(1, window=50), a(2, 1000, 50)]),
    "the window but for a byte": (NONE, [*opened(1, window=50), a(2, 1000, 49)]),
    "a window whose scale is not known": (NONE, [b(0, 1000, window=50), a(2, 1000, 50)]),
    "a scaled window to its last byte": (
        Mark.WINDOW_FULL,
        [*opened(1, TIMES_FOUR, TIMES_TWO, 50), b(2, 1000, window=50), a(3, 1000, 100)],
    ),
    "a window that only one side scales": (
        Mark.WINDOW_FULL,
        [*opened(1, b"", TIMES_TWO, 50), b(2, 1000, window=50), a(3, 1000, 50)],
    ),
    "another SYN": (Mark.REUSED_PORTS, [*opened(1), Segment(50, "A", "S", 7000, 0)]),
    "another SYN-ACK": (
        Mark.REUSED_PORTS | Mark.LOST_SEGMENT,
        [*opened(1), Segment(50, "B", "SA", 7000, 1000)],
    ),
    "numbers that wrap": (NONE, [a(0, 0xFFFFFFF8), a(1, 2)]),
    "an older one over the wrap": (AGAIN, [a(0, 0xFFFFFFF8), a(1, 2), a(300, 0xFFFFFFF8)]),
}
