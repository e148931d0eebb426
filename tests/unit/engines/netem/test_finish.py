"""From frames as they were seen to the evidence of a run, without a kernel; the files are read by other readers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from struct import pack, unpack_from

import pytest
from faultlab.engines.netem.finish import Run, Timeline, finish
from faultlab.engines.netem.inference import NOTHING, Setting
from faultlab.engines.netem.live import Live
from faultlab.engines.netem.messages import Counters
from faultlab.engines.netem.options import Netem
from faultlab.engines.netem.sniffer import Sighting
from faultlab.evidence import ledger_format
from faultlab.network.packets import with_checksums
from faultlab.network.topology import Network

CLIENT, SERVER = NODES = Network().nodes(["client", "udp-server"])
MS = 1_000_000
PATH = (0, 1)
LOSS = Setting(Netem(loss=0.5), {"loss": ("f1", "loss 50%")})


def datagram(number: int) -> bytes:
    payload = f"message {number}".encode()
    addresses = ip_address(CLIENT.ipv4).packed + ip_address(SERVER.ipv4).packed
    ip = pack("!BBHHHBBH", 0x45, 0, 28 + len(payload), number, 0, 64, 17, 0) + addresses
    udp = pack("!HHHH", 50_000, 9_000, 8 + len(payload), 0)
    return with_checksums(SERVER.mac_bytes + CLIENT.mac_bytes + b"\x08\x00" + ip + udp + payload)


def captured(file: Path) -> list[tuple[bytes, bytes]]:
    """(frame, options) of each packet; fails where a block's two lengths differ, as strict readers do."""
    data, found = file.read_bytes(), []
    while data:
        kind, total = unpack_from("<II", data)
        assert unpack_from("<I", data, total - 4) == (total,)
        if kind == 6:
            size = unpack_from("<I", data, 20)[0]
            found.append((data[28 : 28 + size], data[28 + size + (-size & 3) : total - 4]))
        data = data[total:]
    return found


class Scene:
    """A run under way: devices 10 and 11 are the ports of client and server."""

    def __init__(self, folder: Path) -> None:
        self.live = Live(folder, NODES, (10, 11), {"engine": "netem", "seed": 1, "inferred": True})
        self.timeline = Timeline()

    def send(self, time_ms: float, frame: bytes) -> None:
        self._see(10, False, time_ms, frame)

    def deliver(self, time_ms: float, frame: bytes) -> None:
        self._see(11, True, time_ms, frame)

    def _see(self, device: int, outgoing: bool, time_ms: float, frame: bytes) -> None:
        self.live.see(Sighting(device, outgoing, self.live.clock.offset_ns + round(time_ms * MS), frame, len(frame)))

    def end(self, counters: Counters | None = None, lost: int = 0) -> int:
        return finish(Run(self.live, self.timeline, {PATH: counters} if counters else {}, lost))


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def records(folder: Path) -> Iterator[tuple[int, tuple[int, ...] | dict[str, object]]]:
    data = (folder / "ledger.bin").read_bytes()
    assert data.startswith(ledger_format.MAGIC)
    data = data[len(ledger_format.MAGIC) :]
    while data:
        if data[0] == ledger_format.NOTE:
            size = ledger_format.NOTE_HEADER.unpack_from(data)[3]
            yield ledger_format.NOTE, json.loads(data[8 : 8 + size])
            data = data[8 + size :]
        else:
            layout = ledger_format.PACKET_RECORD if data[0] == ledger_format.PACKET else ledger_format.DEPART_RECORD
            yield data[0], layout.unpack_from(data)
            data = data[layout.size :]


def notes(folder: Path, kind: str) -> list[dict[str, object]]:
    return [one for number, one in records(folder) if isinstance(one, dict) and one["note"] == kind]


def test_a_loss_is_in_the_ledger_and_in_one_capture_only(scene: Scene, tmp_path: Path) -> None:
    scene.timeline.change(PATH, 0, 0, LOSS)
    scene.live.note("fault-set", 0, id="f1", path="client->udp-server", fault="loss")
    for number in (1, 2, 3):
        scene.send(number, datagram(number))
    for number in (1, 3):
        scene.deliver(number + 0.1, datagram(number))
    assert scene.end(Counters(sent=2, dropped=1, waiting=0)) == 0
    packets = [one for kind, one in records(tmp_path) if kind == ledger_format.PACKET]
    departs = [one for kind, one in records(tmp_path) if kind == ledger_format.DEPART]
    assert [(one[1], one[5]) for one in packets] == [
        (ledger_format.WAITING, 1),
        (ledger_format.DROPPED, 2),
        (ledger_format.WAITING, 3),
    ]
    assert [one[6] for one in departs] == [1, 3]
    assert notes(tmp_path, "acts")[0]["list"] == [["f1", "dropped", "loss 50%"]]
    assert notes(tmp_path, "flow")[0]["label"] == "udp client:*1 -> udp-server:9000"
    assert notes(tmp_path, "run")[0]["inferred"] is True
    assert notes(tmp_path, "warning") == []
    sent = [frame for frame, _ in captured(tmp_path / "sent.pcapng")]
    delivered = [frame for frame, _ in captured(tmp_path / "delivered.pcapng")]
    assert sent == [datagram(number) for number in (1, 2, 3)]
    assert delivered == [datagram(number) for number in (1, 3)]


def test_captures_carry_the_decision(scene: Scene, tmp_path: Path) -> None:
    scene.timeline.change(PATH, 0, 0, LOSS)
    scene.send(1, datagram(1))
    scene.end(Counters(0, 1, 0))
    [(_, options)] = captured(tmp_path / "sent.pcapng")
    assert b"dropped: dropped by f1 (loss 50%)" in options


def test_captures_are_readable_while_the_lab_runs(scene: Scene, tmp_path: Path) -> None:
    scene.send(1, datagram(1))
    scene.live.flush()
    assert [frame for frame, _ in captured(tmp_path / "sent.pcapng")] == [datagram(1)]
    assert [one["note"] for _, one in records(tmp_path) if isinstance(one, dict)] == ["run"]


def test_a_delivery_that_nobody_sent_is_in_the_ledger_as_forged(scene: Scene, tmp_path: Path) -> None:
    scene.deliver(1, datagram(1))
    scene.end()
    [packet] = [one for kind, one in records(tmp_path) if kind == ledger_format.PACKET]
    assert packet[1] == ledger_format.INJECTED


def test_counters_that_disagree_are_a_warning(scene: Scene, tmp_path: Path) -> None:
    scene.timeline.change(PATH, 0, 0, LOSS)
    scene.send(1, datagram(1))
    scene.end(Counters(sent=0, dropped=3, waiting=0))
    [warning] = notes(tmp_path, "warning")
    assert (warning["counted"], warning["captured"], warning["path"]) == (3, 1, "client->udp-server")


def test_a_sniffer_that_lost_frames_is_a_warning(scene: Scene, tmp_path: Path) -> None:
    scene.end(lost=4)
    [warning] = notes(tmp_path, "warning")
    assert warning["lost"] == 4


def test_a_frame_to_nobody_is_noted_and_counted(scene: Scene, tmp_path: Path) -> None:
    scene.send(1, b"\xff" * 6 + CLIENT.mac_bytes + b"\x08\x06" + bytes(28))
    assert scene.end() == 1
    assert notes(tmp_path, "stray")[0]["node"] == "client"


def test_nothing_but_the_three_files_stays(scene: Scene, tmp_path: Path) -> None:
    scene.end()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["delivered.pcapng", "ledger.bin", "sent.pcapng"]


def test_a_timeline_gives_both_settings_while_they_change() -> None:
    timeline = Timeline()
    timeline.change(PATH, 10 * MS, 11 * MS, LOSS)
    timeline.change(PATH, 20 * MS, 21 * MS, NOTHING)
    assert timeline.at(PATH, 5 * MS) == (NOTHING,)
    assert timeline.at(PATH, 10 * MS) == (LOSS, NOTHING)
    assert timeline.at(PATH, 15 * MS) == (LOSS,)
    assert timeline.at(PATH, 20 * MS) == (NOTHING, LOSS)
    assert timeline.at(PATH, 30 * MS) == (NOTHING,)
    assert timeline.at((1, 0), 15 * MS) == (NOTHING,)


def test_a_copy_that_leaves_between_two_equal_packets_is_no_packet_from_the_future(scene: Scene) -> None:
    """A FIN that came twice is answered by two equal ACKs, some 100 us apart: the first one's copy leaves between."""
    twice = Setting(Netem(duplicate=0.5), {"duplicate": ("f1", "duplicate 50%")})
    scene.timeline.change(PATH, 0, 0, twice)
    scene.send(1, datagram(1))
    scene.deliver(1.04, datagram(1))
    scene.deliver(1.15, datagram(1))
    scene.send(1.16, datagram(1))
    scene.end()
    fates = [fields for kind, fields in records(scene.live.folder) if kind == ledger_format.PACKET]
    assert len(fates) == 2
