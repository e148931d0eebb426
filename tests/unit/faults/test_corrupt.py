"""Corrupt: which bits flip, and what the checksum says then."""

from __future__ import annotations

import random

import pytest
from faultlab.faults import Corrupt, Effect, Match
from faultlab.network.packets import Packet

from tests.support.virtual_wire import CLIENT, TO_UDP, UDP_SERVER, Wire, checksum_right, ip_frame, tcp, udp

FRAMES = [udp, tcp]


def corrupted(fault: Corrupt, frame: bytes, seed: int = 1) -> tuple[bytes, int]:
    """The frame as delivered, and the ledger's detail."""
    wire = Wire(seed)
    wire.set(TO_UDP, fault)
    wire.send(frame)
    return wire.arrivals[0].frame, wire.entries(TO_UDP)[0].detail


def flipped(before: bytes, after: bytes) -> list[int]:
    """Numbers of the bits that differ, from the frame's first."""
    difference = int.from_bytes(before, "big") ^ int.from_bytes(after, "big")
    last = len(before) * 8 - 1
    return [bit for bit in range(last + 1) if difference >> (last - bit) & 1]


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("make", FRAMES)
@pytest.mark.parametrize("bits", [1, 2, 8, 15])
def test_broken_is_really_broken(make: object, family: int, bits: int) -> None:
    """For any payload: the ones' complement sum must never come out the same."""
    luck = random.Random(bits)
    for seed in range(60):
        payload = luck.randbytes(luck.choice([2, 3, 40]))
        frame = make(payload, target=UDP_SERVER, family=family)  # type: ignore[operator]
        after, at = corrupted(Corrupt(percent=100, bits=bits), frame, seed)
        assert flipped(frame, after) == list(range(at, at + bits))
        assert at >= Packet.parse(frame).payload_at * 8
        assert checksum_right(frame) and not checksum_right(after)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("make", FRAMES)
def test_fixed_fools_the_stack(make: object, family: int) -> None:
    for seed in range(60):
        frame = make(b"number %d" % seed, target=UDP_SERVER, family=family)  # type: ignore[operator]
        after, at = corrupted(Corrupt(percent=100, checksum="fixed"), frame, seed)
        payload_at = Packet.parse(frame).payload_at
        assert [bit for bit in flipped(frame, after) if bit >= payload_at * 8] == [at]
        assert checksum_right(after)


def test_every_bit_of_the_payload_has_its_turn() -> None:
    frame = udp(b"ab")
    assert {corrupted(Corrupt(percent=100), frame, seed)[1] for seed in range(400)} == set(range(42 * 8, 44 * 8))


def test_without_payload_nothing_happens_and_nothing_counts() -> None:
    wire = Wire()
    wire.set(TO_UDP, Corrupt(nth=1))
    bare, full = tcp(target=UDP_SERVER), tcp(b"data", target=UDP_SERVER)
    wire.send(bare, bare, full, full)
    assert [frame in (bare, full) for frame in wire.frames(UDP_SERVER)] == [True, True, False, True]
    assert [entry.did(Effect.CHANGED) for entry in wire.entries(TO_UDP)] == [False, False, True, False]


def test_only_what_matches() -> None:
    wire = Wire()
    wire.set(TO_UDP, Corrupt(every=1, match=Match(payload="msg-7")))
    frames = [udp(b"msg-6"), udp(b"msg-7"), udp(b"msg-8")]
    wire.send(*frames)
    assert [a == b for a, b in zip(wire.frames(UDP_SERVER), frames, strict=True)] == [True, False, True]


def test_fragments_can_t_be_mended() -> None:
    fragment = bytearray(ip_frame(CLIENT, UDP_SERVER, 17, bytes(64)))
    fragment[20:22] = b"\x20\0"  # more fragments
    assert corrupted(Corrupt(percent=100, checksum="fixed"), bytes(fragment))[0] == fragment
    assert len(flipped(bytes(fragment), corrupted(Corrupt(percent=100), bytes(fragment))[0])) == 1
