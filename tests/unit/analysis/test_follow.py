"""Captures followed as they grow: whole packets only, in order of time, from now on; and the capture of one node."""

from __future__ import annotations

import random
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from faultlab.analysis.capture_tail import CaptureTail, Seen
from faultlab.analysis.follow import follow
from faultlab.analysis.node_capture import NodeCapture
from faultlab.errors import LabFailure
from faultlab.evidence.files import CaptureWriter, comment_option
from faultlab.evidence.pcapng import Capture
from faultlab.faults import Latency, Loss

from tests.support.capabilities import missing
from tests.support.virtual_wire import NODES, TO_UDP
from tests.unit.checks.histories import MESSAGES, datagrams, record

NAMES = [node.name for node in NODES]


def recorded(folder: Path) -> dict[str, Path]:
    record(folder, datagrams(MESSAGES), [(TO_UDP, Loss(nth=2)), (TO_UDP, Latency(delay_ms=5))])
    return {side: folder / f"{side}.pcapng" for side in ("sent", "delivered")}


def test_a_packet_has_its_decision_and_its_number_in_the_ledger(tmp_path: Path) -> None:
    file = recorded(tmp_path)["sent"]
    seen = CaptureTail("sent").feed(file.read_bytes())
    assert [one.packet for one in seen] == [1, 2, 3, 4, 5]
    assert [one.frame for one in seen] == [one.frame for one in Capture(file)]
    assert [one.time_ns for one in seen] == [one.time for one in Capture(file)]
    assert seen[0].comment == "goes on: delayed by f2 (fixed)"
    assert seen[1].comment == "dropped: dropped by f1 (number 2)"


def test_a_packet_without_options_has_no_comment_and_no_number(tmp_path: Path) -> None:
    writer = CaptureWriter(tmp_path / "c", ["a"], "as sent")
    writer.packet(0, b"frame", 0, b"", 7)
    writer.close()
    (seen,) = CaptureTail("sent").feed((tmp_path / "c").read_bytes())
    assert (seen.frame, seen.comment, seen.packet, seen.time_ns) == (b"frame", "", 0, 7)


def test_cut_at_every_byte_only_whole_packets_come(tmp_path: Path) -> None:
    data = recorded(tmp_path)["sent"].read_bytes()
    whole = CaptureTail("sent").feed(data)
    for cut in range(len(data)):
        tail = CaptureTail("sent")
        first = tail.feed(data[:cut])
        assert first == whole[: len(first)]
        assert first + tail.feed(data[cut:]) == whole


@pytest.mark.parametrize("data", [b"\x06\0\0\0" + bytes(4), b"rubbish, and more of it"])
def test_what_is_no_capture_is_said_so(data: bytes) -> None:
    with pytest.raises(LabFailure, match="capture"):
        CaptureTail("sent").feed(data)


class Growth:
    """A lab's two captures that are written bit by bit, flushed at the same moments."""

    def __init__(self, folder: Path) -> None:
        self.writers = {side: CaptureWriter(folder / f"{side}.pcapng", NAMES, side) for side in ("sent", "delivered")}

    def packet(self, side: str, time_ns: int) -> None:
        self.writers[side].packet(0, f"{side} {time_ns}".encode(), time_ns, comment_option("goes on"), time_ns)

    def flush(self) -> dict[str, int]:
        for writer in self.writers.values():
            writer.flush()
        return {f"{side}.pcapng": writer.written for side, writer in self.writers.items()}


def test_what_is_new_comes_in_order_of_time_and_the_rest_when_the_lab_ends(tmp_path: Path) -> None:
    lab = Growth(tmp_path)
    lab.packet("sent", 1)

    def moments() -> Iterator[Mapping[str, int | None]]:
        yield lab.flush()
        for side, time_ns in (("delivered", 2), ("delivered", 5), ("sent", 3), ("sent", 5)):
            lab.packet(side, time_ns)
        written = lab.flush()
        lab.packet("sent", 6)
        lab.flush()  # on disk, but later than the moment that is asked about
        yield written
        lab.packet("delivered", 7)
        yield dict.fromkeys(lab.flush())

    times = [[(one.side, one.time_ns) for one in batch] for batch in follow(tmp_path, moments())]
    assert times == [
        [],
        [("delivered", 2), ("sent", 3), ("sent", 5), ("delivered", 5)],
        [("sent", 6), ("delivered", 7)],
    ]


@pytest.mark.parametrize("seed", range(5))
def test_followed_in_any_steps_every_packet_comes_once(seed: int, tmp_path: Path) -> None:
    lab, draw = Growth(tmp_path), random.Random(seed)

    def moments() -> Iterator[Mapping[str, int | None]]:
        yield lab.flush()
        for time_ns in range(1, 200):
            lab.packet(draw.choice(("sent", "delivered")), time_ns)
            if draw.random() < 0.1:
                yield lab.flush()
        yield dict.fromkeys(lab.flush())

    times = [one.time_ns for batch in follow(tmp_path, moments()) for one in batch]
    assert times == list(range(1, 200))


def test_one_side_alone(tmp_path: Path) -> None:
    lab = Growth(tmp_path)

    def moments() -> Iterator[Mapping[str, int | None]]:
        yield lab.flush()
        lab.packet("sent", 1)
        lab.packet("delivered", 2)
        yield lab.flush()

    assert [[one.time_ns for one in batch] for batch in follow(tmp_path, moments(), ["delivered"])] == [[], [2]]


def test_no_evidence_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(LabFailure, match=r"sent\.pcapng: no evidence"):
        next(follow(tmp_path, []))


def everything(folder: Path) -> list[Seen]:
    files = recorded(folder)
    seen = [one for side, file in files.items() for one in CaptureTail(side).feed(file.read_bytes())]
    return sorted(seen, key=lambda one: one.time_ns)


def test_the_capture_of_a_node_has_what_it_sent_and_what_it_was_handed(tmp_path: Path) -> None:
    seen = everything(tmp_path)
    files = {}
    for node in ("client", "udp-server"):
        made = NodeCapture(NODES, [node], ("sent", "delivered"))
        (tmp_path / node).write_bytes(made.header() + made.blocks(seen))
        files[node] = Capture(tmp_path / node)
    assert [len(files[node]) for node in files] == [5, 4]
    assert {one.node for one in files["client"]} == {"client"}
    assert [one.packet for one in files["udp-server"]] == [1, 3, 4, 5]


def test_tshark_reads_a_stream_of_all_nodes(tmp_path: Path) -> None:
    program = shutil.which("tshark")
    if program is None:
        missing("tshark", "apt-get install tshark")
    made = NodeCapture(NODES, NAMES, ("sent", "delivered"))
    stream = made.header() + made.blocks(everything(tmp_path))
    fields = ["-e", "frame.interface_description", "-e", "ip.src_host", "-e", "frame.comment"]
    done = subprocess.run(
        [program, "-r", "-", "-N", "n", "-T", "fields", *fields], input=stream, capture_output=True, check=True
    )
    lines = [line.split("\t") for line in done.stdout.decode().splitlines()]
    assert ["client, as sent", "client", "dropped: dropped by f1 (number 2)"] in lines
    assert ["udp-server, as delivered", "client", "delivered: delayed by f2 (fixed)"] in lines
    assert len(lines) == 9
