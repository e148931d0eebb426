"""The ledger against both captures, packet by packet: every decision must be what the captures show."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from zlib import crc32

from faultlab.evidence.run_evidence import Evidence
from faultlab.evidence.pcapng import Capture
from faultlab.evidence.ledger_reader import LedgerEntry, Ledger
from faultlab.faults.base import Effect
from faultlab.network.packets import Packet

FINDINGS_KEPT = 100


@dataclass
class Account:
    """What was compared. `mismatches` are (text, where), the first `FINDINGS_KEPT` of `count`."""

    packets: int = 0
    delivered: int = 0
    dropped: int = 0
    waiting: int = 0
    injected: int = 0
    duplicated: int = 0
    count: int = 0
    mismatches: list[tuple[str, str]] = field(default_factory=list)

    def wrong(self, text: str, where: str) -> None:
        self.count += 1
        if len(self.mismatches) < FINDINGS_KEPT:
            self.mismatches.append((text, where))


class _Index:
    """Where each packet id stands in a capture; ids may repeat (duplicates), and come in any order."""

    def __init__(self, capture: Capture) -> None:
        self.capture = capture
        order = sorted(range(len(capture)), key=capture.packets.__getitem__)
        self._ids = [capture.packets[index] for index in order]
        self._order = order

    def of(self, packet: int) -> list[int]:
        at = bisect_left(self._ids, packet)
        found = []
        while at < len(self._ids) and self._ids[at] == packet:
            found.append(self._order[at])
            at += 1
        return found

    def where(self, index: int) -> str:
        return f"{self.capture.name} frame {index + 1} (ledger {self.capture.packets[index]})"


def reconcile(evidence: Evidence) -> Account:
    """Compare all of it. LabFailure where a file can't be read."""
    account = Account()
    ledger = evidence.ledger
    offset = int(ledger.run["epoch_offset"])
    sent, delivered = _Index(evidence.sent), _Index(evidence.delivered)
    seen_sent = seen_delivered = 0
    dropped_copies: dict[int, int] = {}
    for entry in ledger.entries:
        if entry.copy and entry.dropped:
            dropped_copies[entry.packet] = dropped_copies.get(entry.packet, 0) + 1
    for entry in ledger.entries:
        if entry.copy:
            account.dropped += 1
            continue
        seen_sent += _compare_sent(account, entry, sent, offset)
        seen_delivered += _compare_delivered(account, entry, sent, delivered, offset)
        _conserve(account, entry, dropped_copies.get(entry.packet, 0), ledger)
    if seen_sent != len(evidence.sent):
        account.wrong(f"{len(evidence.sent) - seen_sent} captured packets are not in the ledger", evidence.sent.name)
    if seen_delivered != len(evidence.delivered):
        extra = len(evidence.delivered) - seen_delivered
        account.wrong(f"{extra} delivered packets are not in the ledger", evidence.delivered.name)
    _compare_order(account, evidence)
    return account


def _compare_sent(account: Account, entry: LedgerEntry, sent: _Index, offset: int) -> int:
    """How many frames of the sent capture belong to the entry: one, or none for a forged packet."""
    found = sent.of(entry.packet)
    if entry.injected:
        account.injected += 1
        if found:
            account.wrong("a forged packet is in the capture of what was sent", sent.where(found[0]))
        return len(found)
    account.packets += 1
    if len(found) != 1:
        account.wrong(f"in the capture {len(found)} times", f"{sent.capture.name} (ledger {entry.packet})")
        return len(found)
    index, capture = found[0], sent.capture
    frame = capture.frame(index)
    if capture.node(index) != entry.path.partition("->")[0]:
        account.wrong(f"sent by {capture.node(index)}, in the ledger on {entry.path}", sent.where(index))
    if capture.times[index] - offset != entry.arrived:
        account.wrong("captured at another time than the ledger has", sent.where(index))
    packet = Packet.parse(frame)
    if (len(frame), crc32(packet.payload)) != (entry.size, entry.payload_crc):
        account.wrong("its size or payload is not what the ledger has", sent.where(index))
    return 1


def _compare_delivered(account: Account, entry: LedgerEntry, sent: _Index, delivered: _Index, offset: int) -> int:
    found = delivered.of(entry.packet)
    capture = delivered.capture
    times = sorted(capture.times[index] - offset for index in found)
    if times != sorted(left for _, left in entry.departures):
        text = f"delivered {len(found)} times in the capture, {len(entry.departures)} in the ledger, or at other times"
        account.wrong(text, f"{capture.name} (ledger {entry.packet})")
    original = sent.of(entry.packet)
    before = sent.capture.frame(original[0]) if original else None
    for index in found:
        if capture.node(index) != entry.path.partition("->")[2]:
            account.wrong(f"delivered to {capture.node(index)}, in the ledger on {entry.path}", delivered.where(index))
        if before is not None and not entry.did(Effect.DUPLICATED):
            same = capture.frame(index) == before
            if same and entry.did(Effect.CHANGED):
                account.wrong("unchanged, though the ledger says changed", delivered.where(index))
            if not same and not entry.did(Effect.CHANGED):
                account.wrong("its bytes changed, and no fault says so", delivered.where(index))
        if capture.times[index] - offset < entry.arrived + entry.delay and not entry.did(Effect.DUPLICATED):
            account.wrong(f"delivered before its delay of {entry.delay / 1e6:g} ms was over", delivered.where(index))
    account.delivered += len(found)
    return len(found)


def _conserve(account: Account, entry: LedgerEntry, dropped_copies: int, ledger: Ledger) -> None:
    """In + duplicated + forged = delivered + dropped + waiting, for each packet."""
    account.dropped += entry.dropped
    expected = 0 if entry.dropped and not entry.did(Effect.DUPLICATED) else entry.copies
    waiting = expected - len(entry.departures)
    account.duplicated += max(0, entry.copies + entry.dropped + dropped_copies - 1)
    if waiting < 0:
        account.wrong(f"{len(entry.departures)} copies left, {expected} were to leave", f"ledger {entry.packet}")
    elif waiting and ledger.complete and not entry.injected and entry.departures and not entry.did(Effect.DUPLICATED):
        account.wrong("some of its copies are unaccounted for", f"ledger {entry.packet}")
    account.waiting += max(0, waiting)


def _compare_order(account: Account, evidence: Evidence) -> None:
    """On a path where no fault ever moved a packet, packets leave in the order in which they came."""
    entries = [entry for entry in evidence.ledger.entries if not entry.copy]
    moved = {fault.path for fault in evidence.ledger.faults if fault.reorders}
    last: dict[str, tuple[int, int]] = {}
    for packet, path, left in sorted(
        ((entry.packet, entry.path, left) for entry in entries for _, left in entry.departures if not entry.injected),
        key=lambda one: one[2],
    ):
        if path in moved:
            continue
        before = last.get(path, (0, 0))
        if packet < before[0] and left > before[1]:
            account.wrong(f"overtaken by packet {before[0]} on {path}, where no fault reorders", f"ledger {packet}")
        last[path] = max(before, (packet, left))
