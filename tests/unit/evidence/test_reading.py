"""Evidence read back: golden bytes, files cut anywhere, and files that someone changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from faultlab.errors import LabFailure
from faultlab.evidence.run_evidence import Evidence
from faultlab.evidence.journal import read_journal
from faultlab.evidence.ledger_format import MAGIC
from faultlab.evidence.pcapng import Capture
from faultlab.evidence.ledger_reader import read_ledger
from faultlab.evidence.reconcile import reconcile
from faultlab.faults import Duplicate, Effect, Latency, Loss
from tests.unit.checks.histories import MESSAGES, datagrams, record
from tests.support.virtual_wire import TO_UDP

FAULTS = [(TO_UDP, Loss(nth=2)), (TO_UDP, Duplicate(nth=3)), (TO_UDP, Latency(delay_ms=5))]


def note(**fields: object) -> bytes:
    text = json.dumps(fields).encode()
    return b"\x03\0\0\0" + len(text).to_bytes(4, "little") + text


GOLDEN = (
    MAGIC
    + note(note="run", seed=7, nodes=[], epoch_offset=1000)
    + note(note="flow", flow=1, path="a->b", label="udp a:1 -> b:2")
    + note(note="acts", acts=1, list=[["f1", "dropped", "random 10%"]])
    # kind, decision (dropped), nodes 0 -> 1, flow 1, packet 9, arrived 5 ns, left never, 3rd of its flow
    + bytes.fromhex("010100010100000009000000000000000500000000000000000000000000000003000000")
    # CRC, acts 1, 60 bytes with 18 of payload, no delay, detail 0, 1 copy, copy 0
    + bytes.fromhex("efbeadde010000003c00120000000000000000000000000001000000")
)


def test_a_ledger_by_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "ledger.bin").write_bytes(GOLDEN)
    ledger = read_ledger(tmp_path / "ledger.bin")
    (entry,) = ledger.entries
    assert (ledger.seed, ledger.complete) == (7, False)
    assert (entry.packet, entry.path, entry.flow, entry.ordinal, entry.arrived) == (9, "a->b", "udp a:1 -> b:2", 3, 5)
    assert entry.acts == (("f1", Effect.DROPPED, "random 10%"),)
    assert entry.dropped and not entry.injected and entry.departures == []
    assert (entry.size, entry.payload_size, entry.payload_crc) == (60, 18, 0xDEADBEEF)


def test_a_ledger_cut_anywhere_gives_what_is_whole(tmp_path: Path) -> None:
    record(tmp_path, datagrams(MESSAGES), FAULTS)
    file = tmp_path / "ledger.bin"
    whole, packets = file.read_bytes(), []
    for size in range(len(MAGIC), len(whole), 7):
        file.write_bytes(whole[:size])
        ledger = read_ledger(file)
        assert not ledger.complete
        packets.append(len(ledger.entries))
    assert packets == sorted(packets)
    assert packets[0] == 0
    assert packets[-1] > 0


def test_a_capture_cut_anywhere_gives_what_is_whole(tmp_path: Path) -> None:
    record(tmp_path, datagrams(MESSAGES), FAULTS)
    file = tmp_path / "sent.pcapng"
    whole = file.read_bytes()
    sizes = []
    for size in range(1, len(whole), 3):
        file.write_bytes(whole[:size])
        capture = Capture(file)
        assert all(len(one.frame) > 42 for one in capture)
        sizes.append(len(capture))
    assert sizes == sorted(sizes)
    assert sizes[-1] == len(MESSAGES) - 1


@pytest.mark.parametrize("content", [b"", b"rubbish that is no ledger"])
def test_what_is_no_ledger_is_said_so(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "ledger.bin").write_bytes(content)
    with pytest.raises(LabFailure, match="ledger"):
        read_ledger(tmp_path / "ledger.bin")


def test_a_journal_whose_last_line_was_cut_short(tmp_path: Path) -> None:
    (tmp_path / "j").write_text('{"n": 1}\n{"n": 2}\n{"n"')
    assert read_journal(tmp_path / "j") == [{"n": 1}, {"n": 2}]
    (tmp_path / "j").write_text("nonsense\n")
    with pytest.raises(LabFailure, match=r":1: not a journal"):
        read_journal(tmp_path / "j")


def test_ledger_and_captures_of_one_run_agree(tmp_path: Path) -> None:
    record(tmp_path, datagrams(MESSAGES), FAULTS)
    account = reconcile(Evidence(tmp_path))
    assert account.mismatches == []
    assert (account.packets, account.dropped, account.duplicated, account.delivered) == (5, 1, 1, 5)


def flip_a_payload_byte(folder: Path) -> None:
    capture = Capture(folder / "delivered.pcapng")
    frame = capture.frame(0)
    whole = (folder / "delivered.pcapng").read_bytes()
    (folder / "delivered.pcapng").write_bytes(whole.replace(frame, frame[:-1] + b"?", 1))


def take_the_other_run_s(name: str) -> Callable[[Path], None]:
    """A file of a run without faults in the place of this one's."""

    def take(folder: Path) -> None:
        other = folder / "other"
        other.mkdir()
        record(other, datagrams(MESSAGES))
        (folder / name).write_bytes((other / name).read_bytes())

    return take


def shift_the_clock(folder: Path) -> None:
    file = folder / "ledger.bin"
    offset = read_ledger(file).run["epoch_offset"]
    file.write_bytes(file.read_bytes().replace(str(offset).encode(), str(offset + 1).encode(), 1))


def leave_out_the_last_packet(folder: Path) -> None:
    file = folder / "sent.pcapng"
    whole = file.read_bytes()
    size = int.from_bytes(whole[-4:], "little")
    file.write_bytes(whole[:-size])


@pytest.mark.parametrize(
    "change",
    [
        flip_a_payload_byte,
        shift_the_clock,
        leave_out_the_last_packet,
        take_the_other_run_s("delivered.pcapng"),
        take_the_other_run_s("ledger.bin"),
    ],
)
def test_each_change_of_the_evidence_is_found(change: Callable[[Path], None], tmp_path: Path) -> None:
    record(tmp_path, datagrams(MESSAGES), FAULTS)
    change(tmp_path)
    assert reconcile(Evidence(tmp_path)).mismatches != []
