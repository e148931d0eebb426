"""Packets: what is read from frames, and what is written into them."""

from __future__ import annotations

import struct

import pytest
from faultlab.network.packets import (
    ETHERNET_HEADER,
    HALF,
    MASK,
    Packet,
    ahead,
    checksum_right,
    internet_checksum,
    reset_for,
    with_checksums,
    with_source_port,
    with_target_port,
)
from hypothesis import given
from hypothesis import strategies as st

from tests.support.golden_frames import FRAMES
from tests.support.virtual_wire import ACK, PSH, RST, sum16, tcp, udp
from tests.support.virtual_wire import checksum_right as right_by_hand

TCP_FRAMES = [name for name in FRAMES if name.startswith("tcp")]
UDP_FRAMES = [name for name in FRAMES if name.startswith("udp") and "without" not in name]


def parse(name: str) -> Packet:
    return Packet.parse(FRAMES[name])


@pytest.mark.parametrize("name", TCP_FRAMES)
def test_tcp_of_another_implementation(name: str) -> None:
    packet = parse(name)
    assert (packet.protocol, packet.source_port, packet.target_port) == (6, 20_000, 8082)
    assert (packet.seq, packet.ack, packet.flags, packet.payload) == (7, 9, ACK | PSH, b"hello")
    assert (packet.stream_size, packet.fragment) == (5, 0)


@pytest.mark.parametrize("name", UDP_FRAMES)
def test_udp_of_another_implementation(name: str) -> None:
    packet = parse(name)
    assert (packet.protocol, packet.source_port, packet.target_port, packet.payload) == (17, 20_000, 41_234, b"hello")
    assert packet.ip_size == len(FRAMES[name]) - ETHERNET_HEADER


def test_addresses() -> None:
    packet = parse("udp v4")
    assert (packet.source, packet.target) == (bytes((10, 77, 0, 2)), bytes((10, 77, 0, 3)))
    assert parse("udp v6").source == bytes.fromhex("fd7701ab") + bytes(11) + b"\x02"


def test_what_pads_a_short_frame_is_no_payload() -> None:
    assert Packet.parse(udp(b"hi") + bytes(20)).payload == b"hi"


@pytest.mark.parametrize(("version", "number"), [("v4", 5), ("v6", 77)])
def test_fragments(version: str, number: int) -> None:
    first, later = parse(f"{version} first fragment"), parse(f"{version} later fragment")
    assert (first.fragment & 0x2000, first.source_port, first.ip_id) == (0x2000, 20_000, number)
    assert (later.fragment & 0x1FFF, later.source_port, later.payload, later.ip_id) == (3, 0, b"later", number)


def test_what_is_not_ip_has_neither_address_nor_payload() -> None:
    packet = parse("vlan")
    assert (packet.version, packet.protocol, packet.source, packet.payload) == (0, 0, b"", b"")


@pytest.mark.parametrize("frame", [udp(b"0123456789"), tcp(b"0123456789"), udp(b"0123456789", family=6),
                                   tcp(b"0123456789", family=6)])  # fmt: skip
def test_cut_short_anywhere(frame: bytes) -> None:
    for size in range(len(frame)):
        packet = Packet.parse(frame[:size])
        assert packet.payload_at <= packet.payload_end <= max(size, packet.payload_at)
        assert len(packet.payload) <= 10 + 20


@given(st.binary(max_size=200), st.sampled_from([b"\x08\x00", b"\x86\xdd", b"\x81\x00"]))
def test_never_fails(rubbish: bytes, ethertype: bytes) -> None:
    frame = bytes(12) + ethertype + rubbish
    packet = Packet.parse(frame)
    assert 0 <= packet.payload_at <= packet.payload_end <= len(frame)
    checksum_right(packet)
    assert len(with_checksums(frame)) == len(frame)


@given(st.binary(max_size=65))
def test_the_checksum_is_the_textbook_s(data: bytes) -> None:
    assert internet_checksum(data) % 0xFFFF == (0xFFFF - sum16(data)) % 0xFFFF


@pytest.mark.parametrize("family", [4, 6])
@given(payload=st.binary(max_size=40))
def test_checksums_are_mended(family: int, payload: bytes) -> None:
    for frame in (udp(payload, family=family), tcp(payload, family=family)):
        at = Packet.parse(frame).l4_at + (6 if frame[23 if family == 4 else 20] == 17 else 16)
        broken = frame[:at] + bytes((frame[at] ^ 1,)) + frame[at + 1 :]
        assert checksum_right(Packet.parse(frame)) and not checksum_right(Packet.parse(broken))
        assert with_checksums(broken) == frame


def test_icmpv6_has_a_checksum_and_a_missing_one_of_udp_is_fine() -> None:
    for name in ("icmpv6 echo", "icmp echo", "udp v4 without checksum"):
        assert checksum_right(parse(name))
    assert not checksum_right(parse("udp v6 without checksum"))


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("make", [udp, tcp])
@given(port=st.integers(1, 65_535), payload=st.binary(max_size=20))
def test_a_port_is_changed_and_the_checksum_follows(make: object, family: int, port: int, payload: bytes) -> None:
    packet = Packet.parse(make(payload, family=family))  # type: ignore[operator]
    assert right_by_hand(with_source_port(packet, port)) and right_by_hand(with_target_port(packet, port))
    changed = Packet.parse(with_source_port(packet, port))
    assert (changed.source_port, changed.target_port) == (port, packet.target_port)
    assert Packet.parse(with_target_port(packet, port)).target_port == port
    assert changed.payload == packet.payload


def test_a_wrong_checksum_stays_wrong_and_none_stays_none() -> None:
    frame = bytearray(udp())
    frame[40] ^= 0x10
    assert not right_by_hand(with_source_port(Packet.parse(bytes(frame)), 4321))
    frame[40:42] = b"\0\0"
    assert with_source_port(Packet.parse(bytes(frame)), 4321)[40:42] == b"\0\0"


def test_a_first_fragment_s_checksum_follows_too() -> None:
    """It covers the whole datagram: put together again, it must be right."""
    whole = udp(bytes(range(64)))
    changed = with_source_port(Packet.parse(whole), 4321)
    first = bytearray(whole[: 34 + 32])
    first[16:18], first[20:22] = struct.pack("!H", 52), b"\x20\0"
    assert with_source_port(Packet.parse(bytes(first)), 4321)[34:42] == changed[34:42]


@pytest.mark.parametrize("family", [4, 6])
def test_a_forged_reset_is_a_whole_packet(family: int) -> None:
    segment = Packet.parse(tcp(b"data", seq=0xFFFFFFFE, ack=5, family=family))
    for towards_sender in (False, True):
        frame = reset_for(segment, towards_sender=towards_sender)
        assert right_by_hand(frame) and Packet.parse(frame).flags == RST | ACK
        macs = segment.frame[:12] if not towards_sender else segment.frame[6:12] + segment.frame[:6]
        assert frame[:12] == macs
    assert Packet.parse(reset_for(segment, towards_sender=True)).ack == 2


@pytest.mark.parametrize(
    ("number", "of", "by"),
    [(5, 5, 0), (6, 5, 1), (5, 6, -1), (3, MASK, 4), (MASK, 3, -4), (HALF - 1, 0, HALF - 1), (HALF, 0, -HALF)],
)
def test_sequence_numbers_go_round(number: int, of: int, by: int) -> None:
    assert ahead(number, of) == by


@pytest.mark.parametrize("family", [4, 6])
def test_a_length_of_0_is_the_whole_frame(family: int) -> None:
    """As a capture has it of a packet that the device is yet to cut into segments (offload)."""
    frame = bytearray(tcp(b"x" * 4000, family=family))
    at = 16 if family == 4 else 18
    frame[at : at + 2] = bytes(2)
    assert Packet.parse(bytes(frame)).payload == b"x" * 4000
