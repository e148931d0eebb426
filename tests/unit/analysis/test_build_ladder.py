"""Ladders of evidence that the wire's core wrote: what each fault does to a packet, as the ladder has it."""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from faultlab.analysis.build_ladder import ONE_SIDE, Pair, build_ladder, build_steps, pairs
from faultlab.analysis.ladder import Arrival, Fate, Ladder
from faultlab.analysis.messages import Message
from faultlab.analysis.subject import Side, open_subject
from faultlab.analysis.words import Direction
from faultlab.captures.columns import Flags
from faultlab.evidence.files import CaptureWriter
from faultlab.faults import Corrupt, Cut, Drop, Duplicate, Fault, Latency, Loss, Match, Rebind, Reorder, Reset
from faultlab.faults.base import Effect
from faultlab.network.packets import Packet

from tests.support.capture_bytes import TUNNELS, pcapng
from tests.support.virtual_wire import ACK, CLIENT, MS, PSH, SYN, TCP_SERVER, TO_TCP, TO_UDP, tcp, udp
from tests.unit.checks.histories import datagrams, record

OPENING = [
    tcp(flags=SYN, seq=1000),
    tcp(flags=SYN | ACK, seq=5000, ack=1001, source=TCP_SERVER, target=CLIENT, port=8082, to=20_000),
    tcp(seq=1001, ack=5001),
]
DATA = [tcp(b"x" * 12, PSH | ACK, seq=1001 + 12 * number, ack=5001) for number in range(3)]


def tcp_ladder(folder: Path, *faults: tuple[str, Fault], **more: object) -> Ladder:
    record(folder, [*OPENING, *DATA], faults)
    return build_ladder(open_subject(folder), "client", "tcp-server", **more)  # type: ignore[arg-type]


def udp_ladder(folder: Path, *faults: Fault, payloads: Sequence[bytes] = (b"one", b"two", b"three")) -> Ladder:
    record(folder, datagrams(payloads), [(TO_UDP, fault) for fault in faults])
    return build_ladder(open_subject(folder), "client", "udp-server")


def test_what_went_as_sent(tmp_path: Path) -> None:
    ladder = tcp_ladder(tmp_path)
    assert [(step.at_ns, step.frame, step.sender, step.what) for step in ladder.steps] == [
        (0, 1, "client", "SYN"),
        (MS, 2, "tcp-server", "SYN-ACK"),
        (2 * MS, 3, "client", "ACK 1"),
        (3 * MS, 4, "client", "data 1..13 (12 B)"),
        (4 * MS, 5, "client", "data 13..25 (12 B)"),
        (5 * MS, 6, "client", "data 25..37 (12 B)"),
    ]
    assert {step.fate for step in ladder.steps} == {Fate.DELIVERED}
    assert not any(step.stories for step in ladder.steps)
    assert ladder.steps[3].arrivals == (Arrival(3 * MS, 4, 0, "data 1..13 (12 B)"),)
    assert ladder.unknown == ""


def test_a_dropped_packet_names_its_fault(tmp_path: Path) -> None:
    fault = Drop(match=Match(tcp="syn+ack", which=1))
    ladder = tcp_ladder(tmp_path, ("tcp-server->client", fault))
    lost = ladder.steps[1]
    assert (lost.fate, lost.arrivals, lost.lost) == (Fate.DROPPED, (), 1)
    assert [(deed.fault, deed.describe, deed.effect) for deed in lost.deeds] == [
        ("f1", "drop (tcp syn+ack, which 1)", Effect.DROPPED)
    ]
    assert [(one.fault, one.path, one.from_ns, one.to_ns) for one in ladder.faults] == [
        ("f1", "tcp-server->client", -MS, None)
    ]


def test_a_packet_that_waits_for_two_later_ones_is_overtaken_by_them(tmp_path: Path) -> None:
    held = udp_ladder(tmp_path, Reorder(hold=(1,), passes=2)).steps[0]
    assert held.overtaken_by == (2, 3)
    assert held.did(Effect.HELD)
    assert held.arrivals[0].at_ns == 2 * MS


def test_nothing_is_overtaken_where_all_wait_as_long(tmp_path: Path) -> None:
    ladder = udp_ladder(tmp_path, Latency(delay_ms=5))
    assert [step.arrivals[0].at_ns for step in ladder.steps] == [5 * MS, 6 * MS, 7 * MS]
    assert not any(step.overtaken_by for step in ladder.steps)


def test_both_copies_of_a_duplicate(tmp_path: Path) -> None:
    ladder = udp_ladder(tmp_path, Duplicate(nth=2))
    assert [len(step.arrivals) for step in ladder.steps] == [1, 2, 1]
    assert [arrival.copy for arrival in ladder.steps[1].arrivals] == [0, 1]


def test_a_copy_that_is_dropped_is_counted(tmp_path: Path) -> None:
    ladder = udp_ladder(tmp_path, Duplicate(percent=100), Loss(percent=50), payloads=[b"x"] * 40)
    fates = {(step.fate, len(step.arrivals), step.lost) for step in ladder.steps}
    assert fates == {(Fate.DELIVERED, 2, 0), (Fate.DELIVERED, 1, 1), (Fate.DROPPED, 0, 2)}


def test_a_segment_cut_in_the_length_of_its_message(tmp_path: Path) -> None:
    direction = Direction.of(Packet.parse(DATA[0]))
    messages = {direction: [Message(n + 1, 12 * n, 12 * n + 2, 12 * n + 12, 12 * n + 12) for n in range(3)]}
    ladder = tcp_ladder(tmp_path, (TO_TCP, Cut(at=(13,))), messages=messages)
    step = ladder.steps[4]
    assert (step.what, step.holds) == ("data 13..25 (12 B)", "message 2")
    assert step.arrivals == (Arrival(4 * MS, 5, 0, "data 13..14 (1 B)", "1 of the 2 length bytes of message 2"),)


def test_a_flipped_bit_makes_a_packet_that_the_receiver_throws_away(tmp_path: Path) -> None:
    ladder = udp_ladder(tmp_path, Corrupt(percent=100))
    assert all(step.arrivals[0].damaged and step.did(Effect.CHANGED) for step in ladder.steps)


def test_a_nat_that_forgot_its_binding_gives_another_port(tmp_path: Path) -> None:
    (step,) = udp_ladder(tmp_path, Rebind(after=1), payloads=[b"one", b"two"]).steps[1:]
    assert step.did(Effect.CHANGED)
    assert step.arrivals[0].what == "datagram 3 B two"
    assert re.fullmatch(r"source port \d+", step.arrivals[0].holds)
    assert not step.arrivals[0].damaged


def test_a_forged_reset_stands_where_it_came_to_be(tmp_path: Path) -> None:
    ladder = tcp_ladder(tmp_path, (TO_TCP, Reset(nth=(1,))))
    forged = [step for step in ladder.steps if step.forged]
    assert [(step.sender, step.what, step.at_ns) for step in forged] == [
        ("client", "RST", 3 * MS),
        ("tcp-server", "RST", 3 * MS),
    ]
    assert all(step.did(Effect.INJECTED) and len(step.arrivals) == 1 for step in forged)


def test_of_the_packets_that_are_kept_numbers_still_count_from_the_syn(tmp_path: Path) -> None:
    def last(side: Side) -> Flags:
        return np.arange(len(side)) == 5

    assert [step.what for step in tcp_ladder(tmp_path, keep=last).steps] == ["data 25..37 (12 B)"]


def test_remarks_come_by_frame(tmp_path: Path) -> None:
    steps = tcp_ladder(tmp_path, remarks={4: ["retransmission of frame 2"]}).steps
    assert [step.remarks for step in steps[2:5]] == [(), ("retransmission of frame 2",), ()]


def test_pairs_in_the_order_they_began(tmp_path: Path) -> None:
    record(tmp_path, [*datagrams([b"one"]), *OPENING])
    subject = open_subject(tmp_path)
    assert pairs(subject) == [Pair("client", "udp-server", 1), Pair("client", "tcp-server", 3)]
    assert pairs(subject, lambda side: side.columns.protocol == 6) == [Pair("client", "tcp-server", 3)]
    assert [step.what for step in build_steps(subject)] == ["datagram 3 B one", "SYN", "SYN-ACK", "ACK 1"]


def test_a_capture_from_elsewhere_knows_one_side(tmp_path: Path) -> None:
    record(tmp_path, OPENING)
    subject = open_subject(tmp_path / "sent.pcapng")
    (pair,) = pairs(subject)
    ladder = build_ladder(subject, pair.left, pair.right)
    assert ladder.unknown == ONE_SIDE
    assert [(step.what, step.fate, step.arrivals) for step in ladder.steps] == [
        ("SYN", Fate.UNKNOWN, ()),
        ("SYN-ACK", Fate.UNKNOWN, ()),
        ("ACK 1", Fate.UNKNOWN, ()),
    ]


def test_of_frames_cut_short_by_the_capturer_sizes_are_those_that_were_sent(tmp_path: Path) -> None:
    frames = [*OPENING[:1], tcp(b"x" * 1000, seq=1001), udp(b"msg-0-1-" + bytes(500))]
    packets = [struct.pack("<IIII", 1, number, 62, len(one)) + one[:62] for number, one in enumerate(frames)]
    header = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 62, 1)
    file = tmp_path / "short.pcap"
    file.write_bytes(header + b"".join(one[:8] + struct.pack("<I", len(one) - 16) + one[12:] for one in packets))
    assert [step.what for step in build_steps(open_subject(file))] == [
        "SYN",
        "data 1..1001 (1000 B)",
        "datagram 508 B msg-0-1-",
    ]


def test_of_two_captures_without_a_ledger_one_is_drawn(tmp_path: Path) -> None:
    record(tmp_path, OPENING)
    both = tmp_path / "both"
    both.mkdir()
    for name, other in (("sent", "a"), ("delivered", "b")):
        (tmp_path / f"{name}.pcapng").rename(both / f"{other}.pcapng")
    subject = open_subject(both)
    (pair,) = pairs(subject)
    assert build_ladder(subject, pair.left, pair.right).unknown.startswith("drawn is a.pcapng alone; ")


def test_a_host_that_talks_to_itself_is_two_ends(tmp_path: Path) -> None:
    writer = CaptureWriter(tmp_path / "lo.pcapng", ["lo"], "loopback")
    writer.packet(0, tcp(flags=SYN, seq=1, target=CLIENT), 0, b"", 1)
    writer.packet(0, tcp(flags=SYN | ACK, port=8082, to=20_000, target=CLIENT), 0, b"", 2)
    writer.close()
    subject = open_subject(tmp_path / "lo.pcapng")
    (pair,) = pairs(subject)
    assert (pair.left.rpartition(":")[2], pair.right.rpartition(":")[2]) == ("20000", "8082")
    steps = build_ladder(subject, pair.left, pair.right).steps
    assert [(step.what, step.sender == pair.left) for step in steps] == [("SYN", True), ("SYN-ACK", False)]


@pytest.mark.parametrize("name", TUNNELS)
def test_of_a_packet_in_a_tunnel_the_inner_one(tmp_path: Path, name: str) -> None:
    link_type, frame = TUNNELS[name]
    file = tmp_path / "some.pcapng"
    file.write_bytes(pcapng([frame], link_type=link_type))
    (step,) = build_steps(open_subject(file))
    assert step.protocol in ("tcp", "udp")
    assert step.what in ("data 1..6 (5 B)", "datagram 5 B hello", "datagram 1 B")
    assert "10.77.0.3" in (step.receiver, "10.77.0.3" if step.receiver == "fd77:1ab::3" else "")
