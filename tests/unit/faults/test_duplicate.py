"""Duplicate: copies, each with a fate of its own."""

from __future__ import annotations

from faultlab.faults import Duplicate, Effect, Latency, Loss, Match

from tests.support.chances import binomial_range
from tests.support.virtual_wire import TO_UDP, UDP_SERVER, Wire, udp


def test_every_second_comes_thrice() -> None:
    wire = Wire()
    wire.set(TO_UDP, Duplicate(every=2, copies=2))
    wire.send(*(udp(b"%d" % number) for number in range(1, 5)))
    assert [int(frame[42:]) for frame in wire.frames(UDP_SERVER)] == [1, 2, 2, 2, 3, 4, 4, 4]
    assert [(entry.copies, entry.left) for entry in wire.entries(TO_UDP)][1] == (3, [(0, 0), (1, 0), (2, 0)])


def test_by_chance() -> None:
    wire = Wire()
    wire.set(TO_UDP, Duplicate(percent=20))
    wire.send(*[udp()] * 3000)
    assert len(wire.arrivals) - 3000 in binomial_range(3000, 0.2)


def test_each_copy_has_its_own_luck() -> None:
    wire = Wire()
    wire.set(TO_UDP, Duplicate(every=1), Loss(percent=50))
    wire.send(*[udp()] * 2000)
    through = [len(entry.left) for entry in wire.recorder.originals.values()]
    assert through.count(2) in binomial_range(2000, 0.25)
    assert through.count(0) in binomial_range(2000, 0.25)
    for entry in wire.recorder.originals.values():
        dropped = [one for one in wire.recorder.entries if one.packet == entry.packet and one.decision == "dropped"]
        assert entry.copies + len(dropped) == 2
        assert entry.copies == len(entry.left)


def test_each_copy_has_its_own_delay() -> None:
    wire = Wire()
    wire.set(TO_UDP, Duplicate(every=1), Latency(delay_ms=20, jitter_ms=5))
    wire.send(udp())
    wire.finish()
    assert len({arrival.time for arrival in wire.arrivals}) == 2


def test_copies_of_two_duplicates_are_told_apart() -> None:
    wire = Wire()
    wire.set(TO_UDP, Duplicate(every=1), Duplicate(every=1, match=Match(protocol="udp")))
    wire.send(udp())
    [entry] = wire.entries(TO_UDP)
    assert (entry.copies, sorted(copy for copy, _ in entry.left)) == (4, [0, 1, 2, 3])
    assert entry.did(Effect.DUPLICATED)
