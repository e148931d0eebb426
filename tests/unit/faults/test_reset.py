"""Reset: a RST in a segment's place, with exactly the sequence number that each end expects."""

from __future__ import annotations

import struct

import pytest

from lab.faults import Effect, Latency, Rebind, Reset
from tests.virtual_wire import (
    ACK,
    CLIENT,
    FIN,
    FROM_TCP,
    MS,
    PSH,
    RST,
    SYN,
    TCP_SERVER,
    TO_TCP,
    Wire,
    checksum_right,
    tcp,
)

SEGMENT = {"seq": 1000, "ack": 5000, "flags": ACK | PSH}


def numbers(frame: bytes, family: int = 4) -> tuple[int, ...]:
    """(source port, target port, seq, ack, flags)"""
    at = 34 if family == 4 else 54
    return (*struct.unpack_from("!HHII", frame, at), frame[at + 13])


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize(("to", "forged"), [("both", 2), ("receiver", 1), ("sender", 1)])
def test_each_end_gets_the_number_it_expects(family: int, to: str, forged: int) -> None:
    wire = Wire()
    wire.set(TO_TCP, Reset.model_validate({"to": to}))
    segment = tcp(b"hello", family=family, **SEGMENT)
    wire.send(segment)
    onward, back = wire.frames(TCP_SERVER), wire.frames(CLIENT)
    if to == "sender":
        assert onward == [segment]
    else:
        assert numbers(onward[0], family) == (20_000, 8082, 1000, 5000, RST | ACK)
    if to != "receiver":
        assert numbers(back[0], family) == (8082, 20_000, 5000, 1005, RST | ACK)
    resets = [frame for frame in (*onward, *back) if frame != segment]
    assert all(checksum_right(frame) for frame in resets) and len(resets) == forged


def test_the_ledger_tells_forged_from_sent() -> None:
    wire = Wire()
    wire.set(TO_TCP, Reset())
    wire.send(tcp(b"hello", **SEGMENT))
    assert [(entry.path, entry.packet, entry.decision, entry.acts) for entry in wire.recorder.entries] == [
        (TO_TCP, 1, "dropped", (("f1", Effect.DROPPED, "RST to both"),)),
        (TO_TCP, 2, "injected", (("f1", Effect.INJECTED, "RST to both"),)),
        (FROM_TCP, 3, "injected", (("f1", Effect.INJECTED, "RST to both"),)),
    ]


def test_only_data_of_an_established_connection_and_only_the_nth() -> None:
    wire = Wire()
    wire.set(TO_TCP, Reset(nth=2, to="receiver"))
    quiet = [tcp(flags=SYN), tcp(b"fast open", flags=SYN), tcp(), tcp(flags=ACK | FIN), tcp(b"no ack", flags=PSH)]
    wire.send(*quiet, tcp(b"1", **SEGMENT), tcp(b"2", **SEGMENT), tcp(b"3", **SEGMENT))
    assert [frame[47] & RST for frame in wire.frames(TCP_SERVER)] == [0] * 6 + [RST, 0]


def test_onward_it_follows_what_is_on_its_way_and_back_it_overtakes() -> None:
    """Else the number would be too high for the receiver, or too low for the sender."""
    wire = Wire()
    wire.set(TO_TCP, Reset(nth=2), Latency(delay_ms=20, jitter_ms=5))
    wire.set(FROM_TCP, Latency(delay_ms=20))
    wire.send(tcp(b"1", **SEGMENT), tcp(b"back", port=8082, to=20_000, source=TCP_SERVER, target=CLIENT))
    wire.send(tcp(b"2", **SEGMENT), at=MS)
    assert [frame[47] & RST for frame in wire.frames(CLIENT)] == [RST]
    wire.finish()
    assert [frame[47] & RST for frame in wire.frames(TCP_SERVER)] == [0, RST]


def test_behind_a_nat_the_sender_knows_the_port() -> None:
    wire = Wire()
    wire.set(TO_TCP, Rebind(port=15_000), Reset())
    wire.send(tcp(b"hello", **SEGMENT))
    assert numbers(wire.frames(TCP_SERVER)[0])[:2] == (15_000, 8082)
    assert numbers(wire.frames(CLIENT)[0])[:2] == (8082, 20_000)
