"""The wire's core on literals, what its faults do to a conversation: the frames that come out, written down."""

from __future__ import annotations

import pytest
from faultlab.errors import UsageError
from faultlab.faults import Blackhole, Drop, Duplicate, Latency, Loss, Match, Partition, Rate, Rebind, Reorder, Reset
from faultlab.network.packets import ACK, PSH, RST, SYN, Packet, checksum_right

from tests.unit.engines.wire.frames import BACK, MS, NODES, THERE, World, number_of, tcp, udp

CLIENT, SERVER = 0, 1


def answer(seq: int, flags: int = ACK, payload: bytes = b"", *, ack: int = 0) -> bytes:
    """From the server's port 9000 to the client."""
    return tcp(seq, flags, payload, ack=ack, source=SERVER, target=CLIENT, port=9000, to_port=2000)


def reply(number: int, to_port: int) -> bytes:
    return udp(number, source=SERVER, target=CLIENT, port=9000, to_port=to_port)


def test_the_first_syn_ack_is_dropped_and_its_retransmission_is_not() -> None:
    world = World()
    world.set_faults(BACK, Drop(match=Match(tcp="syn+ack", which=(1,))))
    syn, syn_ack, ack = tcp(100, SYN), answer(500, SYN | ACK, ack=101), tcp(101, ACK, ack=501)
    world.send(syn)
    world.send(syn_ack, SERVER)
    assert world.out == [(0, SERVER, syn)]
    world.wait(1000 * MS)
    world.send(syn_ack, SERVER)
    world.send(ack)
    assert world.out[1:] == [(1000 * MS, CLIENT, syn_ack), (1000 * MS, SERVER, ack)]
    dropped = [told for told in world.recorder.told if told.dropped]
    assert [(told.path, told.flow, told.ordinal, told.acts) for told in dropped] == [
        (BACK, "tcp server:9000 -> client:2000", 1, (("f1", "dropped", "named packet"),))
    ]


@pytest.mark.parametrize("first_seq", [0, 1000, 2**32 - 12])
def test_the_segments_that_hold_bytes_10_to_19_of_the_stream_are_dropped(first_seq: int) -> None:
    """Also where sequence numbers wrap around in the middle."""
    world = World()
    world.set_faults(THERE, Drop(match=Match(stream=(10, 19))))
    world.send(tcp(first_seq, SYN))
    for start, size in [(0, 10), (9, 1), (9, 2), (10, 1), (19, 5), (20, 5), (0, 40), (15, 0)]:
        world.send(tcp(first_seq + 1 + start, ACK, b"x" * size))
    assert {told.ordinal for told in world.recorder.told if told.dropped} == {4, 5, 6, 8}


def test_no_byte_of_a_stream_is_known_before_its_syn() -> None:
    world = World()
    world.set_faults(THERE, Drop(match=Match(stream=(0, 2**32 - 1))))
    world.send(tcp(1, ACK, b"data"))
    assert len(world.out) == 1


def test_a_reset_goes_both_ways_in_the_segments_place() -> None:
    world = World()
    world.set_faults(THERE, Reset(nth=(2,)))
    world.send(tcp(101, ACK, b"first", ack=501))
    world.send(tcp(106, ACK | PSH, b"second", ack=507))
    onward, back = Packet.parse(world.frames_to(SERVER)[1]), Packet.parse(world.frames_to(CLIENT)[0])
    assert len(world.out) == 3, "the segment itself is gone"
    assert onward.flags & RST and (onward.seq, onward.source_port, onward.target_port) == (106, 2000, 9000)
    assert back.flags & RST and (back.seq, back.ack) == (507, 112)
    assert (back.source_port, back.target_port) == (9000, 2000)
    for packet, source, target in ((onward, CLIENT, SERVER), (back, SERVER, CLIENT)):
        assert packet.frame[:12] == NODES[target].mac_bytes + NODES[source].mac_bytes
        assert checksum_right(packet) and not packet.payload
    injected = [(told.path, told.acts) for told in world.recorder.told if told.injected and told.what == "decided"]
    assert injected == [(path, (("f1", "injected", "RST to both"),)) for path in (THERE, BACK)]


@pytest.mark.parametrize(("to", "to_server", "to_client"), [("receiver", [RST], []), ("sender", [0], [RST])])
def test_a_reset_to_one_end_leaves_the_other_alone(to: str, to_server: list[int], to_client: list[int]) -> None:
    world = World()
    world.set_faults(THERE, Reset.model_validate({"to": to}))
    world.send(tcp(101, ACK, b"data", ack=501))
    assert [Packet.parse(frame).flags & RST for frame in world.frames_to(SERVER)] == to_server
    assert [Packet.parse(frame).flags & RST for frame in world.frames_to(CLIENT)] == to_client


def test_a_reset_onward_follows_what_is_on_its_way_and_the_one_back_goes_at_once() -> None:
    world = World()
    world.set_faults(THERE, Reset(nth=(2,)), Latency(delay_ms=10))
    world.send(tcp(101, ACK, b"first"))
    world.wait(MS)
    world.send(tcp(106, ACK, b"second"))
    world.drain()
    assert [(at, target, bool(Packet.parse(frame).flags & RST)) for at, target, frame in world.out] == [
        (MS, CLIENT, True),
        (10 * MS, SERVER, False),
        (10 * MS, SERVER, True),
    ]


def test_a_forged_frame_is_no_later_packet_that_a_held_one_waits_for() -> None:
    world = World()
    world.set_faults(THERE, Reset(nth=(2,)), Reorder(hold=(1,)))
    for seq in (101, 106, 111):
        world.send(tcp(seq, ACK, b"12345"))
    assert [Packet.parse(frame).seq for frame in world.frames_to(SERVER)] == [106, 111, 101]


def test_a_rebound_flow_has_a_new_port_there_and_its_own_on_the_way_back() -> None:
    world = World()
    world.set_faults(THERE, Rebind(after=1, port=4444))
    for number in (1, 2, 3):
        world.send(udp(number))
    assert [Packet.parse(frame).source_port for frame in world.frames_to(SERVER)] == [2000, 4444, 4444]
    world.send(reply(4, 4444), SERVER)
    world.send(reply(5, 2000), SERVER)
    world.send(reply(6, 2001), SERVER)
    back = [Packet.parse(frame) for frame in world.frames_to(CLIENT)]
    assert [(number_of(packet.frame), packet.target_port) for packet in back] == [(4, 2000), (6, 2001)]
    assert all(checksum_right(Packet.parse(frame)) for _, _, frame in world.out)
    assert [told.acts for told in world.recorder.told if told.dropped] == [(("f1", "dropped", "old binding gone"),)]


def test_a_rebind_that_is_gone_translates_nothing() -> None:
    world = World()
    world.set_faults(THERE, Rebind(port=4444))
    world.send(udp())
    world.set_faults(THERE)
    there, back = udp(), reply(0, 4444)
    world.send(there)
    world.send(back, SERVER)
    assert [frame for _, _, frame in world.out[1:]] == [there, back]


def test_a_reset_beyond_a_nat_reaches_the_port_that_its_sender_has() -> None:
    world = World()
    world.set_faults(THERE, Rebind(port=4444), Reset())
    world.send(tcp(101, ACK, b"data", ack=501))
    onward, back = Packet.parse(world.frames_to(SERVER)[0]), Packet.parse(world.frames_to(CLIENT)[0])
    assert (onward.source_port, back.target_port) == (4444, 2000)
    assert checksum_right(onward) and checksum_right(back)


@pytest.mark.parametrize(
    ("hold", "passes", "expected"),
    [
        ((2,), 1, [1, 3, 2, 4, 5, 6]),
        ((2,), 3, [1, 3, 4, 5, 2, 6]),
        ((1, 2), 1, [3, 1, 2, 4, 5, 6]),
        ((1, 4), 2, [2, 3, 1, 5, 6, 4]),
        ((6,), 1, [1, 2, 3, 4, 5]),
    ],
)
def test_the_order_after_a_hold(hold: tuple[int, ...], passes: int, expected: list[int]) -> None:
    world = World()
    world.set_faults(THERE, Reorder(hold=hold, passes=passes))
    for number in range(1, 7):
        world.send(udp(number))
    assert world.numbers_to(SERVER) == expected
    assert world.core.waiting == 6 - len(expected)


def test_a_lost_packet_frees_nobody() -> None:
    world = World()
    world.set_faults(THERE, Loss(nth=(2,)), Reorder(hold=(1,)))
    for number in (1, 2, 3):
        world.send(udp(number))
    assert world.numbers_to(SERVER) == [3, 1]


def test_every_third_packet_comes_twice_and_a_copy_has_a_fate_of_its_own() -> None:
    world = World()
    world.set_faults(THERE, Duplicate(every=3), Latency(trace=(1, 2, 3, 9)))
    for number in (1, 2, 3):
        world.send(udp(number))
    world.drain()
    assert [(at // MS, number_of(frame)) for at, _, frame in world.out] == [(1, 1), (2, 2), (3, 3), (9, 3)]


def test_what_comes_after_a_jittery_latency_waits_for_the_last_of_its_packets() -> None:
    """The last to leave, not the last that came."""
    world = World()
    world.set_faults(THERE, Latency(trace=(9, 1)))
    world.send(udp(1))
    world.send(udp(2))
    world.set_faults(THERE)
    world.send(udp(3))
    world.drain()
    assert [(at // MS, number_of(frame)) for at, _, frame in world.out] == [(1, 2), (9, 1), (9, 3)]


def test_a_link_of_8000_kbit_lets_a_byte_through_each_microsecond() -> None:
    world = World()
    world.set_faults(THERE, Rate(rate_kbit=8000, burst_bytes=1514, limit_packets=3))
    for number in range(1, 7):
        world.send(udp(number, size=1000))
    world.drain()
    assert [(at // 1000, number_of(frame)) for at, _, frame in world.out] == [(0, 1), (486, 2), (1486, 3), (2486, 4)]
    assert [told.acts[-1][2] for told in world.recorder.told if told.dropped] == ["queue full: 3 packets"] * 2


def test_a_partition_cuts_one_way() -> None:
    world = World()
    world.set_faults(THERE, Partition())
    world.send(udp(1))
    world.send(reply(2, 2000), SERVER)
    assert [(target, number_of(frame)) for _, target, frame in world.out] == [(CLIENT, 2)]


def test_a_black_hole_counts_the_ip_packet() -> None:
    world = World()
    world.set_faults(THERE, Blackhole(above_bytes=500))
    world.send(udp(1, size=514))
    world.send(udp(2, size=515))
    assert world.numbers_to(SERVER) == [1]


def test_faults_that_clash_change_nothing() -> None:
    world = World()
    world.set_faults(THERE, Loss(every=1))
    with pytest.raises(UsageError, match="clash"):
        world.set_faults(THERE, Loss(every=2), Loss(every=3))
    assert world.core.faults(THERE) == (Loss(every=1),)


def test_seeds_paths_and_flows_each_have_luck_of_their_own() -> None:
    def fate(seed: int, path: str, port: int) -> list[int]:
        world = World(seed)
        world.set_faults(path, Loss(percent=50))
        source, target = (CLIENT, SERVER) if path == THERE else (SERVER, CLIENT)
        for _ in range(64):
            world.send(udp(source=source, target=target, port=port), source)
        return [told.ordinal for told in world.recorder.told if told.dropped]

    fates = [fate(1, THERE, 2000), fate(2, THERE, 2000), fate(1, BACK, 2000), fate(1, THERE, 2001)]
    assert len({tuple(one) for one in fates}) == 4
    assert all(fates)
