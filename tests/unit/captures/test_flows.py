from __future__ import annotations

from pathlib import Path

from faultlab.captures.files import CaptureFile
from faultlab.captures.flows import Flows

from tests.support.capture_bytes import pcap
from tests.support.conversations import Segment, analysed
from tests.support.golden_frames import FRAMES
from tests.support.telling_conversations import a, b, opened


def test_both_directions_are_one_flow(tmp_path: Path) -> None:
    found = analysed(tmp_path, a(0, 1000, 10), b(1, 1010, size=3), b(2, 1010, 5003), a(5, 1010, 0))
    (flow,) = found.flows
    assert [str(end) for end in flow.ends] == ["10.0.0.1:1000", "10.1.0.2:80"]
    assert (flow.packets, flow.payload, flow.bytes) == ([2, 2], [10, 3], [90, 83])
    assert flow.last_ns - flow.first_ns == 5 * 10**6
    assert found.marked.side.tolist() == [0, 1, 1, 0]


def test_the_first_to_be_seen_is_the_first_end(tmp_path: Path) -> None:
    (flow,) = analysed(tmp_path, b(0, 1000), a(1, 1000)).flows
    assert str(flow) == "tcp 0: 10.1.0.2:80 <-> 10.0.0.1:1000"


def test_a_syn_with_another_number_begins_another_flow(tmp_path: Path) -> None:
    found = analysed(tmp_path, *opened(1), Segment(5, "A", "S", 999, 0), Segment(6, "A", "S", 7000, 0), a(7, 7001))
    assert found.marked.flow.tolist() == [0, 0, 0, 0, 1, 1]
    assert [flow.packets for flow in found.flows] == [[3, 1], [2, 0]]


def test_the_first_seq_or_ack_tells_a_syns_number(tmp_path: Path) -> None:
    before = a(0, 1000, ack=5000)
    for syn, flows in (
        (Segment(1, "A", "S", 999, 0), 1),
        (Segment(1, "B", "S", 4999, 0), 1),
        (Segment(1, "B", "S", 5000, 0), 2),
    ):
        assert len(analysed(tmp_path, before, syn).flows) == flows


def test_tcp_and_udp_have_their_own_numbers(tmp_path: Path) -> None:
    file = tmp_path / "some.pcap"
    file.write_bytes(pcap([FRAMES[name] for name in ("udp v6", "tcp v4", "tcp v6", "udp v6")]))
    flows, of = Flows(), []
    for columns in CaptureFile(file).batches(1):
        of += flows.feed(columns).flow.tolist()
    assert of == [0, 1, 2, 0]
    assert [(flow.protocol, flow.number) for flow in flows.all] == [(17, 0), (6, 0), (6, 1)]
