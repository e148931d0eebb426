"""What a packet is called in another run: the same where it carries the same, whatever was sent in between."""

from __future__ import annotations

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from lab.packets import Packet
from lab.sendings import Sending, Sendings


def segment(flags: str, seq: int, ack: int = 0, payload: bytes = b"") -> Packet:
    frame = Ether() / IP() / TCP(flags=flags, seq=seq % 2**32, ack=ack % 2**32) / Raw(payload)
    return Packet.parse(bytes(frame))


def names(*packets: Packet) -> list[Sending]:
    sendings = Sendings()
    return [sendings.name(packet) for packet in packets]


@pytest.mark.parametrize(("mine", "theirs"), [(1000, 5000), (2**32 - 1, 2**32 - 300), (2**32 - 20, 0)])
def test_a_segment_is_called_by_its_place_in_the_stream(mine: int, theirs: int) -> None:
    assert names(
        segment("S", mine),
        segment("A", mine + 1, theirs + 1),
        segment("PA", mine + 1, theirs + 1, b"x" * 30),
        segment("A", mine + 31, theirs + 401),
        segment("PA", mine + 31, theirs + 401, b"y" * 10),
        segment("FA", mine + 41, theirs + 401),
        segment("RA", mine + 42, theirs + 401),
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
    first, second, third = names(*[segment("S", 7)] * 3)
    assert (first, second, third) == (Sending("SYN", 0), Sending("SYN", 0, 2), Sending("SYN", 0, 3))
    assert not first.is_for_tcp_to_decide
    assert second.is_for_tcp_to_decide
    assert str(third) == "SYN 0 (sent for time 3)"


def test_a_pure_ack_more_renames_no_other() -> None:
    data = [segment("PA", 11 + at, 900, b"z" * 10) for at in (0, 10, 20)]
    ack = segment("A", 21, 950)
    with_it = names(segment("S", 10), *data[:2], ack, data[2])
    without = names(segment("S", 10), *data)
    assert [name for name in with_it if name.what != "ACK"] == without
    assert [name for name in with_it if name.is_for_tcp_to_decide] == [Sending("ACK", 50)]


def test_the_answering_side_counts_from_its_own_syn() -> None:
    assert names(segment("SA", 70, 31), segment("A", 71, 41), segment("PA", 71, 41, b"1")) == [
        Sending("SYN", 0),
        Sending("ACK", 10),
        Sending("bytes", 0),
    ]


def test_what_is_no_segment_of_a_connection_seen_is_called_by_its_number() -> None:
    datagram = Packet.parse(bytes(Ether() / IP() / UDP() / Raw(b"same")))
    assert names(segment("A", 5, 6), datagram, datagram) == [Sending("packet", n) for n in (1, 2, 3)]
    assert not Sending("packet", 3).is_for_tcp_to_decide
