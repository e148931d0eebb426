"""A ledger read as it grows: literal records, pieces of any size, and the same counts as of the whole."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from struct import pack

import pytest
from faultlab.analysis.counts import Counts, History
from faultlab.analysis.tail import LedgerTail
from faultlab.errors import LabFailure
from faultlab.evidence import ledger_format as form
from faultlab.evidence.reconcile import reconcile
from faultlab.evidence.run_evidence import Evidence
from faultlab.faults import Corrupt, Duplicate, Effect, Fault, Latency, Loss, Rate, Reorder, Reset

from tests.support.virtual_wire import ACK, FROM_TCP, PSH, SYN, TO_TCP, TO_UDP, tcp
from tests.unit.checks.histories import datagrams, record
from tests.unit.evidence.test_reading import note

RUN = note(note="run", nodes=[{"name": "a"}, {"name": "b"}])
ACTS = [
    note(note="acts", acts=1, list=[["f1", "dropped", "why"]]),
    note(note="acts", acts=2, list=[["f2", "delayed", "why"], ["f3", "held", "why"], ["f3", "overtook", "why"]]),
    note(note="acts", acts=3, list=[["f4", "duplicated", "why"]]),
    note(note="acts", acts=4, list=[["f5", "injected", "why"]]),
]
START = form.MAGIC + RUN + b"".join(ACTS)
TOGETHER: list[tuple[Fault, ...]] = [
    (Loss(percent=20), Duplicate(percent=30, copies=2)),
    (Duplicate(percent=50, copies=2), Latency(delay_ms=4, jitter_ms=4), Rate(rate_kbit=2000, limit_packets=5)),
    (Latency(delay_ms=5), Rate(rate_kbit=2000, limit_packets=3)),
    (Reorder(hold=(3, 9, 40), passes=3), Corrupt(percent=20)),
    (Reset(nth=(2, 5)), Latency(delay_ms=2)),
]


def packet(number: int, decision: int, *, left: int = 0, acts: int = 0, copies: int = 1, copy: int = 0) -> bytes:
    """A record of a frame of 100 bytes from a to b."""
    return pack(
        "<BBBBIQQQIIIHHQIHH", 1, decision, 0, 1, 1, number, 5, left, number, 0, acts, 100, 58, 0, 0, copies, copy
    )


def depart(number: int, copy: int = 0) -> bytes:
    return pack("<BBBBHHQQ", 2, copy, 0, 1, 100, 0, number, 9)


def counts(*records: bytes) -> Counts:
    tail = LedgerTail()
    tail.feed(START + b"".join(records))
    return tail.paths["a->b"]


def test_a_packet_that_passed() -> None:
    assert counts(packet(1, 0, left=5)) == Counts(packets=1, size=100, delivered=1)


def test_a_packet_that_was_dropped() -> None:
    assert counts(packet(1, 1, acts=1, copies=0)) == Counts(packets=1, size=100, dropped=1)


def test_a_packet_waits_until_it_leaves() -> None:
    waits = packet(1, 2, acts=2)
    assert counts(waits) == Counts(packets=1, size=100, waiting=1, delayed=1, reordered=1)
    assert counts(waits, depart(1)) == Counts(packets=1, size=100, delivered=1, delayed=1, reordered=1)


def test_copies_leave_or_are_dropped_each_for_itself() -> None:
    """Three in all: the original and one copy live, another copy was dropped at once."""
    made = [packet(1, 2, acts=3, copies=2), packet(1, 1, acts=3, copy=2)]
    assert counts(*made) == Counts(packets=1, size=100, waiting=2, dropped=1, duplicated=2)
    assert counts(*made, depart(1), depart(1, 1)) == Counts(packets=1, size=100, delivered=2, dropped=1, duplicated=2)


def test_what_is_decided_later_takes_the_place_of_what_was_said() -> None:
    """0x80: a packet that waited for a delay is dropped by a full queue behind it."""
    waits, later = packet(1, 2, acts=2), packet(1, 0x81, acts=1)
    assert counts(waits, later) == Counts(packets=1, size=100, dropped=1)


def test_a_copy_is_dropped_later_and_the_original_goes_on() -> None:
    records = packet(1, 2, acts=3, copies=2), packet(1, 0x81, acts=3, copy=1), depart(1)
    assert counts(*records) == Counts(packets=1, size=100, delivered=1, dropped=1, duplicated=1)


def test_a_forged_packet_is_not_one_that_was_sent() -> None:
    assert counts(packet(1, 3, acts=4), depart(1)) == Counts(forged=1, delivered=1)


@pytest.mark.parametrize("data", [b"rubbish", START + b"\x09"])
def test_what_is_no_ledger_is_said_so(data: bytes) -> None:
    with pytest.raises(LabFailure, match="ledger"):
        LedgerTail().feed(data)


def frames() -> list[bytes]:
    segments = [tcp(flags=SYN, seq=999), *(tcp(b"x" * 50, PSH | ACK, seq=1000 + 50 * n) for n in range(40))]
    return segments + datagrams(f"datagram {n}".encode() for n in range(40))


def recorded(folder: Path, faults: tuple[Fault, ...], count: int | None = None) -> bytes:
    record(folder, frames()[:count], [(path, fault) for path in (TO_TCP, FROM_TCP, TO_UDP) for fault in faults])
    return (folder / "ledger.bin").read_bytes()


@pytest.mark.parametrize("faults", TOGETHER, ids=lambda faults: " ".join(fault.kind for fault in faults))
def test_the_counts_are_those_of_the_whole_ledger(faults: tuple[Fault, ...], tmp_path: Path) -> None:
    tail = LedgerTail()
    tail.feed(recorded(tmp_path, faults))
    evidence, paths = Evidence(tmp_path), tail.paths.values()
    account = reconcile(evidence)
    assert not account.mismatches
    assert sum(path.packets for path in paths) == account.packets == len(frames())
    assert sum(path.delivered for path in paths) == account.delivered
    assert sum(path.dropped for path in paths) == account.dropped
    assert sum(path.waiting for path in paths) == account.waiting
    assert sum(path.duplicated or 0 for path in paths) == account.duplicated
    assert sum(path.forged or 0 for path in paths) == account.injected
    for name, path in tail.paths.items():
        entries = [one for one in evidence.ledger.entries if one.path == name and not one.copy]
        assert path.size == sum(one.size for one in entries if not one.injected)
        assert path.delayed == sum(one.did(Effect.DELAYED) for one in entries)
        assert path.changed == sum(one.did(Effect.CHANGED) for one in entries)
        assert path.reordered == sum(one.did(Effect.HELD) or one.did(Effect.OVERTOOK) for one in entries)


def test_cut_at_every_byte_it_never_counts_what_is_not_whole(tmp_path: Path) -> None:
    data = recorded(tmp_path, TOGETHER[0], 12)
    whole = LedgerTail()
    whole.feed(data)
    for cut in range(len(data)):
        tail = LedgerTail()
        tail.feed(data[:cut])
        before = sum(path.packets for path in tail.paths.values())
        tail.feed(data[cut:])
        assert before <= 12
        assert tail.paths == whole.paths


@pytest.mark.parametrize("seed", range(5))
def test_pieces_of_any_size_give_the_same_counts(seed: int, tmp_path: Path) -> None:
    data, draw = recorded(tmp_path, TOGETHER[1]), random.Random(seed)
    whole, tail = LedgerTail(), LedgerTail()
    whole.feed(data)
    at = 0
    while at < len(data):
        size = draw.choice((1, 2, 7, 64, 1000))
        tail.feed(data[at : at + size])
        at += size
    assert tail.paths == whole.paths


def test_the_last_second_is_the_difference_to_what_was_then() -> None:
    history, path = History(), Counts(packets=10, delayed=None)
    assert history.add(0, {"a->b": path}).paths == {}
    for tenth in range(1, 31):
        path = replace(path, packets=10 + tenth)
        lately = history.add(tenth * 100_000_000, {"a->b": path, "b->a": Counts(packets=1)})
    assert lately.seconds == 1.0
    assert lately.paths["a->b"] == Counts(packets=10, delayed=None)
    assert lately.paths["b->a"] == Counts()


def test_before_a_second_is_over_it_is_what_has_come_so_far() -> None:
    history = History()
    history.add(0, {})
    assert history.add(500_000_000, {"a->b": Counts(packets=3)}) == (0.5, {"a->b": Counts(packets=3)})
