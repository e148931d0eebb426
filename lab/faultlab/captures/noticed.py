"""What a reader of a capture should know beside its flows: what is in none of them, and times that go back."""

from __future__ import annotations

from collections import Counter

import numpy as np

from faultlab.captures.columns import I64, Columns
from faultlab.captures.decode import is_read
from faultlab.captures.flows import in_a_flow

_LINKS = {
    9: "PPP", 50: "PPP", 51: "PPPoE", 104: "Cisco HDLC", 105: "802.11", 117: "pflog", 119: "802.11", 127: "802.11",
    163: "802.11", 187: "Bluetooth", 192: "PPI", 195: "802.15.4", 201: "Bluetooth", 220: "USB", 227: "CAN",
}  # fmt: skip
"""Names of LINKTYPE_ values (tcpdump's list of link-layer header types)."""
_ETHERTYPES = {
    0x0806: "ARP", 0x8035: "RARP", 0x8137: "IPX", 0x8847: "MPLS", 0x8848: "MPLS", 0x8863: "PPPoE discovery",
    0x8864: "PPPoE", 0x888E: "EAPOL", 0x88CC: "LLDP", 0x88F7: "PTP",
}  # fmt: skip
"""IANA, IEEE 802 Numbers."""
_FIRST_ETHERTYPE = 0x600
"""A smaller number is a length, and behind it comes an LLC header (IEEE 802.3, 3.2.6)."""


class Noticed:
    """Takes a capture batch by batch."""

    def __init__(self) -> None:
        self._left_out: Counter[str] = Counter()
        self._back = 0
        self._furthest_ns = 0
        self._last_ns: int | None = None

    def feed(self, columns: Columns) -> None:
        if not len(columns):
            return
        before = columns.time_ns[0] if self._last_ns is None else self._last_ns
        back = -np.diff(columns.time_ns, prepend=np.int64(before))
        self._back += int(np.count_nonzero(back > 0))
        self._furthest_ns = max(self._furthest_ns, int(back.max()))
        self._last_ns = int(columns.time_ns[-1])
        self._count(columns, np.flatnonzero(~in_a_flow(columns)))

    def _count(self, columns: Columns, who: I64) -> None:
        of_ip = columns.ip[who] > 0
        later = columns.fragment[who] > 0
        self._left_out["later IP fragments"] += int(np.count_nonzero(of_ip & later))
        read = is_read(columns.link_type[who])
        broken = read & columns.cut[who] & ~(of_ip & later) | of_ip & ~later
        self._left_out["with a header that is cut off or damaged"] += int(np.count_nonzero(broken))
        for kind, count in _counts(columns.link_type[who[~read]]):
            self._left_out[f"of link type {kind}" + (f" ({_LINKS[kind]})" if kind in _LINKS else "")] += count
        for kind, count in _counts(columns.ethertype[who[read & ~of_ip & ~broken]]):
            self._left_out[_ethertype(kind)] += count

    @property
    def notes(self) -> list[str]:
        """Sentences for people; none where each packet is in a flow, and time only goes forward."""
        found = [f"{count:,} {kind}" for kind, count in self._left_out.most_common() if count]
        notes = [f"in no flow, and not looked into: {', '.join(found)}"] if found else []
        if self._back:
            often = f"{self._back:,} times, by up to" if self._back > 1 else "once, by"
            notes.append(f"times go back {often} {self._furthest_ns / 1e6:.3f} ms; negative round trips are left out")
        return notes


def _counts(values: np.ndarray[tuple[int], np.dtype[np.uint16]]) -> list[tuple[int, int]]:
    kinds, counts = np.unique(values, return_counts=True)
    return list(zip(kinds.tolist(), counts.tolist(), strict=True))


def _ethertype(kind: int) -> str:
    if not kind:
        return "of another family than IP"
    return _ETHERTYPES.get(kind, f"of ethertype 0x{kind:04x}") if kind >= _FIRST_ETHERTYPE else "LLC"
