"""Counts from captures: what each path carried, connections opened on it, segments sent again."""

from __future__ import annotations

from pathlib import Path

import pytest
from faultlab.analysis.capture_tail import CaptureTail, Seen
from faultlab.analysis.counts import Counts
from faultlab.analysis.traffic import Traffic
from faultlab.checks.retransmissions import RetransmissionBounds, judge
from faultlab.evidence.run_evidence import Evidence

from tests.support.virtual_wire import ACK, CLIENT, FIN, FROM_TCP, NODES, PSH, SYN, TCP_SERVER, TO_TCP, tcp, udp
from tests.unit.checks.histories import record

OPENED = [
    tcp(flags=SYN, seq=999),
    tcp(flags=SYN | ACK, seq=4999, source=TCP_SERVER, target=CLIENT, port=8082, to=20_000),
    tcp(flags=ACK, seq=1000),
]
DATA = [tcp(b"x" * 50, PSH | ACK, seq=1000 + 50 * number) for number in range(3)]


def counted(folder: Path, frames: list[bytes]) -> Traffic:
    record(folder, frames)
    traffic = Traffic(NODES)
    for side in ("sent", "delivered"):
        for seen in CaptureTail(side).feed((folder / f"{side}.pcapng").read_bytes()):
            traffic.see(seen)
    return traffic


def test_a_connection_is_its_opener_s(tmp_path: Path) -> None:
    paths = counted(tmp_path, [*OPENED, *DATA]).paths
    size = sum(map(len, (OPENED[0], OPENED[2], *DATA)))
    assert paths[TO_TCP] == Counts(packets=5, size=size, delivered=5, connections=1)
    assert paths[FROM_TCP] == Counts(packets=1, size=len(OPENED[1]), delivered=1)


@pytest.mark.parametrize(
    ("again", "count"),
    [
        ([OPENED[0]], 1),
        ([DATA[0], DATA[2]], 2),
        ([OPENED[2]], 0),  # an acknowledgement takes no sequence number
        ([tcp(flags=FIN | ACK, seq=1150), tcp(flags=FIN | ACK, seq=1150)], 1),
        ([tcp(b"x" * 100, PSH | ACK, seq=1100)], 1),  # RFC 4022: one byte that was sent before is enough
        ([udp(), udp()], 0),
    ],
    ids=["SYN", "data", "ACK", "FIN", "old and new", "UDP"],
)
def test_what_is_sent_again(again: list[bytes], count: int, tmp_path: Path) -> None:
    paths = counted(tmp_path, [*OPENED, *DATA, *again]).paths
    assert paths[TO_TCP].retransmissions == count
    assert judge(Evidence(tmp_path), RetransmissionBounds(at_least=count, at_most=count)).verdict == "PASS", (
        "as the check counts"
    )


def test_the_ports_of_an_old_connection_used_again_are_a_new_one(tmp_path: Path) -> None:
    later = [tcp(flags=SYN, seq=500), tcp(b"y" * 50, PSH | ACK, seq=501)]
    paths = counted(tmp_path, [*OPENED, *DATA, *later]).paths
    assert (paths[TO_TCP].connections, paths[TO_TCP].retransmissions) == (2, 0)


def test_sequence_numbers_wrap_around(tmp_path: Path) -> None:
    before, after = tcp(b"x" * 50, PSH | ACK, seq=2**32 - 25), tcp(b"x" * 50, PSH | ACK, seq=25)
    assert counted(tmp_path, [before, after]).paths[TO_TCP].retransmissions == 0
    assert counted(tmp_path, [before, after, before]).paths[TO_TCP].retransmissions == 1


def test_frames_to_nobody_are_on_no_path() -> None:
    traffic = Traffic(NODES)
    block = bytes(20) + (14).to_bytes(4, "little") * 2 + b"\xff" * 6 + CLIENT.mac_bytes + b"\x08\0" + bytes(6)
    traffic.see(Seen("sent", 0, 0, block))
    assert traffic.paths == {}


def test_a_fragment_of_a_segment_is_no_segment(tmp_path: Path) -> None:
    """A later IP fragment has no TCP header, though its protocol is TCP (RFC 791, 3.2)."""
    parts = [bytearray(tcp(b"x" * 48, PSH | ACK, seq=1000)) for _ in range(3)]
    for number, frame in enumerate(parts):
        frame[20:22] = (number * 6 | 0x2000).to_bytes(2)
    assert counted(tmp_path, [*OPENED, *map(bytes, parts)]).paths[TO_TCP].retransmissions == 0
    assert judge(Evidence(tmp_path), RetransmissionBounds(at_most=0)).verdict == "PASS"
