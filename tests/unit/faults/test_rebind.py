"""Rebind: a NAT that changes its mind about a port."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from faultlab.faults import Effect, Loss, Match, Rebind, rebind
from faultlab.network.packets import Packet
from faultlab.network.topology import Node

from tests.support.virtual_wire import (
    CLIENT,
    FROM_UDP,
    TO_UDP,
    UDP_SERVER,
    Wire,
    checksum_right,
    ip_frame,
    sum16,
    tcp,
    udp,
)


def answer(to: int, family: int = 4) -> bytes:
    return udp(b"answer", port=41_234, to=to, source=UDP_SERVER, target=CLIENT, family=family)


@pytest.mark.parametrize("family", [4, 6])
def test_there_and_back(family: int) -> None:
    wire = Wire()
    wire.set(TO_UDP, Rebind(after=2))
    wire.send(*(udp(b"%d" % number, family=family) for number in range(4)))
    ports = [Packet.parse(frame).source_port for frame in wire.frames(UDP_SERVER)]
    new = ports[2]
    assert ports == [20_000, 20_000, new, new] and 10_000 <= new < 20_000
    assert all(map(checksum_right, wire.frames(UDP_SERVER)))
    assert wire.entries(TO_UDP)[2].detail == new
    wire.send(answer(new, family), answer(20_000, family))
    assert wire.frames(CLIENT) == [answer(20_000, family)]
    assert [entry.acts for entry in wire.entries(FROM_UDP)] == [
        (("f1", Effect.CHANGED, "target port translated back"),),
        (("f1", Effect.DROPPED, "old binding gone"),),
    ]


def test_before_the_change_answers_are_let_through() -> None:
    wire = Wire()
    wire.set(TO_UDP, Rebind(after=2))
    wire.send(udp(), udp(), answer(20_000), answer(33_333))
    assert wire.frames(CLIENT) == [answer(20_000), answer(33_333)]


def test_cleared_it_is_as_if_it_had_never_been() -> None:
    wire = Wire()
    wire.set(TO_UDP, Rebind(port=15_000))
    wire.send(udp())
    wire.set(TO_UDP)
    wire.send(udp(), answer(15_000), answer(20_000))
    assert wire.frames(UDP_SERVER)[1:] == [udp()]
    assert wire.frames(CLIENT) == [answer(15_000), answer(20_000)]


def test_setting_another_fault_keeps_the_bindings() -> None:
    wire = Wire()
    nat = Rebind(port=15_000)
    wire.set(TO_UDP, nat)
    wire.send(udp())
    wire.set(TO_UDP, Loss(nth=1), nat)
    wire.send(answer(15_000))
    assert wire.frames(CLIENT) == [answer(20_000)]


def test_the_faults_of_the_way_back_see_the_port_inside() -> None:
    wire = Wire()
    wire.set(FROM_UDP, Loss(every=1, match=Match(target_port=20_000)))
    wire.set(TO_UDP, Rebind(port=15_000))
    wire.send(udp(), answer(15_000))
    assert wire.frames(CLIENT) == []


def test_each_flow_gets_a_port_of_its_own_and_the_first_the_one_asked_for() -> None:
    wire = Wire()
    wire.set(TO_UDP, Rebind(port=15_000))
    wire.send(*(udp(port=20_000 + number) for number in range(50)), tcp(target=UDP_SERVER, to=41_234))
    ports = [Packet.parse(frame).source_port for frame in wire.frames(UDP_SERVER)]
    assert ports[0] == 15_000 and len(set(ports[:50])) == 50
    wire.send(*(answer(port) for port in ports[:50]))
    assert [Packet.parse(frame).target_port for frame in wire.frames(CLIENT)] == [20_000 + n for n in range(50)]


def test_only_tcp_and_udp() -> None:
    wire = Wire()
    wire.set(TO_UDP, Rebind())
    ping = ip_frame(CLIENT, UDP_SERVER, 1, b"\x08\0\0\0\0\1\0\1" + bytes(32))
    wire.send(ping)
    assert wire.frames(UDP_SERVER) == [ping]


def test_memory_is_bounded_and_there_is_always_a_free_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebind, "FLOW_LIMIT", 20)
    monkeypatch.setattr(rebind, "NEW_PORTS", range(10_000, 10_021))
    wire = Wire()
    wire.set(TO_UDP, Rebind())
    for port in range(20_000, 21_000):
        wire.send(udp(port=port))
    used = [Packet.parse(frame).source_port for frame in wire.frames(UDP_SERVER)]
    assert set(used) <= set(range(10_000, 10_021))
    assert all(len(set(used[start : start + 20])) == 20 for start in range(980))
    wire.send(*(answer(port) for port in used[-20:]), answer(20_000))
    assert [Packet.parse(frame).target_port for frame in wire.frames(CLIENT)] == [*range(20_980, 21_000), 20_000]


def icmp_error(cause: bytes, source: Node, target: Node, family: int, quote: int = 500) -> bytes:
    """Port unreachable, about a frame (RFC 792; RFC 4443, 3.1)."""
    head = b"\3\3\0\0" if family == 4 else b"\1\4\0\0"
    message = head + bytes(4) + cause[14 : 14 + quote]
    if family == 4:
        checksum = 0xFFFF - sum16(message)
        return ip_frame(source, target, 1, message[:2] + checksum.to_bytes(2, "big") + message[4:])
    return ip_frame(source, target, 58, message, 6, checksum_at=2)


def icmp_checksum_right(frame: bytes, family: int) -> bool:
    if family == 4:
        return sum16(frame[34:]) == 0xFFFF
    pseudo = frame[22:54] + struct.pack("!II", len(frame) - 54, 58)
    return sum16(pseudo + frame[54:]) == 0xFFFF


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("quote", [500, 28], ids=["whole", "cut"])
@pytest.mark.parametrize("cause", [udp, tcp])
def test_icmp_errors_are_translated_too(cause: Callable[..., bytes], quote: int, family: int) -> None:
    """RFC 5508, REQ-4: to the inside, a packet that the quoted one's own sender knows; REQ-5: the other way."""
    wire = Wire()
    wire.set(TO_UDP, Rebind(after=1))
    quote += 20 * (family == 6)
    sent = cause(to=41_234, target=UDP_SERVER, family=family)
    wire.send(sent, sent)
    old, new = wire.frames(UDP_SERVER)
    wire.send(icmp_error(new, UDP_SERVER, CLIENT, family, quote), icmp_error(old, UDP_SERVER, CLIENT, family, quote))
    assert wire.frames(CLIENT) == [icmp_error(sent, UDP_SERVER, CLIENT, family, quote)], "the old binding is gone"
    there = cause(port=41_234, to=20_000, source=UDP_SERVER, target=CLIENT, family=family)
    outside = cause(port=41_234, to=Packet.parse(new).source_port, source=UDP_SERVER, target=CLIENT, family=family)
    wire.send(icmp_error(there, CLIENT, UDP_SERVER, family, quote))
    got = wire.frames(UDP_SERVER)[-1]
    assert got == icmp_error(outside, CLIENT, UDP_SERVER, family, quote)
    assert icmp_checksum_right(got, family) and icmp_checksum_right(wire.frames(CLIENT)[0], family)


def test_what_quotes_nothing_known_stays_as_it_is() -> None:
    wire = Wire()
    wire.set(TO_UDP, Rebind())
    wire.send(udp())
    others = [
        icmp_error(udp(port=33_333), UDP_SERVER, CLIENT, 4),
        icmp_error(udp(), UDP_SERVER, CLIENT, 4, quote=22),
        icmp_error(b"", UDP_SERVER, CLIENT, 4),
        ip_frame(UDP_SERVER, CLIENT, 1, b"\3"),
    ]
    wire.send(*others)
    assert wire.frames(CLIENT) == others
