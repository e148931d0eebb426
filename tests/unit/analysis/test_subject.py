"""What is looked at: a run's folder, two ends, one file, and whatever else somebody may name."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from faultlab.analysis.subject import NO_LEDGER, ONE_END, TWO_CLOCKS, open_subject
from faultlab.engines.recorder import FileRecorder
from faultlab.errors import UsageError
from faultlab.evidence.files import CaptureWriter, interface, section_header
from faultlab.evidence.ledger_reader import read_ledger
from faultlab.evidence.pcapng import Capture
from faultlab.faults import Duplicate, Latency, Loss

from tests.support.virtual_wire import MS, NODES, TO_UDP, udp
from tests.unit.checks.histories import MESSAGES, datagrams, record

FAULTS = [(TO_UDP, Loss(nth=2)), (TO_UDP, Duplicate(nth=3)), (TO_UDP, Latency(delay_ms=5))]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Five datagrams a millisecond apart: packet 2 dropped, packet 3 twice, each 5 ms late."""
    record(tmp_path, datagrams(MESSAGES), FAULTS)
    return tmp_path


def test_a_runs_sides_are_what_the_evidence_reader_says(run: Path) -> None:
    subject = open_subject(run)
    assert subject.sent and subject.delivered
    for side in subject.captures:
        capture = Capture(run / side.name)
        assert side.ids.tolist() == list(capture.packets)
        assert (side.time_ns + subject.start_ns).tolist() == list(capture.times)
        assert [side.frame(index) for index in range(len(side))] == [one.frame for one in capture]
        assert {(subject.nodes[a], subject.nodes[b]) for a, b in zip(side.source, side.target, strict=True)} == {
            ("client", "udp-server")
        }
    assert (subject.unknown, subject.remarks) == ((), ())
    assert subject.main is subject.sent


def test_one_clock_from_the_first_packet(run: Path) -> None:
    subject = open_subject(run)
    assert subject.sent and subject.delivered and subject.ledger
    assert subject.sent.time_ns.tolist() == [0, MS, 2 * MS, 3 * MS, 4 * MS]
    assert subject.delivered.time_ns[0] == 5 * MS
    assert subject.end_ns == subject.delivered.time_ns.max() == 9 * MS
    assert subject.since_start(subject.ledger.entries[1].arrived) == MS
    assert [(fault.id, fault.path, fault.description, fault.from_ns, fault.to_ns) for fault in subject.faults] == [
        ("f1", TO_UDP, "loss nth 2", -MS, None),
        ("f2", TO_UDP, "duplicate nth 3", -MS, None),
        ("f3", TO_UDP, "latency 5ms", -MS, None),
    ]


def test_run_json_comes_along(run: Path) -> None:
    (run / "run.json").write_text(json.dumps({"name": "mine", "seed": 7}))
    assert open_subject(run).run == {"name": "mine", "seed": 7}
    (run / "run.json").write_text("{")
    subject = open_subject(run)
    assert subject.run == {}
    assert "run.json" in subject.remarks[0]


def test_one_capture_and_what_it_cannot_say(run: Path) -> None:
    subject = open_subject(run / "sent.pcapng")
    assert (subject.sent, subject.delivered, subject.ledger, len(subject.captures)) == (None, None, None, 1)
    assert subject.unknown == (NO_LEDGER, ONE_END)
    assert subject.nodes == ("client", "udp-server"), "the capture brings the names along"


def test_the_captures_of_both_ends(run: Path) -> None:
    both = run / "both"
    both.mkdir()
    (run / "sent.pcapng").rename(both / "a.pcapng")
    (run / "delivered.pcapng").rename(both / "b.pcapng")
    subject = open_subject(both)
    assert [side.name for side in subject.captures] == ["a.pcapng", "b.pcapng"]
    assert subject.unknown == (NO_LEDGER, TWO_CLOCKS)


def test_a_killed_labs_files_cut_anywhere(run: Path) -> None:
    """The ledger without its end, captures in the middle of a block: what is whole is there, and a remark."""
    whole = {name: (run / name).read_bytes() for name in ("ledger.bin", "sent.pcapng", "delivered.pcapng")}
    for cut in range(1, 120, 7):
        for name, data in whole.items():
            (run / name).write_bytes(data[:-cut])
        subject = open_subject(run)
        assert subject.ledger and subject.sent and subject.delivered
        assert len(subject.sent) == len(Capture(run / "sent.pcapng"))
        assert any("no end" in remark for remark in subject.remarks)


@pytest.mark.parametrize("name", ["sent.pcapng", "delivered.pcapng", "ledger.bin"])
def test_a_part_that_is_missing_or_rubbish(run: Path, name: str) -> None:
    for content in (b"rubbish that is nothing", b"", None):
        (run / name).unlink() if content is None else (run / name).write_bytes(content)
        subject = open_subject(run)
        assert any(name in remark for remark in subject.remarks)
        assert (NO_LEDGER if name == "ledger.bin" else ONE_END) in subject.unknown


def test_a_ledger_damaged_anywhere_is_used_or_remarked_upon(run: Path) -> None:
    whole = (run / "ledger.bin").read_bytes()
    left_out = 0
    for at in range(0, len(whole), 7):
        (run / "ledger.bin").write_bytes(whole[:at] + bytes((whole[at] ^ 0x55,)) + whole[at + 1 :])
        subject = open_subject(run)
        left_out += subject.ledger is None
        assert subject.ledger is not None or any("ledger.bin" in remark for remark in subject.remarks)
    assert 2 <= left_out < len(whole) // 7


def test_a_lab_that_carried_nothing(tmp_path: Path) -> None:
    record(tmp_path, [])
    subject = open_subject(tmp_path)
    assert subject.sent is not None and len(subject.sent) == 0
    assert (subject.start_ns, subject.end_ns) == (0, 0)


def test_what_the_lab_warned_of_is_a_remark(tmp_path: Path) -> None:
    recorder = FileRecorder(tmp_path, NODES, {"seed": 1, "engine": "wire", "lab": "history"})
    recorder.note("warning", text="the wall clock was stepped")
    recorder.flush()
    remarks = open_subject(tmp_path).remarks
    assert "the wall clock was stepped" in remarks
    assert any("no end" in remark for remark in remarks)
    recorder.close()
    assert open_subject(tmp_path).remarks == ("the wall clock was stepped",)


def test_a_capture_without_the_ledgers_numbers(tmp_path: Path) -> None:
    """A packet block without options, as another program writes it; what follows it is no number."""
    frame = datagrams([b"one!"])[0]
    block = struct.pack("<IIIIIII", 6, 32 + len(frame) + 2, 0, 0, 0, len(frame), len(frame)) + frame + bytes(2)
    block += struct.pack("<I", len(block) + 4)
    (tmp_path / "a.pcapng").write_bytes(section_header() + interface("eth0", "") + block + block)
    (side,) = open_subject(tmp_path / "a.pcapng").captures
    assert side.ids.tolist() == [0, 0]
    assert side.frame(1) == frame


def test_hosts_that_differ_in_half_of_an_address_only(tmp_path: Path) -> None:
    writer = CaptureWriter(tmp_path / "a.pcapng", ["eth0"], "")
    frame = udp(family=6)
    other = frame[:22] + b"\xfd\x88" + frame[24:]
    for one in (frame, other, udp()):
        writer.packet(0, one, 0, b"", 1)
    writer.close()
    subject = open_subject(tmp_path / "a.pcapng")
    (side,) = subject.captures
    assert [subject.nodes[host] for host in side.source] == ["fd77:1ab::2", "fd88:1ab::2", "10.77.0.2"]


def test_more_captures_are_named_and_left_unread(run: Path) -> None:
    (run / "capture-client.pcapng").write_bytes(b"not looked at")
    assert open_subject(run).more == (run / "capture-client.pcapng",)


def test_what_is_no_subject_is_refused_in_one_line(run: Path, tmp_path: Path) -> None:
    empty, three = tmp_path / "empty", tmp_path / "three"
    empty.mkdir()
    three.mkdir()
    for name in ("a.pcap", "b.pcap", "c.pcapng"):
        (three / name).write_bytes((run / "sent.pcapng").read_bytes())
    (tmp_path / "notes.txt").write_text("no capture")
    for path in (tmp_path / "nothing", empty, three, tmp_path / "notes.txt", run / "ledger.bin"):
        with pytest.raises(UsageError) as refused:
            open_subject(path)
        assert "\n" not in str(refused.value)
        assert str(path) in str(refused.value)


def test_the_ledgers_path_counts_where_a_fault_changed_the_address(run: Path) -> None:
    """The first packet's target address is overwritten in the capture; the ledger still knows its path."""
    file = run / "sent.pcapng"
    data = bytearray(file.read_bytes())
    at = data.find(bytes((10, 77, 0, 4)), data.find(b"message 0") - 42)
    data[at : at + 4] = bytes((192, 0, 2, 1))
    file.write_bytes(data)
    assert read_ledger(run / "ledger.bin").by_packet[1].path == TO_UDP
    subject = open_subject(run)
    assert subject.sent and subject.nodes[subject.sent.target[0]] == "udp-server"
