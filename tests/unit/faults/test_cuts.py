"""The faults that cut a path, partition, blackhole, flap; and the one that cuts a segment."""

from __future__ import annotations

import pytest
from faultlab.faults import Blackhole, Cut, Duplicate, Effect, Fault, Flap, Match, Partition
from pydantic import ValidationError

from tests.support.virtual_wire import (
    ACK,
    CLIENT,
    FIN,
    FROM_TCP,
    MS,
    PSH,
    SYN,
    TCP_SERVER,
    TO_TCP,
    TO_UDP,
    UDP_SERVER,
    Wire,
    tcp,
    udp,
)


def test_a_partition_cuts_its_path_and_only_that() -> None:
    wire = Wire()
    wire.set(TO_TCP, Partition())
    answer = tcp(source=TCP_SERVER, target=CLIENT, port=8082, to=20_000)
    wire.send(tcp(), answer, udp())
    assert (wire.frames(TCP_SERVER), wire.frames(CLIENT), len(wire.frames(UDP_SERVER))) == ([], [answer], 1)
    assert wire.entries(TO_TCP)[0].acts == (("f1", Effect.DROPPED, "partition"),)
    assert wire.entries(FROM_TCP)[0].acts == ()


def test_a_partition_of_some() -> None:
    wire = Wire()
    wire.set(TO_TCP, Partition(match=Match(target_port=8082)))
    wire.send(tcp(to=8082), tcp(to=8081))
    assert wire.frames(TCP_SERVER) == [tcp(to=8081)]


def test_a_partition_does_not_reach_what_is_on_its_way() -> None:
    wire = Wire()
    wire.set(TO_TCP, Partition(match=Match(after_ms=10)))
    wire.send(tcp(seq=1), at=9 * MS)
    wire.send(tcp(seq=2), at=10 * MS)
    assert wire.frames(TCP_SERVER) == [tcp(seq=1)]


@pytest.mark.parametrize("family", [4, 6])
def test_a_blackhole_counts_the_ip_packet(family: int) -> None:
    headers = 28 if family == 4 else 48
    wire = Wire()
    wire.set(TO_UDP, Blackhole(above_bytes=1200))
    fits, larger = (udp(bytes(1200 - headers + more), family=family) for more in (0, 1))
    wire.send(fits, larger)
    assert wire.frames(UDP_SERVER) == [fits]
    assert wire.frames(CLIENT) == []
    assert wire.entries(TO_UDP)[1].acts == (("f1", Effect.DROPPED, "larger than 1200 bytes"),)


@pytest.mark.parametrize(("starts", "up"), [("up", [0, 100, 199, 500, 699]), ("down", [300, 499, 800, 999])])
def test_a_flapping_link(starts: str, up: list[int]) -> None:
    """200 ms up, 300 ms down, counted from when the fault was set."""
    wire = Wire()
    wire.until(1234 * MS)
    wire.set(TO_UDP, Flap.model_validate({"up_ms": 200, "down_ms": 300, "starts": starts}))
    moments = [0, 100, 199, 200, 299, 300, 499, 500, 699, 700, 799, 800, 999]
    for moment in moments:
        wire.send(udp(b"%d" % moment), at=(1234 + moment) * MS)
    got = [int(frame[42:]) for frame in wire.frames(UDP_SERVER)]
    assert got == up
    dropped = [entry for entry in wire.entries(TO_UDP) if entry.decision == "dropped"]
    assert {entry.acts for entry in dropped} == {(("f1", Effect.DROPPED, "link down"),)}


@pytest.mark.parametrize("fields", [{"up_ms": 0, "down_ms": 1}, {"up_ms": 1, "down_ms": 0}, {"up_ms": 1}])
def test_a_link_that_never_flaps(fields: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        Flap.model_validate(fields)


DATA = b"0123456789"


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize(
    ("fault", "starts", "arrives"),
    [
        (Cut(every=4), [0, 4, 4, 12, 20], [b"0123", DATA[:8], DATA, DATA[:4], DATA[:4]]),
        (Cut(every=4), [12, 0], [DATA[:4], DATA]),
        (Cut(at=(3, 7)), [0, 3, 7], [b"012", b"0123", DATA]),
        (Cut(at=(10,)), [0, 10, 9], [DATA, DATA, b"0"]),
    ],
)
def test_a_segment_is_cut_at_the_first_place_inside_it(
    fault: Fault, starts: list[int], arrives: list[bytes], family: int
) -> None:
    """The stream's first byte has sequence number 1000; what was cut off comes again, from its place on."""
    wire = Wire()
    wire.set(TO_TCP, fault)
    wire.send(tcp(flags=SYN, seq=999, family=family))
    wire.send(*(tcp(DATA, PSH | ACK, seq=1000 + start, family=family) for start in starts))
    got = wire.frames(TCP_SERVER)[1:]
    assert got == [
        tcp(data, PSH | ACK, seq=1000 + start, family=family) for start, data in zip(starts, arrives, strict=True)
    ]
    first = wire.entries(TO_TCP)[1]
    assert (Effect.CHANGED in [act[1] for act in first.acts]) == (arrives[0] != DATA)


def test_a_copy_is_cut_where_its_original_was() -> None:
    wire = Wire()
    wire.set(TO_TCP, Duplicate(every=2), Cut(every=4))
    wire.send(tcp(flags=SYN, seq=999), tcp(DATA, PSH | ACK, seq=1000))
    assert wire.frames(TCP_SERVER)[1:] == [tcp(DATA[:4], PSH | ACK, seq=1000)] * 2


def test_a_stream_goes_on_beyond_4_gib() -> None:
    """Where its offsets start again, a retransmission is still one: the segment before the wrap comes twice."""
    wire = Wire()
    wire.set(TO_TCP, Cut(every=4))
    wire.send(tcp(flags=SYN, seq=999))
    for at in (2**31 + 2**30, 2**32 - 6, 2**32 - 2, 4):
        wire.send(tcp(DATA, PSH | ACK, seq=(1000 + at) % 2**32))
    sizes = [len(frame) - 54 for frame in wire.frames(TCP_SERVER)[1:]]
    assert sizes == [4, 2, 10, 8]


def test_a_cut_takes_the_fin_with_it_and_leaves_what_is_too_short() -> None:
    wire = Wire()
    wire.set(TO_TCP, Cut(every=5))
    wire.send(tcp(flags=SYN, seq=999), tcp(DATA, FIN | ACK, seq=1000), tcp(b"x", ACK, seq=1004), tcp(seq=1002))
    assert wire.frames(TCP_SERVER)[1:] == [
        tcp(DATA[:5], ACK, seq=1000), tcp(b"x", ACK, seq=1004), tcp(seq=1002)
    ]  # fmt: skip
