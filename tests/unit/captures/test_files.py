"""Capture files of each format, read back; files that are cut short, that are damaged, and that grow."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pytest
from faultlab.captures.columns import Columns
from faultlab.captures.files import CaptureFile
from faultlab.captures.reader import Interface
from faultlab.errors import UsageError

from tests.support.capture_bytes import (
    ORDERS,
    SECOND,
    START_NS,
    Order,
    block,
    enhanced,
    interface,
    names,
    obsolete,
    option,
    pcap,
    pcapng,
    section,
    simple,
)
from tests.support.golden_frames import FRAMES

THREE = [FRAMES["tcp v4"], FRAMES["udp v6"], FRAMES["vlan"]]
PCAP = bytes.fromhex(
    "d4c3b2a1 0200 0400 00000000 00000000 ffff0000 01000000"  # microseconds, little-endian; Ethernet
    "01000000 02000000 03000000 3c000000 aabbcc"  # 1.000002 s: 3 bytes of 60
)
PCAPNG = bytes.fromhex(
    "0a0d0d0a 0000001c 1a2b3c4d 0001 0000 ffffffffffffffff 0000001c"  # a section, big-endian
    "00000001 0000001c 0065 0000 00000000 0002 0001 61000000 0000001c"  # an interface `a` of raw IP
    "00000006 00000024 00000000 00000000 000f4241 00000001 0000003c 45000000 00000024"  # 1.000001 s: 1 byte of 60
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "some.pcap"


def opened(path: Path, data: bytes) -> CaptureFile:
    path.write_bytes(data)
    return CaptureFile(path)


def frames(file: CaptureFile, batches: Iterable[Columns]) -> list[bytes]:
    return [file.frame(columns, index) for columns in batches for index in range(len(columns))]


def times(file: CaptureFile) -> list[int]:
    return [time for columns in file.batches() for time in columns.time_ns.tolist()]


def forms(count: int = 3) -> dict[str, bytes]:
    some = (THREE * count)[:count]
    out = {f"pcap {order} {nano}": pcap(some, order, nano) for order in ORDERS for nano in (False, True)}
    return out | {f"pcapng {order}": pcapng(some, order) for order in ORDERS}


FORMS = pytest.mark.parametrize("data", forms().values(), ids=forms())


def test_golden_pcap(path: Path) -> None:
    file = opened(path, PCAP)
    (columns,) = file.batches()
    assert (columns.time_ns[0], columns.captured[0], columns.original[0]) == (1_000_002_000, 3, 60)
    assert (columns.number[0], columns.at[0], columns.link_type[0], columns.interface[0]) == (1, 40, 1, 0)
    assert file.frame(columns, 0) == b"\xaa\xbb\xcc"
    assert file.comment(columns, 0) is file.packet_id(columns, 0) is None
    assert (file.interfaces, file.problems) == ([Interface("", 1, "")], [])


def test_golden_pcapng(path: Path) -> None:
    file = opened(path, PCAPNG)
    (columns,) = file.batches()
    assert (columns.time_ns[0], columns.captured[0], columns.original[0]) == (1_000_001_000, 1, 60)
    assert (columns.number[0], columns.at[0], columns.link_type[0], columns.interface[0]) == (1, 84, 101, 0)
    assert file.frame(columns, 0) == b"E"
    assert (file.interfaces, file.problems) == ([Interface("a", 101, "")], [])


@FORMS
def test_frames_and_times(path: Path, data: bytes) -> None:
    file = opened(path, data)
    assert frames(file, file.batches()) == THREE
    tick = 1000 if "False" in str(path) or data[:4] in (b"\xd4\xc3\xb2\xa1", b"\xa1\xb2\xc3\xd4") else 1
    assert times(file) == [START_NS + number * tick for number in range(3)]
    assert file.problems == []


@FORMS
@pytest.mark.parametrize("packets", [1, 2, 3, 4])
def test_numbers_go_on_over_batches(path: Path, data: bytes, packets: int) -> None:
    batches = list(opened(path, data).batches(packets))
    assert [number for columns in batches for number in columns.number.tolist()] == [1, 2, 3]
    assert max(len(columns) for columns in batches) <= packets


@FORMS
def test_cut_at_every_byte(path: Path, data: bytes) -> None:
    """What is whole is given, what is not is said; and when the file has grown, reading goes on there."""
    for size in range(len(data)):
        try:
            file = opened(path, data[:size])
        except UsageError as error:
            assert size < 24
            assert str(path) in str(error)
            continue
        got = frames(file, file.batches())
        assert got == THREE[: len(got)]
        whole = size == file._reader.position
        assert bool(file.problems) is not whole, size
        path.write_bytes(data)
        assert got + frames(file, file.more()) == THREE, size
        assert file.problems == []


@pytest.mark.parametrize("order", ORDERS)
def test_comments_and_packet_ids(path: Path, order: Order) -> None:
    file = opened(path, pcapng(THREE, order))
    (columns,) = file.batches()
    assert [file.comment(columns, index) for index in range(3)] == ["frame 0", "frame 1", "frame 2"]
    assert [file.packet_id(columns, index) for index in range(3)] == [100, 101, 102]


@pytest.mark.parametrize("order", ORDERS)
def test_every_kind_of_block(path: Path, order: Order) -> None:
    frame = FRAMES["udp v4"]
    data = section(order) + interface(order, snap=39)
    data += simple(order, frame[:39], original=47) + block(order, 0xBAD, b"somebody's own") + obsolete(order, frame, 1)
    data += interface(order, 101, option(order, 2, b"second") + option(order, 3, b"and last"))
    data += enhanced(order, frame[14:], 5, number=1) + block(order, 5, bytes(12))
    file = opened(path, data)
    (columns,) = file.batches()
    assert frames(file, [columns]) == [frame[:39], frame, frame[14:]]
    assert columns.original.tolist() == [47, 47, 33]
    assert columns.time_ns.tolist() == [0, 1000, 5000]  # a simple block has no time
    assert columns.interface.tolist() == [0, 0, 1]
    assert columns.link_type.tolist() == [1, 1, 101]
    assert [file.comment(columns, index) for index in range(3)] == [None, None, None]
    assert file.interfaces == [Interface("", 1, ""), Interface("second", 101, "and last")]
    assert file.problems == []


def test_sections_of_both_byte_orders(path: Path) -> None:
    file = opened(path, pcapng(THREE, "big") + pcapng(THREE, "little", link_type=147) + pcapng(THREE, "big"))
    batches = list(file.batches())
    assert frames(file, batches) == THREE * 3
    assert [kind for columns in batches for kind in columns.interface.tolist()] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert [kind for columns in batches for kind in columns.link_type.tolist()] == [1] * 3 + [147] * 3 + [1] * 3
    assert [file.comment(batches[1], 2), file.packet_id(batches[2], 0)] == ["frame 2", 100]
    assert list(batches[2].number) == [7, 8, 9]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    ("resolution", "ticks", "time_ns"),
    [
        (None, SECOND * 10**6 + 1, START_NS + 1000),
        (6, 1, 1000),
        (9, 1, 1),
        (3, 1500, 1_500_000_000),
        (0, 2, 2_000_000_000),
        (12, 5999, 5),
        (0x80 | 10, 1536, 1_500_000_000),
        (0x80 | 9, 1, 1_953_125),
        (0x80 | 40, 1 << 39, 500_000_000),
        (127, (1 << 64) - 1, 0),
        (0, (1 << 64) - 1, (1 << 63) - 1),
        (9, (1 << 63) + 5, (1 << 63) - 1),
    ],
)
def test_clock_resolution(path: Path, order: Order, resolution: int | None, ticks: int, time_ns: int) -> None:
    said = b"" if resolution is None else option(order, 9, bytes((resolution,)))
    file = opened(path, section(order) + interface(order, options=said) + enhanced(order, b"x", ticks))
    assert times(file) == [time_ns]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("offset", "time_ns"), [(1, 1_000_007_000), (-1, -999_993_000), (1 << 62, (1 << 63) - 1)])
def test_clock_offset(path: Path, order: Order, offset: int, time_ns: int) -> None:
    said = option(order, 14, offset.to_bytes(8, order, signed=True))
    file = opened(path, section(order) + interface(order, options=said) + enhanced(order, b"x", 7))
    assert times(file) == [time_ns]


@pytest.mark.parametrize("order", ORDERS)
def test_names(path: Path, order: Order) -> None:
    server = bytes.fromhex("fd7701ab000000000000000000000003")
    records = ((1, bytes((10, 77, 0, 2)) + b"client\0box\0"), (2, server + b"tcp-server\0"), (1, b"bad"), (9, b"x\0"))
    file = opened(path, section(order) + names(order, *records))
    assert list(file.batches()) == []
    assert file.names == {"10.77.0.2": "client", "fd77:1ab::3": "tcp-server"}


def damaged(data: bytes, at: int, value: bytes) -> bytes:
    return data[:at] + value + data[at + len(value) :]


@pytest.mark.parametrize(
    ("data", "given", "said"),
    [
        (damaged(PCAP + PCAP[24:], 51, b"\xff\xff\xff\x7f"), 1, "offset 43: a packet of 2147483647 bytes is larger"),
        (damaged(PCAPNG, 60, bytes(4)), 0, "offset 56: a block of 0 bytes contradicts itself; nothing after it"),
        (damaged(PCAPNG, 60, b"\0\0\0\x25"), 0, "offset 56: a block of 37 bytes"),
        (damaged(PCAPNG, 60, b"\x7f\xff\xff\xfc"), 0, "offset 56: a block of 2147483644 bytes"),
        (damaged(PCAPNG, 60, b"\0\x0f\xff\xfc"), 0, "offset 56: a block is cut short, the file has 36 bytes of it"),
        (damaged(PCAPNG, 88, b"\0\0\0\x20"), 0, "offset 56: a block of 36 bytes contradicts itself"),
        (damaged(PCAPNG, 76, b"\0\0\0\x05"), 0, "offset 56: a packet is larger than its block"),
        (damaged(PCAPNG, 64, b"\0\0\0\x01"), 0, "offset 56: a packet of an interface that the section does not have"),
        (damaged(PCAPNG, 4, b"\0\0\0\x18"), 0, "offset 0: a section header of 24 bytes contradicts itself"),
        (damaged(PCAPNG, 12, b"\0\x02"), 0, "offset 0: a section of version 2, only 1 is known"),
        (damaged(PCAP, 4, b"\x03"), 0, "offset 0: a file of version 3, only 2 is known"),
        (PCAPNG + damaged(section("big"), 8, b"????"), 1, "offset 92: a section without a byte order"),
        (section("big") + bytes.fromhex("00000005 0000000e ffff 0000000e 0000"), 0, "offset 28: a block of 14 bytes"),
        (section("little") + block("little", 6, bytes(8)), 0, "offset 28: a packet block is smaller than its fields"),
    ],
)  # fmt: skip
def test_damage(path: Path, data: bytes, given: int, said: str) -> None:
    file = opened(path, data)
    assert len(frames(file, file.batches())) == given
    (problem,) = file.problems
    assert problem.startswith(said)


def test_a_wrong_packet_is_passed_over(path: Path) -> None:
    data = section("little") + interface("little")
    data += enhanced("little", b"a", 0) + enhanced("little", b"b", 0, number=1) + enhanced("little", b"c", 0)
    file = opened(path, data)
    assert frames(file, file.batches()) == [b"a", b"c"]


def test_many_problems_are_counted(path: Path) -> None:
    file = opened(path, section("little") + enhanced("little", b"x", 0) * 30)
    assert list(file.batches()) == []
    assert file.problems[-1] == "and 10 more"
    assert len(file.problems) == 21


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "is empty"),
        (b"\x1f\x8b\x08" + bytes(40), "is compressed; gunzip it first"),
        (PCAP[:23], "ends within"),
        (PCAPNG[:7], "ends within"),
        (b"%PDF-1.7 " + bytes(40), "is no capture in pcap or pcapng format"),
        (damaged(PCAPNG, 8, b"????"), "is no capture in pcap or pcapng format"),
    ],
)
def test_foreign_files(path: Path, data: bytes, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        opened(path, data)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        CaptureFile(tmp_path / "none.pcap")
    with pytest.raises(UsageError, match="directory"):
        CaptureFile(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="is a pipe"):
        CaptureFile(tmp_path / "pipe")


@pytest.mark.parametrize("order", ORDERS)
def test_a_capture_that_grows(path: Path, order: Order) -> None:
    data = pcapng(THREE, order)
    file = opened(path, data[: len(data) // 2])
    seen = frames(file, file.more())
    assert 0 < len(seen) < 3
    assert frames(file, file.more()) == []
    path.write_bytes(data + pcapng(THREE, order))
    assert seen + frames(file, file.more()) == THREE * 2
    assert frames(file, file.batches()) == THREE * 2  # from the first again
    assert len(file.interfaces) == 2


def test_many_sections(path: Path) -> None:
    """Captures are joined by writing one after the other; each section's interfaces are its own."""
    parts = [
        section("big") + interface("big", number % 2 * 100 + 1) + enhanced("big", b"x", 0) for number in range(300)
    ]
    file = opened(path, b"".join(parts))
    kinds = [kind for columns in file.batches() for kind in columns.link_type.tolist()]
    assert (kinds, len(file.interfaces), file.problems) == ([1, 101] * 150, 300, [])


def test_more_than_one_window(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a window of a few blocks, every block lies across its end once."""
    many = [bytes((number % 256,)) * (number % 97) for number in range(400)]
    for size in (260, 509, 1024):
        monkeypatch.setattr("faultlab.captures.window.SIZE", size)
        monkeypatch.setattr("faultlab.captures.reader.SIZE", size)
        monkeypatch.setattr("faultlab.captures.pcapng.SIZE", size)
        for data in (pcap(many), pcap(many, "big"), pcapng(many), pcapng(many, "big")):
            file = opened(path, data)
            assert frames(file, file.batches()) == many
            assert file.problems == []
