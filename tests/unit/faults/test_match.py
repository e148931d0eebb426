"""Match: each condition by itself, all together, and what can't be meant."""

from __future__ import annotations

from typing import Any

import pytest
from faultlab.faults import Drop, Match
from pydantic import ValidationError

from tests.support.virtual_wire import ACK, CLIENT, FIN, MS, PSH, RST, SYN, TCP_SERVER, TO_TCP, Wire, ip_frame, tcp, udp

PING = ip_frame(CLIENT, TCP_SERVER, 1, b"\x08\0\0\0\0\1\0\1" + bytes(32))
FRAMES = {
    "syn": tcp(flags=SYN, seq=99),
    "syn+ack": tcp(flags=SYN | ACK, seq=99),
    "ack": tcp(seq=100),
    "data": tcp(b"0123456789", flags=ACK | PSH, seq=100),
    "more": tcp(b"msg-7;...", flags=ACK, seq=110),
    "fin": tcp(flags=ACK | FIN, seq=119),
    "rst": tcp(flags=RST, seq=120),
    "udp": udp(b"msg-7", target=TCP_SERVER, port=5353, to=53),
    "empty": udp(b"", target=TCP_SERVER, port=5353, to=53),
    "ping": PING,
}
TCP = ["syn", "syn+ack", "ack", "data", "more", "fin", "rst"]


def matched(match: Match) -> list[str]:
    """Which of the frames are meant; the first of them opens the connection."""
    wire = Wire()
    wire.set(TO_TCP, Drop(match=match))
    wire.send(*FRAMES.values())
    return [name for name, entry in zip(FRAMES, wire.recorder.entries, strict=True) if entry.decision == "dropped"]


@pytest.mark.parametrize(
    ("fields", "meant"),
    [
        ({}, list(FRAMES)),
        ({"protocol": "tcp"}, TCP),
        ({"protocol": "udp"}, ["udp", "empty"]),
        ({"port": 53}, ["udp", "empty"]),
        ({"port": 5353}, ["udp", "empty"]),
        ({"source_port": 5353}, ["udp", "empty"]),
        ({"source_port": 53}, []),
        ({"target_port": 8082}, TCP),
        ({"target_port": 20_000}, []),
        ({"tcp": "syn"}, ["syn"]),
        ({"tcp": "syn+ack"}, ["syn+ack"]),
        ({"tcp": "ack"}, ["ack", "data", "more"]),
        ({"tcp": "ack+psh"}, ["data"]),
        ({"tcp": "fin"}, ["fin"]),
        ({"tcp": "FIN+ack"}, ["fin"]),
        ({"tcp": "rst"}, ["rst"]),
        ({"data": True}, ["data", "more", "udp", "ping"]),
        ({"data": False}, ["syn", "syn+ack", "ack", "fin", "rst", "empty"]),
        ({"payload": "msg-7"}, ["more", "udp"]),
        ({"payload": "msg-8"}, []),
        ({"stream": [0, 0]}, ["data"]),
        ({"stream": [9, 9]}, ["data"]),
        ({"stream": [9, 10]}, ["data", "more"]),
        ({"stream": [10, 18]}, ["more"]),
        ({"stream": [19, 1000]}, []),
        ({"which": 1}, ["syn", "udp", "ping"]),
        ({"which": "first"}, ["syn", "udp", "ping"]),
        ({"which": [2, 4]}, ["syn+ack", "data", "empty"]),
        ({"data": True, "which": 2}, ["more"]),
        ({"protocol": "tcp", "data": True, "payload": "msg-7"}, ["more"]),
    ],
)
def test_which_packets_are_meant(fields: dict[str, Any], meant: list[str]) -> None:
    assert matched(Match.model_validate(fields)) == meant


@pytest.mark.parametrize(
    ("fields", "moments"),
    [({"after_ms": 20}, [20, 30]), ({"until_ms": 20}, [0, 10]), ({"after_ms": 10, "until_ms": 30}, [10, 20])],
)
def test_the_time_window_counts_from_when_the_fault_was_set(fields: dict[str, Any], moments: list[int]) -> None:
    wire = Wire()
    wire.until(500 * MS)
    wire.set(TO_TCP, Drop(match=Match.model_validate(fields)))
    for moment in (0, 10, 20, 30):
        wire.send(tcp(), at=(500 + moment) * MS)
    dropped = [entry.arrived // MS - 500 for entry in wire.entries(TO_TCP) if entry.decision == "dropped"]
    assert dropped == moments


def test_a_stream_that_began_unseen_has_no_bytes_to_name() -> None:
    wire = Wire()
    wire.set(TO_TCP, Drop(match=Match(stream=(0, 2**32 - 1))))
    wire.send(tcp(b"data"))
    assert len(wire.arrivals) == 1


def test_a_stream_whose_numbers_wrap() -> None:
    wire = Wire()
    wire.set(TO_TCP, Drop(match=Match(stream=(10, 10))))
    frames = [tcp(bytes(8), seq=(2**32 - 5 + 1 + 8 * number) % 2**32) for number in range(3)]
    wire.send(tcp(flags=SYN, seq=2**32 - 5), *frames)
    assert wire.frames(TCP_SERVER)[1:] == [frames[0], frames[2]]


def test_a_second_connection_on_the_same_ports_has_a_stream_of_its_own() -> None:
    wire = Wire()
    wire.send(tcp(flags=SYN, seq=100), tcp(b"abcd", seq=101), tcp(flags=SYN, seq=7000))
    wire.set(TO_TCP, Drop(match=Match(stream=(2, 2))))
    wire.send(tcp(b"abcd", seq=7001), tcp(b"efgh", seq=7005))
    assert wire.frames(TCP_SERVER)[3:] == [tcp(b"efgh", seq=7005)]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tcp": "syn+xyz"}, "'xyz' is none of fin, syn"),
        ({"tcp": ""}, "is none of"),
        ({"protocol": "udp", "tcp": "syn"}, "neither TCP flags nor a stream"),
        ({"protocol": "udp", "stream": [0, 1]}, "neither TCP flags nor a stream"),
        ({"protocol": "sctp"}, "'tcp' or 'udp'"),
        ({"stream": [5, 4]}, "first <= last"),
        ({"stream": [-1, 4]}, "greater than or equal to 0"),
        ({"until_ms": 5, "after_ms": 5}, "until must come after"),
        ({"port": 0}, "greater than or equal to 1"),
        ({"port": True}, "valid integer"),
        ({"which": 0}, "greater than or equal to 1"),
        ({"which": []}, "at least 1"),
        ({"which": "last"}, "valid tuple"),
        ({"payload": ""}, "at least 1 char"),
        ({"colour": "red"}, "Extra inputs"),
    ],
)
def test_what_can_t_be_meant(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Match.model_validate(fields)


def test_in_words() -> None:
    assert Match(tcp="syn+ack", which=(1,)).describe() == "tcp syn+ack, which 1"
