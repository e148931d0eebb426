"""Packets in words: by the flags, by sequence numbers that count from the SYN, by what a datagram says."""

from __future__ import annotations

import dns.message
import dns.rrset
import pytest
from faultlab.analysis.words import Direction, Numbering, packet_text
from faultlab.network.packets import ACK, FIN, RST, SYN, Packet

from tests.support.virtual_wire import CLIENT, TCP_SERVER, tcp, udp


def words(*frames: bytes) -> list[str]:
    """Of packets in the order they were sent."""
    numbering, found = Numbering(), []
    for frame in frames:
        packet = Packet.parse(frame)
        numbering.note(packet)
        found.append(packet_text(packet, numbering))
    return found


def back(payload: bytes = b"", flags: int = ACK, seq: int = 5000, ack: int = 1000) -> bytes:
    return tcp(payload, flags, seq, ack, port=8082, to=20_000, source=TCP_SERVER, target=CLIENT)


def test_a_connection_from_its_first_packet_to_its_last() -> None:
    assert words(
        tcp(flags=SYN, seq=1000, ack=0),
        back(flags=SYN | ACK, ack=1001),
        tcp(seq=1001, ack=5001),
        tcp(b"x" * 102, seq=1001, ack=5001),
        back(seq=5001, ack=1103),
        back(b"y" * 10, flags=ACK | FIN, seq=5001, ack=1103),
        tcp(flags=FIN | ACK, seq=1103, ack=5012),
        back(flags=RST, seq=5012),
    ) == ["SYN", "SYN-ACK", "ACK 1", "data 1..103 (102 B)", "ACK 103", "data 1..11 (10 B) + FIN", "FIN", "RST"]


def test_numbers_go_on_where_sequence_numbers_begin_anew() -> None:
    top = 2**32
    frames = [tcp(flags=SYN, seq=top - 5), tcp(b"x" * 10, seq=top - 4), tcp(b"x", seq=6)]
    assert words(*frames) == ["SYN", "data 1..11 (10 B)", "data 11..12 (1 B)"]


def test_a_stream_whose_beginning_was_not_seen_counts_from_what_was() -> None:
    assert words(tcp(b"xyz", seq=70_000, ack=9000), back(seq=9000, ack=70_003)) == ["data 1..4 (3 B)", "ACK 4"]


def test_ports_that_are_used_anew_count_anew() -> None:
    again = [tcp(flags=SYN, seq=900_000), back(flags=SYN | ACK, seq=77, ack=900_001), tcp(seq=900_001, ack=78)]
    assert words(tcp(flags=SYN, seq=1000), tcp(b"x", seq=1001), *again)[2:] == ["SYN", "SYN-ACK", "ACK 1"]


def test_a_segment_with_other_ports_is_told_by_the_stream_it_belongs_to() -> None:
    numbering, original = Numbering(), Packet.parse(tcp(flags=SYN, seq=1000))
    numbering.note(original)
    moved = Packet.parse(tcp(b"x" * 5, seq=1001, port=31_000))
    assert packet_text(moved, numbering, Direction.of(original)) == "data 1..6 (5 B)"


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"msg-0-7-abcdef", "datagram 14 B msg-0-7-"),
        (b"hello", "datagram 5 B hello"),
        (b"\x00\x01\x02", "datagram 3 B"),
        (b"", "datagram 0 B"),
    ],
)
def test_a_datagram_by_how_it_begins(payload: bytes, expected: str) -> None:
    assert words(udp(payload)) == [expected]


def test_dns_by_question_and_answer() -> None:
    query = dns.message.make_query("tcp-server.lab", "A", id=7)
    answer = dns.message.make_response(query)
    answer.answer.append(dns.rrset.from_text("tcp-server.lab.", 60, "IN", "A", "10.77.0.3"))
    missing = dns.message.make_response(query)
    missing.set_rcode(3)
    frames = [
        udp(query.to_wire(), to=53),
        udp(answer.to_wire(), port=53),
        udp(missing.to_wire(), port=53),
        udp(b"no DNS at all", to=53),
    ]
    assert words(*frames) == [
        "DNS query A tcp-server.lab",
        "DNS answer A tcp-server.lab: 10.77.0.3",
        "DNS answer A tcp-server.lab: NXDOMAIN",
        "datagram 13 B no DNS at all",
    ]


def test_what_is_no_ip_says_so() -> None:
    assert words(bytes(60)) == ["no IP"]
