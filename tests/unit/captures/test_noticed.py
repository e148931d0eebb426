"""What is said of a capture beside its flows: each packet that is in none of them, and times that go back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from faultlab.analysis.overview import overview, overview_of_file
from faultlab.analysis.subject import open_subject
from faultlab.captures.files import CaptureFile
from faultlab.captures.flows import Flows
from faultlab.captures.noticed import Noticed
from faultlab.report.inspect_text import overview_lines

from tests.support.capture_bytes import LINKS, pcap, pcapng
from tests.support.conversations import write
from tests.support.golden_frames import FRAMES
from tests.support.telling_conversations import a, b, opened

MACS = bytes(12)
IN_A_FLOW = [frame for name, frame in FRAMES.items() if "later" not in name]
LEFT_OUT = {
    "ARP": (1, MACS + b"\x08\x06" + bytes(28), "1 ARP"),
    "LLC": (1, MACS + b"\0\x26" + b"\x42\x42\x03" + bytes(35), "1 LLC"),
    "LLDP": (1, MACS + b"\x88\xcc" + bytes(46), "1 LLDP"),
    "PPPoE discovery": (1, MACS + b"\x88\x63" + bytes(46), "1 PPPoE discovery"),
    "any other": (1, MACS + b"\x89\x02" + bytes(46), "1 of ethertype 0x8902"),
    "802.11": (105, b"\x80\0" + bytes(40), "1 of link type 105 (802.11)"),
    "an unknown link": (299, bytes(40), "1 of link type 299"),
    "a link's header that is cut": (1, bytes(9), "1 with a header that is cut off or damaged"),
    "an IP header that is cut": (1, FRAMES["tcp v4"][:30], "1 with a header that is cut off or damaged"),
    "a TCP header that is cut": (1, FRAMES["tcp v4"][:40], "1 with a header that is cut off or damaged"),
    "an IP header of no length": (1, MACS + b"\x08\0" + bytes(40), "1 with a header that is cut off or damaged"),
    "a later fragment": (1, FRAMES["v4 later fragment"], "1 later IP fragments"),
    "a later fragment of IPv6": (1, FRAMES["v6 later fragment"], "1 later IP fragments"),
    "another family": (0, b"\x07\0\0\0" + bytes(20), "1 of another family than IP"),
}


def notes(folder: Path, data: bytes, packets: int = 1 << 16) -> list[str]:
    file = folder / "some.pcapng"
    file.write_bytes(data)
    noticed = Noticed()
    for columns in CaptureFile(file).batches(packets):
        noticed.feed(columns)
    return noticed.notes


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_is_in_no_flow_is_said(tmp_path: Path, name: str) -> None:
    link, frame, said = LEFT_OUT[name]
    assert notes(tmp_path, pcapng([frame], link_type=link)) == [f"in no flow, and not looked into: {said}"]


@pytest.mark.parametrize("name", LINKS)
def test_nothing_is_said_of_what_is_read(tmp_path: Path, name: str) -> None:
    link, frame = LINKS[name]
    assert notes(tmp_path, pcapng([frame], link_type=link)) == []


def test_flows_and_what_is_left_out_are_all_there_is(tmp_path: Path) -> None:
    ethernet = [frame for link, frame, _ in LEFT_OUT.values() if link == 1]
    file = tmp_path / "some.pcap"
    file.write_bytes(pcap(IN_A_FLOW + ethernet + ethernet[:3]))
    noticed, flows = Noticed(), Flows()
    for columns in CaptureFile(file).batches(5):
        noticed.feed(columns)
        flows.feed(columns)
    (note,) = noticed.notes
    left_out = sum(int(part.split()[0]) for part in note.partition(": ")[2].split(", "))
    assert left_out == len(ethernet) + 3
    assert sum(sum(flow.packets) for flow in flows.all) == len(IN_A_FLOW)


def shown(file: Path) -> Sequence[str]:
    seen = overview_of_file(file)
    assert seen == overview(open_subject(file)), "in one pass or in two"
    return [line.plain for line in overview_lines(seen, None, every=True)]


def test_the_summary_has_it(tmp_path: Path) -> None:
    file = tmp_path / "some.pcap"
    file.write_bytes(pcap([LEFT_OUT["ARP"][1]]))
    assert "note: some.pcap: in no flow, and not looked into: 1 ARP" in shown(file)


def test_times_that_go_back(tmp_path: Path) -> None:
    """The clock is set back 500 ms between a segment and its acknowledgement, which came after 10 ms."""
    talk = [*opened(4), a(1000, 1000), b(1005, 1010), a(1010, 1010), b(520, 1020), a(530, 1020), b(540, 1030)]
    said = "\n".join(shown(write(tmp_path / "some.pcap", talk)))
    assert "times go back once, by 490.000 ms; negative round trips are left out" in said
    assert "1.01 s  handshake 4 ms, RTT 5 ms" in said, "of 2 ms for the SYN, 5 ms before and 10 ms after"


def test_a_handshake_in_which_time_goes_back_is_none(tmp_path: Path) -> None:
    opening = opened(4)[:2]
    said = "\n".join(shown(write(tmp_path / "some.pcap", [*opening, a(-490, 1000, 0), a(-480, 1000)])))
    assert "by 492.000 ms" in said
    assert "handshake" not in said and "RTT -" not in said


def test_times_that_go_back_between_batches(tmp_path: Path) -> None:
    file = write(tmp_path / "some.pcap", [a(5, 1000), a(6, 1010), a(4, 1020), a(7, 1030), a(6, 1040)])
    noticed = Noticed()
    for columns in CaptureFile(file).batches(2):
        noticed.feed(columns)
    assert noticed.notes == ["times go back 2 times, by up to 2.000 ms; negative round trips are left out"]
