"""What the wire's core promises, whatever is sent, whatever faults are set: on virtual time, with hypothesis."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lab.faults import (
    Blackhole,
    BurstLoss,
    Corrupt,
    Drop,
    Duplicate,
    Fault,
    Flap,
    Latency,
    Loss,
    Match,
    Partition,
    Rate,
    Rebind,
    Reorder,
    Reset,
)
from lab.packets import ACK, SYN
from tests.unit.engines.wire.frames import BACK, MS, THERE, World, number_of, tcp, udp

COPIES = 2
"""What every Duplicate here makes, so that copies can be counted from outside."""

steady = settings(derandomize=True, deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow])


def made(kind: Any, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """As `st.builds`, which is misled by the fields' aliases."""
    return st.fixed_dictionaries(fields).map(lambda values: kind(**values))


percents = st.sampled_from([1.0, 20.0, 50.0, 90.0])
numbers = st.lists(st.integers(1, 12), min_size=1, max_size=4, unique=True).map(tuple)
some_matches = st.sampled_from([Match(), Match(protocol="udp"), Match(source_port=2001), Match(which=(2, 3))])

LOSING: list[st.SearchStrategy[Fault]] = [
    made(Loss, percent=percents),
    made(Loss, every=st.integers(1, 5)),
    made(BurstLoss, enter_percent=percents, leave_percent=percents),
    made(Drop, match=made(Match, which=numbers)),
    made(Flap, up_ms=st.sampled_from([1, 7]), down_ms=st.sampled_from([1, 3])),
    made(Blackhole, above_bytes=st.just(500)),
]
DUPLICATING: list[st.SearchStrategy[Fault]] = [
    made(Duplicate, percent=percents, copies=st.just(COPIES)),
    made(Duplicate, every=st.integers(1, 4), copies=st.just(COPIES)),
]
CHANGING: list[st.SearchStrategy[Fault]] = [
    made(Corrupt, percent=percents, bits=st.integers(1, 15), checksum=st.sampled_from(["broken", "fixed"])),
    made(Rebind, after=st.integers(0, 3)),
]
FIXED_DELAY: list[st.SearchStrategy[Fault]] = [made(Latency, delay_ms=st.sampled_from([0.5, 3, 20]))]
RATES: list[st.SearchStrategy[Fault]] = [
    made(Rate, rate_kbit=st.sampled_from([100, 5000]), limit_packets=st.sampled_from([1, 4, 1000])),
    made(Rate, rate_kbit=st.just(800), burst_bytes=st.just(4000), limit_bytes=st.just(3000)),
]
JITTERY: list[st.SearchStrategy[Fault]] = [
    st.builds(
        Latency,
        delay_ms=st.sampled_from([1, 5]),
        jitter_ms=st.sampled_from([1, 4]),
        distribution=st.sampled_from(["uniform", "normal", "pareto"]),
    ),
    st.just(Latency(trace=(5, 1, 0, 9))),
    st.just(Latency(delay_ms=6, match=Match(source_port=2001))),
]
REORDERING: list[st.SearchStrategy[Fault]] = [
    made(Reorder, percent=percents, gap=st.integers(1, 3)),
    made(Reorder, hold=numbers, passes=st.integers(1, 4)),
]
FORGING: list[st.SearchStrategy[Fault]] = [made(Reset, nth=numbers, to=st.sampled_from(["both", "receiver", "sender"]))]
KEEPS_ORDER = LOSING + DUPLICATING + FIXED_DELAY + RATES
ANYTHING = [*KEEPS_ORDER, *CHANGING, *JITTERY, *REORDERING, *FORGING, made(Partition)]


def together(kinds: list[st.SearchStrategy[Fault]]) -> st.SearchStrategy[tuple[Fault, ...]]:
    """Up to four faults that may stand on one path."""
    return st.lists(st.one_of(kinds), max_size=4, unique_by=lambda fault: fault.kind).map(_with_needs)


def _with_needs(faults: list[Fault]) -> tuple[Fault, ...]:
    kinds = {fault.kind for fault in faults}
    return tuple(fault for fault in faults if not fault.needs or fault.needs & kinds)


@dataclass(frozen=True)
class Send:
    """`flow` picks the ports; odd flows may be TCP. Sent `after` ns after the step before."""

    after: int
    flow: int
    size: int
    back: bool
    is_tcp: bool


@dataclass(frozen=True)
class Set:
    """Other faults on a path."""

    after: int
    path: str
    faults: tuple[Fault, ...]


Step = Send | Set
waits = st.sampled_from([0, 0, 1, 1000, MS // 2, MS, 5 * MS, 30 * MS])
sizes = st.sampled_from([60, 61, 200, 900, 1514])


def sends(*, may_go_back: bool = False, may_be_tcp: bool = False) -> st.SearchStrategy[Step]:
    back = st.booleans() if may_go_back else st.just(False)
    is_tcp = st.booleans() if may_be_tcp else st.just(False)
    return st.builds(Send, waits, st.integers(0, 2), sizes, back, is_tcp)


def sets(kinds: list[st.SearchStrategy[Fault]], path: st.SearchStrategy[str]) -> st.SearchStrategy[Step]:
    return st.builds(Set, waits, path, together(kinds))


def scripts(kinds: list[st.SearchStrategy[Fault]]) -> st.SearchStrategy[list[Step]]:
    """UDP one way, and faults set there now and then."""
    step = st.one_of(sends(), sends(), sends(), sends(), sets(kinds, st.just(THERE)))
    first = sets(kinds, st.just(THERE))
    return st.builds(lambda one, rest: [one, *rest], first, st.lists(step, max_size=40))


def wild_scripts() -> st.SearchStrategy[list[Step]]:
    """UDP and TCP both ways, any faults both ways."""
    send = sends(may_go_back=True, may_be_tcp=True)
    step = st.one_of(send, send, send, send, sets(ANYTHING, st.sampled_from([THERE, BACK])))
    return st.builds(lambda one, rest: [one, *rest], sets(ANYTHING, st.just(THERE)), st.lists(step, max_size=40))


def frame_for(send: Send, number: int) -> bytes:
    ends = {"source": int(send.back), "target": int(not send.back)}
    ports = (2000 + send.flow, 9000)
    port, to_port = ports[::-1] if send.back else ports
    if send.is_tcp:
        payload = number.to_bytes(8, "big") + bytes(send.size - 60)
        flags = SYN if number % 7 == 0 else ACK
        return tcp(1000 * number, flags, payload, ack=number, port=port, to_port=to_port, **ends)
    return udp(number, port=port, to_port=to_port, size=send.size, **ends)


def play(script: list[Step], world: World) -> World:
    """The script, with a check of the books after each step; then wait till nothing is due."""
    for number, step in enumerate(script, start=1):
        world.wait(step.after)
        if isinstance(step, Set):
            world.set_faults(step.path, *step.faults)
        else:
            world.send(frame_for(step, number), int(step.back))
        check_books(world)
    world.drain()
    check_books(world)
    return world


def check_books(world: World) -> None:
    """arrived + duplicated + injected = delivered + dropped + waiting; and nobody ends twice."""
    recorder, core = world.recorder, world.core
    arrivals, ends = recorder.arrivals, recorder.ends
    injected = sum(told.injected for told in arrivals)
    duplicated = COPIES * sum("duplicated" in told.effects for told in arrivals)
    arrived = world.sent - core.strays
    delivered = sum(not told.dropped for told in ends)
    dropped = sum(told.dropped for told in ends)
    assert len(arrivals) == core.packets == arrived + injected
    assert delivered == len(world.out)
    assert arrived + duplicated + injected == delivered + dropped + core.waiting
    names = Counter((told.packet_id, told.copy) for told in ends)
    assert not names or max(names.values()) == 1
    told_out = Counter(told.frame for told in ends if not told.dropped)
    assert told_out == Counter(frame for _, _, frame in world.out)
    for told in ends:
        assert not told.dropped or told.acts[-1][1].value == "dropped", "a drop says why"


@steady
@given(wild_scripts(), st.sampled_from([0, 0, 1, MS]))
def test_every_packet_is_delivered_dropped_or_waiting(script: list[Step], late: int) -> None:
    world = play(script, World(late=late))
    world.set_faults(THERE)
    world.set_faults(BACK)
    world.drain()
    check_books(world)
    assert world.core.waiting == 0
    assert all(path.waiting == 0 and not any(flow.held for flow in path.flows.values()) for path in _paths(world))


def _paths(world: World) -> list:  # type: ignore[type-arg]
    return list(world.core.paths.values())


@steady
@given(scripts(KEEPS_ORDER + JITTERY + REORDERING))
def test_nothing_is_invented(script: list[Step]) -> None:
    world = play(script, World())
    sent = {number: frame_for(step, number) for number, step in enumerate(script, start=1) if isinstance(step, Send)}
    assert {target for _, target, _ in world.out} <= {1}
    for frame, times in Counter(world.frames_to(1)).items():
        assert frame == sent[number_of(frame)]
        assert times <= 1 + COPIES


@steady
@given(scripts([*KEEPS_ORDER, made(Partition)]), st.sampled_from([0, 1, MS]))
def test_order_on_a_path_is_kept_while_faults_come_and_go(script: list[Step], late: int) -> None:
    got = play(script, World(late=late)).numbers_to(1)
    assert got == sorted(got)
