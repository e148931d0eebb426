"""Reset: a RST in a segment's place, with exactly the sequence number that each end expects."""

from __future__ import annotations

import struct

import pytest
from faultlab.faults import Corrupt, Drop, Effect, Latency, Match, Rebind, Reset
from faultlab.network.topology import Node

from tests.support.virtual_wire import (
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


def synchronised(wire: Wire) -> None:
    """The handshake: the client's bytes begin at 1000, the server's at 5000."""
    wire.send(tcp(flags=SYN, seq=999, ack=0))
    wire.send(tcp(flags=SYN | ACK, seq=4999, ack=1000, port=8082, to=20_000, source=TCP_SERVER, target=CLIENT))


def from_server(payload: bytes, seq: int) -> bytes:
    return tcp(payload, seq=seq, ack=1000, port=8082, to=20_000, source=TCP_SERVER, target=CLIENT)


def reset_numbers(wire: Wire, node: Node) -> list[int]:
    return [numbers(frame)[2] for frame in wire.frames(node) if frame[47] & RST]


@pytest.mark.parametrize(
    ("lost", "again", "expected"),
    [((), (), 1030), ((2,), (), 1010), ((1, 3), (), 1000), ((2,), (2,), 1030), ((1, 2), (1,), 1010)],
)
def test_the_receiver_s_number_is_what_it_expects_after_losses(
    lost: tuple[int, ...], again: tuple[int, ...], expected: int
) -> None:
    """RFC 5961, 3.2: with a hole before it, the segment's own number would only cause a challenge ACK.

    Three segments of ten bytes, then some of them again, then the fourth, which is reset.
    """
    wire = Wire()
    drops = [Drop(match=Match(data=True, which=lost))] if lost else []
    wire.set(TO_TCP, *drops, Reset(nth=4 + len(again), to="receiver"))
    synchronised(wire)
    segments = [tcp(bytes(10), seq=1000 + 10 * number) for number in range(4)]
    wire.send(*segments[:3], *(segments[number - 1] for number in again), segments[3])
    assert reset_numbers(wire, TCP_SERVER) == [expected]


def test_the_sender_s_number_counts_what_it_got_meanwhile() -> None:
    """Its segment was sent before, and acknowledges less."""
    wire = Wire()
    wire.set(TO_TCP, Reset(to="sender"))
    synchronised(wire)
    wire.send(from_server(b"answer", 5000), tcp(b"hello", seq=1000, ack=5000))
    assert reset_numbers(wire, CLIENT) == [5006]
    assert all(map(checksum_right, wire.frames(CLIENT)))


def test_a_segment_that_arrives_damaged_is_not_received() -> None:
    wire = Wire()
    wire.set(TO_TCP, Corrupt(nth=1, match=Match(data=True)), Reset(nth=2, to="receiver"))
    synchronised(wire)
    wire.send(tcp(bytes(10), seq=1000), tcp(bytes(10), seq=1010))
    assert reset_numbers(wire, TCP_SERVER) == [1000]


def test_numbers_from_an_earlier_watch_are_forgotten() -> None:
    wire = Wire()
    wire.set(TO_TCP, Reset(nth=9))
    synchronised(wire)
    wire.send(tcp(bytes(10), seq=1000))
    wire.set(TO_TCP)
    wire.send(tcp(bytes(10), seq=1010))
    wire.set(TO_TCP, Reset(to="receiver"))
    wire.send(tcp(bytes(10), seq=1020))
    assert reset_numbers(wire, TCP_SERVER) == [1020]
