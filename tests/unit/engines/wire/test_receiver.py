"""What a TCP receiver expects next, whatever the order in which a stream's segments reach it."""

from __future__ import annotations

import random

from faultlab.engines.wire.receiver import Receiver
from faultlab.network.packets import MASK, Packet

from tests.support.virtual_wire import SYN, tcp


def test_any_order_with_copies_and_holes() -> None:
    """Against the plain set of bytes that arrived. The numbers wrap on the way (RFC 9293, 3.4)."""
    dice = random.Random(1)
    for _ in range(300):
        first = (2**32 - dice.randrange(1, 60)) & MASK
        receiver, got = Receiver(), set()
        receiver.take(Packet.parse(tcp(flags=SYN, seq=first - 1)))
        for _ in range(30):
            start, size = dice.randrange(100), dice.randrange(0, 12)
            receiver.take(Packet.parse(tcp(bytes(size), seq=(first + start) & MASK)))
            got.update(range(start, start + size))
            expected = next(place for place in range(200) if place not in got)
            assert receiver.next == (first + expected) & MASK
