"""The facts of a connection, from conversations whose every packet is written down."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from faultlab.captures.files import CaptureFile
from faultlab.captures.tcp import TcpAnalysis, TcpFacts, analyse

from tests.support.conversations import Segment, analysed, write
from tests.support.telling_conversations import THREE_ACKS, TWO, a, b, opened

SACK = b"\x05\x0a"


def facts(folder: Path, *segments: Segment) -> TcpFacts:
    return analysed(folder, *segments).tcp[0]


def test_the_handshake_counts_from_the_first_syn(tmp_path: Path) -> None:
    handshake = facts(tmp_path, Segment(-1000, "A", "S", 999, 0), *opened(30)).handshake
    assert handshake is not None
    assert handshake.took_ns == 1030 * 10**6
    assert handshake.syn_ack_ns - handshake.syn_ns == 1015 * 10**6


def test_no_handshake_without_its_last_ack(tmp_path: Path) -> None:
    assert facts(tmp_path, *opened(30)[:2], b(40, 1000, size=10)).handshake is None


def test_kinds_of_retransmissions(tmp_path: Path) -> None:
    side = facts(tmp_path, *TWO, *THREE_ACKS, a(10, 1000), b(11, 1020), a(12, 1010), a(300, 1020), a(600, 1020)).sides[
        0
    ]
    assert (side.retransmissions, side.fast, side.spurious, side.by_timeout) == (3, 1, 1, 1)
    assert side.segments == 6


def test_round_trips_go_by_karns_rule(tmp_path: Path) -> None:
    sent_once = [a(0, 1000), b(7, 1010)]
    sent_twice = [a(10, 1010), a(11, 1020), a(300, 1010), b(305, 1030)]
    again_once = [a(310, 1030), a(312, 1040), b(320, 1050)]
    side = facts(tmp_path, *sent_once, *sent_twice, *again_once).sides[0]
    assert (side.rtt_ns / 1e6).tolist() == [7, 8]
    assert np.diff(side.rtt_time_ns).tolist() == [313 * 10**6]


def test_bytes_that_the_capture_lacks(tmp_path: Path) -> None:
    stream = facts(tmp_path, *opened(1), a(2, 1000), a(3, 1020), b(4, 1030)).sides[0].stream
    assert (stream.seen, stream.missing, stream.in_order) == (20, 10, 30)


def test_bytes_count_once(tmp_path: Path) -> None:
    stream = (
        facts(tmp_path, *opened(1), a(2, 1000), a(3, 1005), a(4, 1000, 15), a(5, 1015, 1, flags="FA")).sides[0].stream
    )
    assert (stream.seen, stream.missing, stream.in_order) == (16, 0, 16)


def test_goodput(tmp_path: Path) -> None:
    side = facts(tmp_path, *opened(1), a(1000, 1000, 100), a(1500, 1000, 100), a(2000, 1100, 100)).sides[0]
    assert side.goodput == 200
    assert facts(tmp_path, *opened(1), a(1000, 1000, 100)).sides[0].goodput == 0


def test_who_reset_and_who_closed(tmp_path: Path) -> None:
    ended = facts(tmp_path, *opened(1), b(5, 1000, flags="R"), a(6, 1000, 0, flags="RA"), a(7, 1000, 0, flags="R"))
    assert ended.resets == [1, 0]
    assert [side.resets for side in ended.sides] == [2, 1]
    assert not ended.closed
    assert facts(tmp_path, *opened(1), a(2, 1000, 0, flags="FA"), b(3, 1001, flags="FA")).closed


@pytest.mark.parametrize(("block", "reported"), [((1000, 1010), 1), ((1030, 1040), 0)])
def test_dsacks_of_what_came_twice(tmp_path: Path, block: tuple[int, int], reported: int) -> None:
    sack = b"\x01\x01" + SACK + block[0].to_bytes(4) + block[1].to_bytes(4)
    again = [Segment(6, "B", "A", 5000, 1020, options=sack)]
    assert facts(tmp_path, *TWO, b(1, 1020), a(5, 1000), *again).sides[1].duplicates_reported == reported


def test_segments_in_the_stream(tmp_path: Path) -> None:
    found = analysed(tmp_path, *opened(1), a(2, 1000), a(3, 1020), b(4, 1010, size=5), a(5, 1010), a(6, 990))
    who, offsets = found.segments(found.flows[0], 0)
    assert (found.columns.number[who].tolist(), offsets.tolist()) == ([4, 5, 7, 8], [0, 20, 10, -10])


def test_segments_over_the_wrap(tmp_path: Path) -> None:
    found = analysed(tmp_path, a(0, 0xFFFFFFF8), a(1, 2), a(2, 0xFFFFFFF8))
    assert found.segments(found.flows[0], 0)[1].tolist() == [0, 10, 0]


def test_batches_change_nothing(tmp_path: Path) -> None:
    segments = [*opened(3), *TWO, *THREE_ACKS, a(10, 1000), b(11, 1020), Segment(50, "A", "S", 7000, 0)]
    file = CaptureFile(write(tmp_path / "some.pcap", segments))
    analysis = TcpAnalysis()
    parts = [analysis.feed(file, columns) for columns in file.batches(2)]
    whole = analyse(file)
    assert np.concatenate([part.marks for part in parts]).tolist() == whole.marked.marks.tolist()
    assert np.concatenate([part.flow for part in parts]).tolist() == whole.marked.flow.tolist()
    assert analysis.flows == whole.flows


def test_a_capture_without_packets(tmp_path: Path) -> None:
    found = analyse(write(tmp_path / "empty.pcap", []))
    assert (len(found.columns), len(found.marked.marks), found.flows, found.tcp) == (0, 0, [], {})
