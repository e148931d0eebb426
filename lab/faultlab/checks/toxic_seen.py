"""Proof of a toxic: what went into the toxiproxy node against what came out, in the captures, while it was set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from statistics import mean, median
from typing import Any

from faultlab.checks.base import Finding
from faultlab.evidence.run_evidence import Evidence
from faultlab.network.packets import ACK, FIN, MASK, RST, SYN, TCP, Packet, ahead

PROXY = "toxiproxy"
BANDWIDTH_SLICE_SECONDS = 0.1
LEAST_WAIT_NS = 1_000_000


@dataclass(frozen=True)
class Segment:
    """A TCP segment at the proxy: wall time in ns, bytes of payload that were not there before, flags."""

    time: int
    size: int
    flags: int


@dataclass(frozen=True)
class ToxicPassage:
    """One stream's segments at the proxy in the whole run: that came from the end that speaks, and that left.

    `since`, `until`: while the toxic was there, wall time in ns; `came` and `left` are of that time.
    """

    all_came: list[Segment]
    all_left: list[Segment]
    since: int
    until: int

    def _meanwhile(self, segments: list[Segment]) -> list[Segment]:
        return [one for one in segments if self.since <= one.time <= self.until]

    @property
    def came(self) -> list[Segment]:
        return self._meanwhile(self.all_came)

    @property
    def left(self) -> list[Segment]:
        return self._meanwhile(self.all_left)

    @property
    def data_came(self) -> list[Segment]:
        return [one for one in self.came if one.size]

    @property
    def data_left(self) -> list[Segment]:
        return [one for one in self.left if one.size]


def toxic_findings(evidence: Evidence, toxic: dict[str, Any]) -> tuple[bool, Finding]:
    """(not seen, what was seen or missed)"""
    name = f"{toxic['type']} {toxic['stream']} on {toxic['proxy']}"
    seen = SEEN[toxic["type"]](passage_of(evidence, toxic), toxic["attributes"])
    if seen is None:
        return True, Finding(f"toxic {name} left no trace", "sent.pcapng, delivered.pcapng")
    return False, Finding(f"{seen}: {name}", "sent.pcapng, delivered.pcapng: interface toxiproxy")


def passage_of(evidence: Evidence, toxic: dict[str, Any]) -> ToxicPassage:
    """Upstream: from clients to the proxy's port, and on to the server's same port. Downstream: the way back."""
    offset = int(evidence.ledger.run["epoch_offset"])
    start = toxic["set_t"] + offset
    end = toxic["cleared_t"] + offset if toxic["cleared_t"] is not None else 1 << 63
    port, upstream = toxic["port"], toxic["stream"] == "upstream"
    to_proxy: list[Segment] = []
    from_proxy: list[Segment] = []
    for capture, onto in ((evidence.delivered, to_proxy), (evidence.sent, from_proxy)):
        ends: dict[tuple[int, int], int] = {}
        for index in range(len(capture)):
            if capture.node(index) == PROXY:
                packet = Packet.parse(capture.frame(index))
                # Towards the service its port is the target on both sides of the proxy; on the way back the source.
                theirs = packet.target_port if upstream else packet.source_port
                if packet.protocol == TCP and theirs == port:
                    onto.append(Segment(capture.times[index], _new_bytes(packet, ends), packet.flags))
    return ToxicPassage(to_proxy, from_proxy, start, end)


def _new_bytes(packet: Packet, ends: dict[tuple[int, int], int]) -> int:
    """Payload beyond what the connection's segments had before: TCP may send bytes again (RFC 9293, 3.8.1)."""
    size, flow = packet.payload_end - packet.payload_at, (packet.source_port, packet.target_port)
    end = (packet.seq + size) & MASK
    new = size if flow not in ends else min(size, max(0, ahead(end, ends[flow])))
    if size and new:
        ends[flow] = end
    return new


def _latency(passage: ToxicPassage, attributes: dict[str, Any]) -> str | None:
    """Each byte leaves no sooner than it came, plus the latency less its jitter."""
    least = (attributes["latency"] - attributes.get("jitter", 0)) * 1e6
    delays = _byte_delays(passage)
    if not delays or least <= 0 or min(delays) < least:
        return None
    return f"delayed {len(delays)} segments by {median(delays) / 1e6:.1f} ms"


def _byte_delays(passage: ToxicPassage) -> list[int]:
    """For each segment that came and left while the toxic was there: how long after the arrival of its last byte.

    For one connection's stream, whose bytes are counted from its start: some were on their way when the toxic came.
    """
    came = [one for one in passage.all_came if one.size]
    arrivals = list(zip(accumulate(one.size for one in came), (one.time for one in came), strict=True))
    delays: list[int] = []
    sent = at = 0
    for one in passage.all_left:
        if not one.size:
            continue
        sent += one.size
        while at < len(arrivals) and arrivals[at][0] < sent:
            at += 1
        if at == len(arrivals):
            break
        if arrivals[at][1] >= passage.since and one.time <= passage.until:
            delays.append(one.time - arrivals[at][1])
    return delays


def _slicer(passage: ToxicPassage, attributes: dict[str, Any]) -> str | None:
    """Segments that leave are at most half as large as those that came: more of them could also be sent again."""
    came, left = passage.data_came, passage.data_left
    if not came or not left or 2 * mean(one.size for one in left) > mean(one.size for one in came):
        return None
    return f"sliced {len(came)} segments into {len(left)}"


def _bandwidth(passage: ToxicPassage, attributes: dict[str, Any]) -> str | None:
    """No more left than the rate allows (toxiproxy deals in slices of 100 ms), and what left had to wait for its turn.

    A stream that is slower by itself waits for nothing, and a wait below a millisecond is any proxy's.
    """
    left, waits = passage.data_left, _byte_delays(passage)
    if len(left) < 2 or not waits:
        return None
    seconds = (left[-1].time - left[0].time) / 1e9
    size = sum(one.size for one in left)
    allowed = attributes["rate"] * 1000 * (seconds + 2 * BANDWIDTH_SLICE_SECONDS)
    turn_ns = median(one.size for one in left) / attributes["rate"] * 1e6
    waited = median(waits) >= max(turn_ns, LEAST_WAIT_NS)
    return f"{size / 1000 / seconds:.1f} kB/s" if waited and size <= allowed else None


def _timeout(passage: ToxicPassage, attributes: dict[str, Any]) -> str | None:
    """Data came while the way on was open, and none of it left, nor did it later."""
    open_at_all = any(one.flags & ACK and not one.flags & (SYN | RST) for one in passage.all_left)
    kept = sum(one.size for one in passage.all_came) > sum(one.size for one in passage.all_left)
    return "swallowed the data" if open_at_all and kept and passage.data_came and not passage.data_left else None


def _reset_peer(passage: ToxicPassage, attributes: dict[str, Any]) -> str | None:
    """A RST leaves, and none had come before it: the other end's makes a proxy give up too."""
    left = [one.time for one in passage.left if one.flags & RST]
    came = [one.time for one in passage.came if one.flags & RST]
    return f"{len(left)} RST" if left and not (came and came[0] <= left[0]) else None


def _limit_data(passage: ToxicPassage, attributes: dict[str, Any]) -> str | None:
    """Exactly the limit left, though more came, and the stream ended."""
    left = sum(one.size for one in passage.data_left)
    came = sum(one.size for one in passage.data_came)
    ended = any(one.flags & (FIN | RST) for one in passage.left)
    return f"{left} of {came} bytes passed" if came > left == attributes["bytes"] and ended else None


def _slow_close(passage: ToxicPassage, attributes: dict[str, Any]) -> str | None:
    """The end of the stream leaves later than it came, by the delay."""
    came = [one.time for one in passage.came if one.flags & FIN]
    left = [one.time for one in passage.left if one.flags & FIN]
    if not came or not left or left[0] - came[0] < attributes["delay"] * 1e6:
        return None
    return f"closed {(left[0] - came[0]) / 1e6:.0f} ms late"


SEEN: dict[str, Callable[[ToxicPassage, dict[str, Any]], str | None]] = {
    "latency": _latency,
    "slicer": _slicer,
    "bandwidth": _bandwidth,
    "timeout": _timeout,
    "reset_peer": _reset_peer,
    "limit_data": _limit_data,
    "slow_close": _slow_close,
}
"""For each type of toxic: what was seen of it, in words; None where the same could have happened without it."""
