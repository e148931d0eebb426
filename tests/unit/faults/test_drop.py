"""Drop: exactly the packets that the selectors name."""

from __future__ import annotations

from faultlab.faults import Drop, Match

from tests.support.virtual_wire import ACK, CLIENT, FROM_TCP, MS, SYN, TCP_SERVER, TO_TCP, Wire, tcp


def test_the_first_syn_ack_and_no_other() -> None:
    wire = Wire()
    wire.set(FROM_TCP, Drop(match=Match(tcp="syn+ack", which=(1,))))
    syn = tcp(flags=SYN, seq=99)
    syn_ack = tcp(flags=SYN | ACK, port=8082, to=20_000, source=TCP_SERVER, target=CLIENT)
    ack = tcp(flags=ACK, port=8082, to=20_000, source=TCP_SERVER, target=CLIENT)
    wire.send(syn, syn_ack, ack)
    assert (wire.frames(TCP_SERVER), wire.frames(CLIENT)) == ([syn], [ack])
    wire.send(syn_ack, at=1000 * MS)
    assert wire.frames(CLIENT) == [ack, syn_ack]


def test_the_segment_that_holds_byte_4096() -> None:
    wire = Wire()
    wire.set(TO_TCP, Drop(match=Match(stream=(4096, 4096), which=(1,))))
    segments = [tcp(bytes(1400), seq=100 + 1 + 1400 * number) for number in range(5)]
    wire.send(tcp(flags=SYN, seq=100), *segments, segments[2])
    assert wire.frames(TCP_SERVER)[1:] == [*segments[:2], *segments[3:], segments[2]]
