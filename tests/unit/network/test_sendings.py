"""What a packet is called in another run: the same where it carries the same, whatever was sent in between."""

from __future__ import annotations

import pytest
from faultlab.network.packets import ACK, FIN, PSH, RST, SYN, Packet
from faultlab.network.sendings import STREAM, Sending, Sendings

from tests.support.virtual_wire import tcp, udp


def segment(flags: int, seq: int, ack: int = 0, payload: bytes = b"") -> Packet:
    return Packet.parse(tcp(payload, flags, seq % 2**32, ack % 2**32))


def names(*packets: Packet) -> list[Sending]:
    """By the first byte of each segment."""
    first = Sendings()
    places = [first.place(packet) for packet in packets]
    again = Sendings({(place.what, place.at) for place in places if place.what in STREAM})
    return [
        next(name for name in again.names(packet) if (name.what, name.at) == (place.what, place.at))
        for packet, place in zip(packets, places, strict=True)
    ]


@pytest.mark.parametrize(("mine", "theirs"), [(1000, 5000), (2**32 - 1, 2**32 - 300), (2**32 - 20, 0)])
def test_a_segment_is_called_by_its_place_in_the_stream(mine: int, theirs: int) -> None:
    assert names(
        segment(SYN, mine),
        segment(ACK, mine + 1, theirs + 1),
        segment(PSH | ACK, mine + 1, theirs + 1, b"x" * 30),
        segment(ACK, mine + 31, theirs + 401),
        segment(PSH | ACK, mine + 31, theirs + 401, b"y" * 10),
        segment(FIN | ACK, mine + 41, theirs + 401),
        segment(RST | ACK, mine + 42, theirs + 401),
    ) == [
        Sending("SYN", 0),
        Sending("ACK", 0),
        Sending("bytes", 0),
        Sending("ACK", 400),
        Sending("bytes", 30),
        Sending("FIN", 40),
        Sending("RST", 41),
    ]


def test_the_second_time_is_another_sending_and_tcp_s_own() -> None:
    first, second, third = names(*[segment(SYN, 7)] * 3)
    assert (first, second, third) == (Sending("SYN", 0), Sending("SYN", 0, 2), Sending("SYN", 0, 3))
    assert not first.is_for_tcp_to_decide
    assert second.is_for_tcp_to_decide
    assert str(third) == "SYN 0 (sent for time 3)"


def test_a_pure_ack_more_renames_no_other() -> None:
    data = [segment(PSH | ACK, 11 + at, 900, b"z" * 10) for at in (0, 10, 20)]
    ack = segment(ACK, 21, 950)
    with_it = names(segment(SYN, 10), *data[:2], ack, data[2])
    without = names(segment(SYN, 10), *data)
    assert [name for name in with_it if name.what != "ACK"] == without
    assert [name for name in with_it if name.is_for_tcp_to_decide] == [Sending("ACK", 50)]


def test_the_answering_side_counts_from_its_own_syn() -> None:
    assert names(segment(SYN | ACK, 70, 31), segment(ACK, 71, 41), segment(PSH | ACK, 71, 41, b"1")) == [
        Sending("SYN", 0),
        Sending("ACK", 10),
        Sending("bytes", 0),
    ]


def test_what_is_no_segment_of_a_connection_seen_is_called_by_its_number() -> None:
    datagram = Packet.parse(udp(b"same"))
    assert names(segment(ACK, 5, 6), datagram, datagram) == [Sending("packet", n) for n in (1, 2, 3)]
    assert not Sending("packet", 3).is_for_tcp_to_decide


def test_a_segment_is_known_by_each_byte_in_it_wherever_tcp_cuts_the_stream() -> None:
    """Two segments were dropped; this time one carries both, and then they come in three."""
    known = {("bytes", 0), ("bytes", 40), ("FIN", 60)}
    syn, whole = segment(SYN, 10), segment(PSH | ACK | FIN, 11, 0, b"x" * 60)
    parts = [segment(ACK, 11 + at, 0, b"x" * size) for at, size in ((0, 30), (30, 20), (50, 10))]
    sendings = Sendings(known)
    assert [set(sendings.names(packet)) for packet in (syn, whole, *parts, segment(FIN | ACK, 71))] == [
        {Sending("SYN", 0)},
        {Sending("bytes", 0), Sending("bytes", 40), Sending("FIN", 60)},
        {Sending("bytes", 0, 2)},
        {Sending("bytes", 40, 2)},
        set(),
        {Sending("FIN", 60, 2)},
    ]
