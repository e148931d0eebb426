"""What the recorder says is on disk is there, in whole records and blocks, and no more than that."""

from __future__ import annotations

from pathlib import Path

from faultlab.engines.wire.core import Core
from faultlab.engines.recorder import FileRecorder
from faultlab.analysis.capture_tail import CaptureTail
from faultlab.analysis.tail import LedgerTail
from tests.unit.checks.histories import datagrams
from tests.support.virtual_wire import MS, NODES, TO_UDP


def test_what_is_written_is_whole_and_up_to_the_same_packet_in_all_files(tmp_path: Path) -> None:
    recorder = FileRecorder(tmp_path, NODES, {"seed": 1, "engine": "wire", "lab": "test"})
    core = Core(NODES, 1, recorder)
    head = recorder.written
    for number, frame in enumerate(datagrams([b"x" * 1000] * 3), start=1):
        core.receive(0, frame, number * MS)
        before = recorder.written
        assert before == {name: (tmp_path / name).stat().st_size for name in before}
        assert counted(tmp_path) == (number - 1,) * 3, "it is gathered in memory first"
        recorder.flush()
        assert counted(tmp_path) == (number,) * 3
    assert all(recorder.written[name] > size for name, size in head.items())
    recorder.close()


def counted(folder: Path) -> tuple[int, int, int]:
    """Packets in the ledger, sent, delivered."""
    tail = LedgerTail()
    tail.feed((folder / "ledger.bin").read_bytes())
    packets = tail.paths[TO_UDP].packets if TO_UDP in tail.paths else 0
    sent, delivered = (
        len(CaptureTail(side).feed((folder / f"{side}.pcapng").read_bytes())) for side in ("sent", "delivered")
    )
    return packets, sent, delivered
