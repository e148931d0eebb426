"""Fragments become the datagrams that a receiving kernel makes of them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import permutations

import pytest
from faultlab.network.packets import Packet, checksum_right
from faultlab.network.reassembly import CROWDED, MOST_BETWEEN, Reassembly

from tests.support.virtual_wire import udp

DATA = bytes(range(256)) * 12
SECOND = 1_000_000_000


def fragments(frame: bytes, size: int = 1024, ip_id: int = 7) -> list[bytes]:
    """As a sender's kernel cuts it (RFC 791, 3.2; RFC 8200, 4.5)."""
    version = frame[14] >> 4
    header, data = (frame[14:34], frame[34:]) if version == 4 else (frame[14:54], frame[54:])
    found = []
    for at in range(0, len(data), size):
        piece, more = data[at : at + size], at + size < len(data)
        if version == 4:
            start = header[:2] + struct.pack("!HHH", 20 + len(piece), ip_id, more << 13 | at // 8) + header[8:]
        else:
            start = header[:4] + struct.pack("!HB", 8 + len(piece), 44) + header[7:]
            start += struct.pack("!BBHI", header[6], 0, at | more, ip_id)
        found.append(frame[:14] + start + piece)
    return found


def whole(
    frames: Sequence[bytes], gap: int = 0, start: Reassembly | None = None
) -> list[tuple[bytes, tuple[int, ...]]]:
    """Payload and parts of each datagram; the frames are numbered from 1."""
    reassembly = start or Reassembly()
    found = [reassembly.add(Packet.parse(frame), at * gap, at + 1) for at, frame in enumerate(frames)]
    assert all(checksum_right(one.packet) for one in found if one)
    return [(one.packet.payload, one.parts) for one in found if one]


@pytest.fixture(params=[4, 6])
def frame(request: pytest.FixtureRequest) -> bytes:
    return udp(DATA, family=request.param)


def test_in_any_order(frame: bytes) -> None:
    assert whole([frame]) == [(DATA, (1,))]
    for order in permutations(fragments(frame)):
        ((payload, parts),) = whole(order)
        assert payload == DATA and sorted(parts) == [1, 2, 3, 4]


def test_one_lost_is_all_lost(frame: bytes) -> None:
    parts = fragments(frame)
    for lost in range(len(parts)):
        assert whole([*parts[:lost], *parts[lost + 1 :]]) == []


def test_it_comes_twice_only_where_each_fragment_does_and_all_of_them_after_the_first_copy(frame: bytes) -> None:
    a, b, c, d = fragments(frame)
    assert len(whole([a, b, c, d, a, b, c, d])) == 2
    assert len(whole([a, a, b, b, c, c, d, d])) == 1
    assert len(whole([a, b, c, d, d])) == 1


def test_what_overlaps_is_given_up(frame: bytes) -> None:
    (a, b, c, d), other = fragments(frame), fragments(frame, 1032)[1]
    assert whole([a, other, b, c, d]) == []


def test_datagrams_between_each_other(frame: bytes) -> None:
    one, two = fragments(frame), fragments(frame, ip_id=8)
    both = [part for pair in zip(one, two, strict=True) for part in pair]
    assert [parts for _, parts in whole(both)] == [(1, 3, 5, 7), (2, 4, 6, 8)]


@pytest.mark.parametrize(("family", "seconds"), [(4, 30), (6, 60)])
def test_what_waits_too_long_is_given_up(family: int, seconds: int) -> None:
    parts = fragments(udp(DATA, family=family))
    assert len(whole(parts, gap=seconds * SECOND // 3)) == 1
    assert whole(parts, gap=seconds * SECOND // 3 + 1) == []


@pytest.mark.parametrize("family", [4, 6])
def test_what_is_too_far_apart_is_given_up_in_ipv4(family: int) -> None:
    frame = udp(DATA, family=family)
    (first, *rest), others = fragments(frame), [fragments(frame, ip_id=100 + n)[0] for n in range(MOST_BETWEEN)]
    assert len(whole([first, *others[1:], *rest])) == 1
    assert len(whole([first, *others, *rest])) == (0 if family == 4 else 1)


def test_too_many_that_wait_are_told(frame: bytes) -> None:
    reassembly = Reassembly()
    whole([fragments(frame, ip_id=n)[0] for n in range(CROWDED)], start=reassembly)
    assert not reassembly.crowded
    whole([fragments(frame, ip_id=CROWDED)[0]], start=reassembly)
    assert reassembly.crowded


def test_those_given_up_make_room(frame: bytes) -> None:
    reassembly = Reassembly()
    whole([fragments(frame, ip_id=n)[0] for n in range(5 * CROWDED)], SECOND // 10, reassembly)
    assert not reassembly.crowded
