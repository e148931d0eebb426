"""What a path did: by literal packets and the RFCs' figures, by a run through the real core, and without its ledger."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from faultlab.analysis.pairing import match
from faultlab.analysis.paths import PathFacts, path_facts
from faultlab.analysis.subject import open_subject
from faultlab.evidence.files import CaptureWriter
from faultlab.evidence.ledger_reader import read_ledger
from faultlab.evidence.pcapng import Capture
from faultlab.faults import Corrupt, Duplicate, Effect, Latency, Loss, Match, Reset

from tests.support.virtual_wire import (
    ACK,
    CLIENT,
    FROM_UDP,
    MS,
    TCP_SERVER,
    TO_TCP,
    TO_UDP,
    UDP_SERVER,
    ip_frame,
    tcp,
    udp,
)
from tests.unit.analysis.ends import tcpdumps
from tests.unit.checks.histories import datagrams, record

HARD = [
    (TO_UDP, Loss(percent=20)),
    (TO_UDP, Duplicate(percent=20)),
    (TO_UDP, Corrupt(percent=10)),
    (TO_UDP, Latency(delay_ms=5, jitter_ms=4)),
    (FROM_UDP, Loss(percent=10)),
    (FROM_UDP, Latency(delay_ms=3)),
]


def literal(folder: Path, sent: Sequence[tuple[int, int]], arrived: Sequence[tuple[int, int]]) -> PathFacts:
    """The facts of one path without a ledger; packets are (number, time in ms)."""
    for name, packets in (("sent", sent), ("delivered", arrived)):
        writer = CaptureWriter(folder / f"{name}.pcapng", ["eth0"], name)
        for number, time in packets:
            writer.packet(0, udp(b"%d" % number), 0, b"", time * MS)
        writer.close()
    (facts,) = path_facts(open_subject(folder))
    return facts


def of(subject_folder: Path, path: str) -> PathFacts:
    return next(one for one in path_facts(open_subject(subject_folder)) if one.path == path)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Two hundred datagrams there and two hundred back, through faults of every kind."""
    there = datagrams(b"there %d" % number * (1 + number % 3) for number in range(200))
    back = [udp(b"back %d" % number, 41_234, 20_000, UDP_SERVER, CLIENT) for number in range(200)]
    record(tmp_path, [frame for pair in zip(there, back, strict=True) for frame in pair], HARD)
    return tmp_path


def test_delays_and_their_variation_by_the_table_of_rfc_4737_section_7_1(tmp_path: Path) -> None:
    sent = [(number, 20 * (number - 1)) for number in range(1, 11)]
    arrived = [(1, 68), (2, 88), (3, 108), (5, 148), (6, 168), (7, 188), (8, 208), (4, 210), (9, 228), (10, 248)]
    facts = literal(tmp_path, sent, arrived)
    assert (facts.delay_ns // MS).tolist() == [68, 68, 68, 150, 68, 68, 68, 68, 68, 68]
    assert (facts.variation_ns // MS).tolist() == [0, 0, 82, -82, 0, 0, 0, 0, 0]
    assert (facts.reordering.count, facts.reordering.extents.tolist(), facts.reordering.n.tolist()) == (1, [4], [4])
    assert [facts.delay(percent) for percent in (50, 90, 91, 100)] == [68 * MS, 68 * MS, 150 * MS, 150 * MS]
    assert (facts.asked(50), facts.agreement) == (None, None)


@pytest.mark.parametrize(
    "arrived, fraction, rate",
    [
        ([1, 2, 3, 4], 0, 0),
        ([1, 1, 2, 2, 3, 3, 4, 4], 1, 1),
        ([1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4], 2, 1),
        ([1, 1, 1, 2, 3, 3, 3, 4], 1, 0.5),
        ([1, 2, 3, 4, 4, 3, 2, 1], 1, 1),
    ],
)
def test_duplication_by_the_examples_of_rfc_5560(
    tmp_path: Path, arrived: list[int], fraction: float, rate: float
) -> None:
    facts = literal(tmp_path, [(n, n) for n in range(1, 5)], [(n, 10 + at) for at, n in enumerate(arrived)])
    assert (facts.duplication_fraction, facts.replicated_rate) == (fraction, rate)
    assert (facts.delivered, facts.losses.lost, facts.forged) == (4, 0, 0)


def test_a_delay_is_the_first_copys_and_a_lost_packet_has_none(tmp_path: Path) -> None:
    facts = literal(tmp_path, [(1, 0), (2, 1), (3, 2)], [(3, 5), (1, 7), (3, 9)])
    assert facts.arrived.tolist() == [True, False, True]
    assert (facts.delay_ns[facts.arrived] // MS).tolist() == [7, 3]
    assert facts.variation_ns.tolist() == []
    assert facts.reordering.count == 1


def test_what_nobody_sent_is_forged_and_counts_for_nothing_else(tmp_path: Path) -> None:
    facts = literal(tmp_path, [(1, 0)], [(1, 2), (9, 3)])
    assert (facts.forged, facts.delivered, facts.duplicated, facts.losses.lost) == (1, 1, 0, 0)


def test_a_path_that_delivered_nothing(tmp_path: Path) -> None:
    facts = literal(tmp_path, [(1, 0), (2, 1)], [])
    assert (facts.losses.rate, facts.delay(50), facts.reordering.ratio) == (1.0, None, 0.0)


def test_every_count_of_a_hard_run_is_the_ledgers(run: Path) -> None:
    ledger = read_ledger(run / "ledger.bin")
    for path in (TO_UDP, FROM_UDP):
        facts = of(run, path)
        originals = [entry for entry in ledger.entries if entry.path == path and not entry.copy]
        assert facts.sent == len(originals) == 200
        assert facts.losses.lost == sum(not entry.departures for entry in originals)
        assert facts.copies.tolist() == [len(entry.departures) for entry in originals]
        assert facts.asked_ns is not None and facts.asked_ns.tolist() == [entry.delay for entry in originals]
        assert facts.delay_ns[facts.arrived].tolist() == [
            min(left for _, left in entry.departures) - entry.arrived for entry in originals if entry.departures
        ]
        assert facts.agreement and facts.agreement.agrees and facts.agreement.packets == 200
        assert facts.agreement.first is None
    hard = of(run, TO_UDP)
    assert 20 < hard.losses.lost < 70 and hard.duplicated > 10 and hard.changed.sum() > 5
    assert hard.reordering.count > 20
    low, high = hard.losses.interval
    assert low < hard.losses.rate < high
    once = {
        e.packet: e.did(Effect.CHANGED)
        for e in ledger.entries
        if e.path == TO_UDP and e.departures and not e.did(Effect.DUPLICATED)
    }
    ids = hard.sent_side.ids[hard.pairing.sent].tolist()
    assert {one: change for one, change in zip(ids, hard.changed.tolist(), strict=True) if one in once} == once


def test_two_tcpdumps_whose_clocks_differ_show_the_same(run: Path, tmp_path: Path) -> None:
    """All but the delay itself, which has the clocks' difference in it; a datagram that was changed is a stranger."""
    ahead = 3_600_000 * MS
    folder = tcpdumps(run, tmp_path / "ends", "udp-server", "client", ahead_ns=(ahead, 0))
    for path, ends, difference in ((TO_UDP, "10.77.0.2->10.77.0.4", ahead), (FROM_UDP, "10.77.0.4->10.77.0.2", -ahead)):
        known, found = of(run, path), of(folder, ends)
        places = known.pairing.of[~known.pairing.changed]
        copies = np.bincount(places, minlength=200)
        kept = slice(int(places.min()), int(places.max()) + 1)
        assert found.copies.tolist() == copies[kept].tolist()
        assert found.forged == int(known.pairing.changed.sum())
        clean = found.arrived & ~known.changed[kept]
        assert (found.delay_ns - difference)[clean].tolist() == known.delay_ns[kept][clean].tolist()
        assert [found.sent_side.name, found.delivered_side.name] == [f"at-{node}.pcapng" for node in path.split("->")]
        assert found.asked_ns is None and found.agreement is None


def test_a_changed_segment_is_known_by_its_headers(tmp_path: Path) -> None:
    frames = [tcp(b"%d" % number, ACK, seq=1000 + number) for number in range(20)]
    record(tmp_path, frames, [(TO_TCP, Loss(nth=4)), (TO_TCP, Corrupt(nth=7)), (TO_TCP, Latency(delay_ms=3))])
    facts = of(tcpdumps(tmp_path, tmp_path / "ends", "client", "tcp-server"), "10.77.0.2->10.77.0.3")
    assert (facts.sent, facts.losses.lost, facts.forged, np.flatnonzero(facts.changed).tolist()) == (20, 1, 0, [7])


def test_what_came_before_and_after_the_other_capture_is_not_lost(tmp_path: Path) -> None:
    record(tmp_path, datagrams(b"%d" % number for number in range(10)), [(TO_UDP, Loss(nth=5))])
    folder = tcpdumps(tmp_path, tmp_path / "ends", "client", "udp-server")
    keep(folder / "at-udp-server.pcapng", slice(2, 7))
    (facts,) = path_facts(open_subject(folder))
    assert (facts.sent, facts.losses.lost, facts.delivered, facts.forged) == (6, 1, 5, 0)
    folder = tcpdumps(tmp_path, tmp_path / "again", "client", "udp-server")
    keep(folder / "at-client.pcapng", slice(3, 9))
    (facts,) = path_facts(open_subject(folder))
    assert (facts.sent, facts.losses.lost, facts.delivered, facts.forged) == (6, 1, 5, 0)


def keep(file: Path, which: slice) -> None:
    """Only some packets of a capture."""
    packets = list(Capture(file))[which]
    writer = CaptureWriter(file, ["eth0"], "by tcpdump")
    for one in packets:
        writer.packet(0, one.frame, 0, b"", one.time)
    writer.close()


def test_frames_that_are_not_ip_are_on_no_path(tmp_path: Path) -> None:
    arp = bytes(6) + bytes(6) + b"\x08\x06" + bytes(28)
    for name in ("a", "b"):
        writer = CaptureWriter(tmp_path / f"{name}.pcapng", ["eth0"], name)
        for frame in (arp, udp()):
            writer.packet(0, frame, 0, b"", MS)
        writer.close()
    assert [one.path for one in path_facts(open_subject(tmp_path))] == ["10.77.0.2->10.77.0.4"]


def test_packets_that_look_alike_are_matched_by_the_usual_delay_and_said_to_be_a_guess(tmp_path: Path) -> None:
    record(tmp_path, datagrams([b"same"] * 6), [(TO_UDP, Loss(nth=[2, 5])), (TO_UDP, Latency(delay_ms=1))])
    facts = of(tcpdumps(tmp_path, tmp_path / "ends", "client", "udp-server"), "10.77.0.2->10.77.0.4")
    assert facts.arrived.tolist() == [True, False, True, True, False, True]
    assert set(facts.delay_ns[facts.arrived].tolist()) == {MS}
    assert facts.pairing.ambiguous == 6
    record(tmp_path, datagrams([b"same"] * 4), [(TO_UDP, Latency(delay_ms=1))])
    facts = of(tcpdumps(tmp_path, tmp_path / "again", "client", "udp-server"), "10.77.0.2->10.77.0.4")
    assert (facts.sent, facts.delivered, facts.pairing.ambiguous) == (4, 4, 0)


def test_two_sendings_of_a_segment_are_told_apart_by_their_timestamps(tmp_path: Path) -> None:
    """Alike but for TCP's options (RFC 7323): the first is lost, and the second's delay is its own."""
    frames = [_with_timestamp(1), _with_timestamp(300)]
    record(tmp_path, frames, [(TO_TCP, Loss(nth=1)), (TO_TCP, Latency(delay_ms=1))], gap=300 * MS)
    folder = tcpdumps(tmp_path, tmp_path / "ends", "client", "tcp-server")
    subject = open_subject(folder)
    sides = {side.name: side for side in subject.captures}
    sent, delivered = sides["at-client.pcapng"], sides["at-tcp-server.pcapng"]
    pairing = match(sent, np.arange(2), delivered, np.arange(1))
    assert (pairing.of.tolist(), pairing.ambiguous, pairing.changed.tolist()) == ([1], 0, [False])


def _with_timestamp(value: int) -> bytes:
    options = b"\x01\x01\x08\x0a" + struct.pack("!II", value, 0)
    segment = struct.pack("!HHIIBBHHH", 20_000, 8082, 1000, 5000, 8 << 4, ACK, 65_535, 0, 0) + options + b"abc"
    return ip_frame(CLIENT, TCP_SERVER, 6, segment, 6, 16)


def test_a_forged_packet_is_the_ledgers_too(tmp_path: Path) -> None:
    record(tmp_path, [tcp(b"one", ACK), tcp(b"two", ACK, seq=1003)], [(TO_TCP, Reset(match=Match(which=1)))])
    facts = {one.path: one for one in path_facts(open_subject(tmp_path))}
    assert facts[TO_TCP].forged + sum(one.forged for one in facts.values() if one.path != TO_TCP) >= 1
    assert all(one.agreement and one.agreement.agrees for one in facts.values())


def test_one_capture_alone_has_no_paths(run: Path) -> None:
    assert path_facts(open_subject(run / "sent.pcapng")) == ()


def test_a_packet_still_on_its_way_is_not_lost(tmp_path: Path) -> None:
    """The ledger and the capture end before the last packet's delay was over."""
    record(tmp_path, datagrams([b"one", b"two"]), [(TO_UDP, Latency(delay_ms=5))])
    ledger, delivered = (tmp_path / "ledger.bin").read_bytes(), (tmp_path / "delivered.pcapng").read_bytes()
    end = ledger.rindex(b"\x03\0\0\0")
    (tmp_path / "ledger.bin").write_bytes(ledger[: end - 24])
    (tmp_path / "delivered.pcapng").write_bytes(delivered[:-8])
    facts = of(tmp_path, TO_UDP)
    assert (facts.sent, facts.delivered, int(facts.waiting.sum()), facts.losses.lost) == (2, 1, 1, 0)
    assert facts.agreement and facts.agreement.agrees


@pytest.mark.parametrize("name, words", [("sent.pcapng", "changed"), ("delivered.pcapng", "changed")])
def test_where_ledger_and_captures_part_the_packet_is_named(tmp_path: Path, name: str, words: str) -> None:
    record(tmp_path, datagrams([b"one", b"two", b"three"]), [(TO_UDP, Latency(delay_ms=5))])
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data.replace(b"two", b"TWO"))
    agreement = of(tmp_path, TO_UDP).agreement
    assert agreement and (agreement.packets, agreement.wrong) == (3, 1)
    assert agreement.first and agreement.first.startswith("ledger 2 (sent.pcapng frame 2 (ledger 2)): ")
    assert words in agreement.first


def test_a_capture_that_lacks_a_packet_disagrees(tmp_path: Path) -> None:
    record(tmp_path, datagrams([b"one", b"two", b"three"]))
    for name, words in (("sent.pcapng", "not once"), ("delivered.pcapng", "as often")):
        whole = (tmp_path / name).read_bytes()
        last = whole.rindex(b"\x06\0\0\0")
        (tmp_path / name).write_bytes(whole[:last])
        agreement = of(tmp_path, TO_UDP).agreement
        (tmp_path / name).write_bytes(whole)
        assert agreement and agreement.wrong == 1
        assert agreement.first and agreement.first.startswith("ledger 3") and words in agreement.first


@pytest.mark.parametrize(
    "name, words", [("sent.pcapng", "sent at another"), ("delivered.pcapng", "delivered at another")]
)
def test_another_time_than_the_ledgers(tmp_path: Path, name: str, words: str) -> None:
    record(tmp_path, datagrams([b"one", b"two", b"three"]), [(TO_UDP, Latency(delay_ms=5))])
    data = bytearray((tmp_path / name).read_bytes())
    data[data.find(b"two") - 42 - 12] ^= 1  # the lowest bits of its time
    (tmp_path / name).write_bytes(data)
    agreement = of(tmp_path, TO_UDP).agreement
    assert agreement and agreement.wrong == 1
    assert agreement.first and agreement.first.startswith("ledger 2") and words in agreement.first


def test_a_change_that_no_capture_shows(tmp_path: Path) -> None:
    record(tmp_path, datagrams([b"one", b"two"]), [(TO_UDP, Corrupt(nth=2))])
    data = (tmp_path / "delivered.pcapng").read_bytes()
    frame = Capture(tmp_path / "delivered.pcapng").frame(1)
    (tmp_path / "delivered.pcapng").write_bytes(data.replace(frame, datagrams([b"two"])[0]))
    agreement = of(tmp_path, TO_UDP).agreement
    assert agreement and agreement.first and "unchanged, though a fault changed it" in agreement.first


def test_a_packet_that_the_ledger_does_not_know(tmp_path: Path) -> None:
    record(tmp_path, datagrams([b"one", b"two"]))
    data = bytearray((tmp_path / "sent.pcapng").read_bytes())
    at = data.rfind(struct.pack("<HHQ", 5, 8, 2))
    data[at + 4] = 99
    (tmp_path / "sent.pcapng").write_bytes(data)
    agreement = of(tmp_path, TO_UDP).agreement
    assert agreement and (agreement.packets, agreement.wrong) == (3, 2)


def test_what_was_captured_after_a_ledger_was_cut_is_not_held_against_it(tmp_path: Path) -> None:
    record(tmp_path, datagrams([b"one", b"two", b"three"]))
    ledger = (tmp_path / "ledger.bin").read_bytes()
    (tmp_path / "ledger.bin").write_bytes(ledger[: ledger.rindex(b"\x03\0\0\0") - 64])
    facts = of(tmp_path, TO_UDP)
    assert (facts.sent, facts.delivered) == (3, 3)
    assert facts.agreement and facts.agreement.agrees and facts.agreement.packets == 2
