"""The wire's core, case by case: switching, order, queues, faults that come and go, replay."""

from __future__ import annotations

import pytest
from faultlab.engines.wire import core
from faultlab.faults import (
    Corrupt,
    Drop,
    Duplicate,
    Effect,
    Fault,
    Latency,
    Loss,
    Match,
    Partition,
    Rate,
    Rebind,
    Reorder,
)
from faultlab.network.sendings import RecordedFate, Sending

from tests.support.virtual_wire import (
    ACK,
    CLIENT,
    FROM_UDP,
    MS,
    SYN,
    TCP_SERVER,
    TO_TCP,
    TO_UDP,
    UDP_SERVER,
    Wire,
    ip_frame,
    tcp,
    udp,
)

FRAMES = [
    make(payload, family=family, target=TCP_SERVER)
    for make in (udp, tcp)
    for family in (4, 6)
    for payload in (b"", b"x", b"some more payload", bytes(1400))
]


def payloads(wire: Wire) -> list[int]:
    return [int(frame[42:]) for frame in wire.frames(UDP_SERVER)]


def numbered(first: int, last: int) -> list[bytes]:
    return [udp(b"%d" % number) for number in range(first, last + 1)]


# -- switching ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frame", FRAMES)
def test_a_frame_goes_to_the_owner_of_its_mac_unchanged(frame: bytes) -> None:
    wire = Wire()
    wire.send(frame)
    assert [(arrival.node, arrival.frame) for arrival in wire.arrivals] == [("tcp-server", frame)]


def test_what_is_for_nobody_here_is_a_stray() -> None:
    wire = Wire()
    for target in (b"\xff" * 6, b"\x33\x33\0\0\0\x02", b"\x02\0\0\0\0\x01", CLIENT.mac_bytes):
        wire.send(target + udp()[6:])
    assert (wire.arrivals, wire.core.strays, wire.core.packets) == ([], 4, 0)
    assert [kind for kind, _ in wire.recorder.notes] == ["stray"] * 4


def test_only_the_first_strays_are_noted() -> None:
    wire = Wire()
    wire.send(*[b"\xff" * 6 + udp()[6:]] * 150)
    assert (wire.core.strays, len(wire.recorder.notes)) == (150, 100)


@pytest.mark.parametrize("frame", FRAMES)
def test_the_quick_way_and_the_thorough_way_see_the_same_flow(frame: bytes) -> None:
    """One flow, whether or not the path has faults; a frame padded by its device belongs to it too."""
    wire = Wire()
    wire.send(frame)
    wire.set(TO_TCP, Loss(nth=9))
    wire.send(frame)
    wire.set(TO_TCP)
    wire.send(frame + bytes(3))
    assert len(wire.recorder.flows) == 1
    assert [entry.ordinal for entry in wire.recorder.entries] == [1, 2, 3]


def test_pings_are_one_flow() -> None:
    wire = Wire()
    for number in range(3):
        wire.send(ip_frame(CLIENT, UDP_SERVER, 1, b"\x08\0" + bytes((0, number)) + bytes(60)))
    assert len(wire.recorder.flows) == 1


def test_fragments_are_of_their_datagram_s_flow() -> None:
    first, later = bytearray(udp(bytes(64))), bytearray(ip_frame(CLIENT, UDP_SERVER, 17, bytes(30)))
    first[20:22], later[20:22] = b"\x20\0", b"\0\x09"
    wire = Wire()
    wire.send(udp(), bytes(first), bytes(later))
    assert [label for _, _, label in wire.recorder.flows] == ["udp client:20000 -> udp-server:41234"]
    assert [entry.ordinal for entry in wire.recorder.entries] == [1, 2, 3]


def test_the_oldest_flow_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "FLOW_LIMIT", 3)
    wire = Wire()
    wire.set(TO_UDP, Reorder(hold=1, match=Match(source_port=1)))
    wire.send(*(udp(port=port) for port in (1, 2, 3, 4, 5)))
    assert [fields["flow"] for kind, fields in wire.recorder.notes if kind == "flow-forgotten"] == [
        "udp client:2 -> udp-server:41234",
        "udp client:3 -> udp-server:41234",
    ]
    assert len(wire.core.paths[TO_UDP].flows) == 3
    wire.send(udp(port=1))
    assert len(wire.arrivals) == 6


# -- order and room ----------------------------------------------------------------------------------------------------


def test_a_frame_does_not_overtake_what_is_due_but_not_yet_released() -> None:
    wire = Wire()
    wire.set(TO_UDP, Latency(delay_ms=10))
    wire.send(udp(b"1"))
    wire.set(TO_UDP)
    out = wire.core.receive(0, udp(b"2"), 11 * MS)  # the loop woke up late
    assert [frame[42:] for _, frame in out] == [b"1", b"2"]


def test_order_is_kept_when_latency_falls_or_is_cleared() -> None:
    wire = Wire()
    wire.set(TO_UDP, Latency(delay_ms=50))
    wire.send(udp(b"1"))
    wire.set(TO_UDP, Latency(delay_ms=10))
    wire.send(udp(b"2"), at=5 * MS)
    wire.set(TO_UDP)
    wire.send(udp(b"3"), at=6 * MS)
    wire.send(udp(b"4"), at=60 * MS)
    wire.finish()
    assert payloads(wire) == [1, 2, 3, 4]
    assert [arrival.time // MS for arrival in wire.arrivals] == [50, 50, 50, 60]


def test_other_paths_are_not_kept_waiting() -> None:
    wire = Wire()
    wire.set(TO_UDP, Latency(delay_ms=50))
    wire.send(udp(), tcp(), udp(source=UDP_SERVER, target=CLIENT))
    assert [arrival.node for arrival in wire.arrivals] == ["tcp-server", "client"]


def test_a_full_queue_drops_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "QUEUE_LIMIT", 5)
    wire = Wire()
    wire.set(TO_UDP, Duplicate(nth=3, copies=4), Latency(delay_ms=10))
    wire.send(*numbered(1, 4))
    assert wire.core.waiting == 5
    full = (("f2", Effect.DELAYED, "fixed"), ("wire", Effect.DROPPED, "queue full: 5 packets wait"))
    dropped = [entry for entry in wire.entries(TO_UDP) if entry.decision == "dropped"]
    assert [(entry.ordinal, entry.copy) for entry in dropped] == [(3, 3), (3, 4), (4, 0)]
    assert dropped[-1].acts == full
    assert wire.recorder.originals[3].copies == 3
    wire.finish()
    assert (payloads(wire), wire.core.waiting) == ([1, 2, 3, 3, 3], 0)


def test_held_packets_fill_the_queue_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "QUEUE_LIMIT", 2)
    wire = Wire()
    wire.set(TO_UDP, Reorder(hold=1))
    wire.send(*(udp(port=port) for port in (1, 2, 3)))
    assert (wire.core.waiting, wire.arrivals) == (2, [])
    assert wire.recorder.entries[-1].acts[-1] == ("wire", Effect.DROPPED, "queue full: 2 packets wait")


# -- faults that come and go -------------------------------------------------------------------------------------------


def test_a_fault_that_stays_keeps_its_count() -> None:
    wire = Wire()
    wire.set(TO_UDP, Loss(every=3))
    wire.send(*numbered(1, 2))
    wire.set(TO_UDP, Loss(every=3), Latency(delay_ms=1))
    wire.send(*numbered(3, 4))
    wire.finish()
    assert payloads(wire) == [1, 2, 4]
    assert [kind for kind, _ in wire.recorder.notes] == ["fault-set", "fault-set"]


def test_a_fault_set_anew_counts_anew() -> None:
    wire = Wire()
    wire.set(TO_UDP, Loss(nth=1))
    wire.set(TO_UDP)
    wire.set(TO_UDP, Loss(nth=1))
    wire.send(*numbered(1, 2))
    assert payloads(wire) == [2]
    assert [(kind, fields["id"]) for kind, fields in wire.recorder.notes] == [
        ("fault-set", "f1"), ("fault-cleared", "f1"), ("fault-set", "f2"),
    ]  # fmt: skip


def test_the_note_of_a_fault_says_all_that_a_check_needs() -> None:
    wire = Wire()
    wire.set(TO_UDP, Latency(delay_ms=20, jitter_ms=5))
    assert wire.recorder.notes == [
        ("fault-set", {"id": "f1", "path": TO_UDP, "t": 0, "fault": "latency", "describe": "latency 20ms jitter 5ms",
                       "leaves": ["delayed"], "reorders": True,
                       "asked": {"kind": "latency", "delay_ms": 20, "jitter_ms": 5}}),
    ]  # fmt: skip


def test_adding_a_fault_does_not_change_another_s_luck() -> None:
    def lost(*more: Fault) -> list[int]:
        wire = Wire(seed=5)
        wire.set(TO_UDP, *more, Loss(percent=30))
        wire.send(*numbered(1, 200))
        wire.finish()
        return [number for number in range(1, 201) if number not in payloads(wire)]

    assert lost() == lost(Latency(delay_ms=5, jitter_ms=5)) == lost(Corrupt(percent=0), Partition(match=Match(port=1)))


def test_two_of_one_kind_have_luck_of_their_own() -> None:
    """Also when the second comes while the first stays, and the first's number would be free by position."""
    wire = Wire()
    one, two = Loss(percent=50, match=Match(protocol="udp")), Loss(percent=50, match=Match(data=True))
    three = Loss(percent=50)
    wire.set(TO_UDP, one, two)
    wire.set(TO_UDP, two)
    wire.set(TO_UDP, two, three)
    ranks = [active.rank for active in wire.core.paths[TO_UDP].active]
    assert ranks == [2, 1]


def test_what_a_rate_let_go_is_not_followed_by_a_heap() -> None:
    """Packets that kept their place behind an old delay meet the new rate only then, one by one."""
    wire = Wire()
    wire.set(TO_UDP, Latency(delay_ms=1000))
    wire.send(udp(bytes(1472)))
    wire.set(TO_UDP, Rate(rate_kbit=1514 * 8, burst_bytes=1514))
    wire.send(*[udp(bytes(1472))] * 3)
    wire.finish()
    assert [arrival.time // MS for arrival in wire.arrivals] == [1000, 1000, 1001, 1002]


def test_a_packet_on_its_way_to_the_link_is_not_overtaken_there() -> None:
    wire = Wire()
    wire.set(TO_UDP, Latency(trace=(100,)), Rate(rate_kbit=8))
    wire.send(udp(b"1" * 1472))
    wire.set(TO_UDP, Rate(rate_kbit=16))
    wire.send(udp(b"2" * 1472), at=MS)
    wire.finish()
    assert [(one.frame[42:43], one.time // MS) for one in wire.arrivals] == [(b"1", 100), (b"2", 857)]


def test_a_packet_behind_jitter_meets_the_rate_that_is_there_then() -> None:
    wire = Wire()
    jitter = Latency(trace=(100,))
    wire.set(TO_UDP, jitter, Rate(rate_kbit=8))
    wire.send(udp(bytes(1472)), udp(bytes(1472)))
    wire.set(TO_UDP, jitter, Rate(rate_kbit=80))
    wire.finish()
    assert [arrival.time // MS for arrival in wire.arrivals] == [100, 251]


# -- replay ------------------------------------------------------------------------------------------------------------


FLOW = "udp client:20000 -> udp-server:41234"
LOST = RecordedFate({0: "f1"})


def test_a_replay_drops_what_was_dropped_and_nothing_else() -> None:
    wire = Wire(seed=99, forced_drops={(TO_UDP, FLOW): {Sending("packet", n): RecordedFate({0: "f1"}) for n in (2, 5)}})
    wire.send(udp(b"1"))
    wire.set(TO_UDP, Loss(percent=60))
    wire.send(*numbered(2, 9))
    assert payloads(wire) == [1, 3, 4, 6, 7, 8, 9]


def test_a_replay_drops_the_same_bytes_whatever_else_tcp_sends() -> None:
    """A pure ACK more this time: the segment's number in its flow is another, its bytes are not."""
    flow = "tcp client:20000 -> tcp-server:8082"
    wire = Wire(forced_drops={(TO_TCP, flow): {Sending("bytes", 10): LOST, Sending("bytes", 0, 2): LOST}})
    syn, first, pure_ack, second = tcp(b"", SYN, 100), tcp(b"a" * 10, seq=101), tcp(b"", seq=111), tcp(b"b", seq=111)
    wire.send(syn, first, pure_ack, second, first, second)
    assert wire.frames(TCP_SERVER) == [syn, first, pure_ack, second]


def test_a_replay_drops_the_segment_that_contains_the_byte() -> None:
    """TCP cuts its stream elsewhere this time: one segment carries what two carried, and what one did comes in two."""
    flow = "tcp client:20000 -> tcp-server:8082"
    wire = Wire(forced_drops={(TO_TCP, flow): {Sending("bytes", 10): LOST, Sending("bytes", 40): LOST}})
    syn, both, rest = tcp(b"", SYN, 100), tcp(b"a" * 20, seq=101), tcp(b"b" * 15, seq=121)
    left, right = tcp(b"b" * 20, seq=131), tcp(b"c" * 5, seq=151)
    wire.send(syn, both, rest, left, right, both, left)
    assert wire.frames(TCP_SERVER) == [syn, rest, right, both, left]


@pytest.mark.parametrize(("arrived", "delivered"), [(False, [2, 3, 3]), (True, [1, 2, 3, 3])])
def test_a_replay_keeps_a_packet_s_fate_whatever_is_doubled_now(arrived: bool, delivered: list[int]) -> None:
    """2 and 3 are doubled now. Then 1 lost one copy, of two or the only one; 2 one of two; and 3 was not touched."""
    fates = {
        Sending("packet", 1): RecordedFate({0: "f2"}, arrived),
        Sending("packet", 2): RecordedFate({1: "f2"}, True),
    }
    wire = Wire(forced_drops={(TO_UDP, FLOW): fates})
    wire.set(TO_UDP, Duplicate(percent=100, match=Match(which=(2, 3))), Loss(percent=50))
    wire.send(*numbered(1, 3))
    assert payloads(wire) == delivered


def test_what_was_lost_is_lost_with_a_copy_that_is_new() -> None:
    wire = Wire(forced_drops={(TO_UDP, FLOW): {Sending("packet", 1): LOST}})
    wire.set(TO_UDP, Duplicate(percent=100, copies=2), Loss(percent=50))
    wire.send(*numbered(1, 2))
    assert payloads(wire) == [2, 2, 2]


def test_a_replayed_drop_is_still_the_work_of_the_fault_that_made_it() -> None:
    """Whatever its dice say of the packet now; or a replay's faults would leave a trace only by chance."""
    drops = {Sending("packet", number): RecordedFate({0: f"f{2 - number % 2}"}) for number in range(1, 41)}
    wire = Wire(forced_drops={(TO_UDP, FLOW): drops})
    wire.set(TO_UDP, Loss(percent=50), Drop(match=Match(payload="1")), Latency(delay_ms=5))
    wire.send(*numbered(1, 50))
    wire.finish()
    assert payloads(wire) == list(range(41, 51))
    dropped = [one for one in wire.recorder.entries if one.decision == "dropped"]
    assert {Sending("packet", one.ordinal): RecordedFate({0: one.acts[-1][0]}) for one in dropped} == drops
    assert {len(one.acts) for one in dropped} == {1}, "dropped in its fault's place, before the latency"


def test_a_replay_drops_without_any_fault_too() -> None:
    wire = Wire(forced_drops={(TO_UDP, FLOW): {Sending("packet", 1): LOST}})
    wire.send(udp(b"1"), udp(b"2"))
    assert payloads(wire) == [2]
    assert wire.recorder.entries[0].acts == (("replay", Effect.DROPPED, "as recorded"),)


@pytest.mark.parametrize(
    "faults",
    [
        (Loss(percent=30),),
        (Duplicate(percent=50, copies=2), Loss(percent=40)),
        (
            Duplicate(percent=50),
            Loss(percent=20),
            Latency(delay_ms=5, jitter_ms=5),
            Rate(rate_kbit=500, limit_packets=3),
        ),
        (Drop(match=Match(which=(3, 7))), Rebind(after=4), Corrupt(percent=20)),
    ],
)
def test_a_replay_of_the_same_traffic_gives_the_same_ledger(faults: tuple[Fault, ...]) -> None:
    """And credits each drop to the fault that made it, so that the fault is seen there too."""

    def run(wire: Wire) -> list[object]:
        wire.set(TO_UDP, *faults)
        for number in range(200):
            wire.send(udp(b"%d" % number), at=number * MS)
        wire.finish()
        return [(entry.ordinal, entry.copy, entry.acts, entry.left) for entry in wire.recorder.entries]

    first = Wire(seed=3)
    ledger = run(first)
    entries = first.recorder.entries
    drops = {
        Sending("packet", number): RecordedFate(
            {one.copy: one.acts[-1][0] for one in entries if one.ordinal == number and one.decision == "dropped"},
            any(one.left for one in entries if one.ordinal == number),
        )
        for number in {one.ordinal for one in entries if one.decision == "dropped"}
    }
    assert drops
    assert run(Wire(seed=3, forced_drops={(TO_UDP, FLOW): drops})) == ledger


# -- what the core tells about itself ----------------------------------------------------------------------------------


def test_the_deadline_is_the_next_packet_s() -> None:
    wire = Wire()
    assert wire.core.deadline is None
    wire.set(TO_UDP, Latency(delay_ms=10))
    wire.set(FROM_UDP, Latency(delay_ms=5))
    wire.send(udp())
    assert wire.core.deadline == 10 * MS
    wire.send(udp(source=UDP_SERVER, target=CLIENT))
    assert wire.core.deadline == 5 * MS
    assert wire.core.release(5 * MS - 1) == []
    assert [node for node, _ in wire.core.release(5 * MS)] == [0]
    assert wire.core.deadline == 10 * MS


def test_streams_are_counted_from_a_syn_seen_before_the_fault() -> None:
    for family in (4, 6):
        wire = Wire()
        wire.send(tcp(flags=SYN, seq=100, family=family))
        wire.set(TO_TCP, Drop(match=Match(stream=(0, 0))))
        wire.send(tcp(b"abc", seq=101, flags=ACK, family=family))
        assert len(wire.frames(TCP_SERVER)) == 1


def test_a_fault_s_clock_starts_when_it_is_set() -> None:
    wire = Wire()
    wire.until(7 * MS)
    wire.set(TO_UDP, Loss(every=1, match=Match(until_ms=1)))
    wire.send(udp(b"1"))
    wire.send(udp(b"2"), at=8 * MS)
    assert payloads(wire) == [2]
