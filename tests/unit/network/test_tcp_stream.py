from __future__ import annotations

from random import Random

import pytest
from faultlab.network.packets import ACK, SYN, Packet
from faultlab.network.tcp_stream import StreamCoverage, TcpStream

from tests.support.virtual_wire import tcp


def taken(*parts: tuple[int, int]) -> StreamCoverage:
    stream = StreamCoverage()
    stream.begin(0)
    for seq, size in parts:
        stream.take(seq, size, fin=False)
    return stream


def test_a_hole_and_what_fills_it() -> None:
    stream = taken((0, 10), (20, 10))
    assert (stream.in_order, stream.seen, stream.missing) == (10, 20, 0)
    assert stream.take(5, 20, fin=False)
    assert (stream.in_order, stream.seen, stream.missing) == (30, 30, 0)


def test_what_the_peer_acknowledged_unseen_is_missing() -> None:
    stream = taken((0, 10), (20, 10), (40, 10))
    stream.acknowledged(45)
    assert (stream.in_order, stream.seen, stream.missing) == (50, 30, 20)


def test_a_fin_is_no_byte() -> None:
    stream = taken((0, 10))
    stream.take(20, 5, fin=True)
    assert (stream.in_order, stream.seen) == (10, 15)
    stream.take(10, 10, fin=False)
    stream.acknowledged(26)
    assert (stream.in_order, stream.seen, stream.missing) == (25, 25, 0)


@pytest.mark.parametrize("seed", range(20))
def test_in_any_order_and_over_the_wrap(seed: int) -> None:
    draw = Random(seed)
    start = draw.choice([1000, (1 << 32) - 500])
    pieces = [(draw.randrange(900), draw.randrange(1, 100)) for _ in range(30)]
    stream, bytes_seen = StreamCoverage(), set[int]()
    stream.begin(start)
    for at, size in pieces:
        stream.take((start + at) & 0xFFFFFFFF, size, fin=False)
        bytes_seen.update(range(at, at + size))
        assert stream.seen == len(bytes_seen)
    assert stream.in_order == next(at for at in range(1100) if at not in bytes_seen)


def test_many_holes_are_given_up() -> None:
    stream = taken(*((20 * k + 10, 10) for k in range(5000)))
    assert stream.seen == 50_000
    assert stream.missing == 10 * (5000 - 4096)


@pytest.mark.parametrize("seed", range(20))
def test_the_bytes_are_those_sent_whatever_the_order(seed: int) -> None:
    draw = Random(seed)
    start, text = draw.choice([1000, (1 << 32) - 500]), draw.randbytes(1000)
    pieces = [(at, text[at : at + draw.randrange(100, 200)]) for at in range(0, 1000, 100)] * 2
    draw.shuffle(pieces)
    stream, syn = TcpStream(), Packet.parse(tcp(flags=SYN, seq=start - 1))
    stream.add(syn)
    assert stream.opened_by(syn)
    seen = set[int]()
    for at, piece in pieces:
        stream.add(Packet.parse(tcp(piece, ACK, seq=start + at & 0xFFFFFFFF)))
        seen.update(range(at, at + len(piece)))
        assert stream.data == text[: next(at for at in range(1001) if at not in seen)]
    assert stream.data == text
