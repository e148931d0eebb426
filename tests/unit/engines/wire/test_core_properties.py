"""What the wire's core promises, whatever is sent, whatever faults are set: on virtual time, with hypothesis."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import pairwise
from math import log, sqrt
from typing import Any
from unittest.mock import patch

from faultlab.engines.flow_names import FlowNames
from faultlab.engines.transit import PathState
from faultlab.engines.wire import core as core_module
from faultlab.engines.wire.stages import Recorded
from faultlab.faults import (
    Blackhole,
    BurstLoss,
    Corrupt,
    Cut,
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
from faultlab.network.packets import ACK, SYN, Packet
from faultlab.network.sendings import STREAM, Place, RecordedFate, Sending, Sendings
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.engines.wire.frames import BACK, MS, NODES, THERE, Told, World, number_of, tcp, udp

COPIES = 2
"""What every Duplicate here makes, so that copies can be counted from outside."""

steady = settings(derandomize=True, max_examples=200)


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
    made(Cut, every=st.integers(1, 40)),
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
    source, target = (1, 0) if send.back else (0, 1)
    port, to_port = (9000, 2000 + send.flow) if send.back else (2000 + send.flow, 9000)
    if send.is_tcp:
        payload = number.to_bytes(8, "big") + bytes(send.size - 60)
        flags = SYN if number % 7 == 0 else ACK
        seq = 1000 * number
        return tcp(seq, flags, payload, ack=number, source=source, target=target, port=port, to_port=to_port)
    return udp(number, source=source, target=target, port=port, to_port=to_port, size=send.size)


def play(script: list[Step], world: World, *, leave_out: tuple[int, ...] = ()) -> World:
    """The script, with a check of the books after each step; then wait till nothing is due.

    A packet's number is its step's, also where the packets of some flows are left out.
    """
    for number, step in enumerate(script, start=1):
        world.wait(step.after)
        if isinstance(step, Set):
            world.set_faults(step.path, *step.faults)
        elif step.flow not in leave_out:
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


def _paths(world: World) -> list[PathState]:
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


@steady
@given(scripts(ANYTHING), together(KEEPS_ORDER), st.lists(sends(), max_size=20))
def test_once_no_fault_may_reorder_nobody_overtakes_what_is_on_its_way(
    before: list[Step], faults: tuple[Fault, ...], after: list[Step]
) -> None:
    before = [step for step in before if not isinstance(step, Set) or not _changes_frames(step.faults)]
    whole = [*before, Set(0, THERE, faults), *after]
    first_after = len(before) + 1
    world = World()
    for number, step in enumerate(whole, start=1):
        world.wait(step.after)
        if isinstance(step, Set):
            world.set_faults(step.path, *step.faults)
        else:
            world.send(frame_for(step, number))
    world.drain()
    got = world.numbers_to(1)
    later = [number for number in got if number > first_after]
    assert later == sorted(later)
    assert got[len(got) - len(later) :] == later, "a packet sent after the change overtook one sent before"


def _changes_frames(faults: tuple[Fault, ...]) -> bool:
    return any(isinstance(fault, Corrupt) for fault in faults)


# -- time ----------------------------------------------------------------------------------------------------------


@steady
@given(
    scripts([*LOSING, *DUPLICATING, *FIXED_DELAY, *JITTERY, *RATES, *REORDERING]),
    st.sampled_from([0, 1, MS]),
)
def test_no_packet_leaves_before_the_delay_asked_when_it_came(script: list[Step], late: int) -> None:
    world = play(script, World(late=late))
    least: dict[int, int] = {}
    faults: tuple[Fault, ...] = ()
    for number, step in enumerate(script, start=1):
        if isinstance(step, Set):
            faults = step.faults
        else:
            least[number] = max((_least_delay(fault, step) for fault in faults), default=0)
    for told in world.recorder.ends:
        if not told.dropped and "overtook" not in told.effects:
            assert told.at - told.arrived >= least[number_of(told.frame)]


def _least_delay(fault: Fault, send: Send) -> int:
    """What the docstring of Latency promises, in ns."""
    if not isinstance(fault, Latency) or fault.match.source_port not in (None, 2000 + send.flow):
        return 0
    if fault.trace is not None:
        return round(min(fault.trace) * MS)
    spread = {"uniform": 1.0, "pareto": 0.58, "normal": float("inf")}[fault.distribution] if fault.jitter_ms else 0.0
    return max(0, round((fault.delay_ms - spread * fault.jitter_ms) * MS)) if spread != float("inf") else 0


@steady
@given(
    st.sampled_from([0.000001, 0.5, 20]),
    together(LOSING + DUPLICATING),
    st.lists(sends(), min_size=1, max_size=30),
    st.sampled_from([0, 1, MS]),
)
def test_a_fixed_latency_delays_by_just_that(
    delay_ms: float, others: tuple[Fault, ...], steps: list[Step], late: int
) -> None:
    world = play([Set(0, THERE, (Latency(delay_ms=delay_ms), *others)), *steps], World(late=late))
    due = round(delay_ms * MS)
    for told in world.recorder.ends:
        if not told.dropped:
            assert told.delay == due
            assert due <= told.at - told.arrived <= due + late


@steady
@given(
    st.builds(
        lambda kbit, burst: Rate(rate_kbit=kbit, burst_bytes=burst),
        st.sampled_from([8, 777, 20_000, 1_000_000]),
        st.sampled_from([1514, 1515, 6000]),
    ),
    scripts([*LOSING, *DUPLICATING, *FIXED_DELAY, *JITTERY, *REORDERING]),
)
def test_in_no_window_does_more_than_burst_and_rate_times_t_leave(rate: Rate, script: list[Step]) -> None:
    """Whatever else stands on the path, comes or goes."""
    script = [Set(step.after, step.path, (*step.faults, rate)) if isinstance(step, Set) else step for step in script]
    world = play(script, World())
    leaving = [(at, len(frame)) for at, _, frame in world.out]
    bytes_per_ns = rate.rate_kbit / 8e6
    for first, (start, _) in enumerate(leaving):
        total = 0
        for at, size in leaving[first:]:
            total += size
            assert total <= rate.burst_bytes + bytes_per_ns * (at - start + 1) + 1e-6  # times are whole ns


# -- chance --------------------------------------------------------------------------------------------------------

SEEDS = 8
FALSE_ALARM = 1e-6 / (SEEDS * 2)
"""For one bound, of the two of each example: together they alarm falsely less than once in a million."""


def assert_binomial(hits: int, tries: int, chance: float) -> None:
    """Bernstein: P(|hits - mean| >= k) <= 2 exp(-k^2 / (2 (variance + k / 3))), solved for k."""
    mean, variance, level = tries * chance, tries * chance * (1 - chance), log(2 / FALSE_ALARM)
    bound = level / 3 + sqrt(level**2 / 9 + 2 * level * variance)
    assert abs(hits - mean) < bound, f"{hits} of {tries}, expected {mean:.0f} +- {bound:.0f}"


def lost(seed: int, fault: Fault, packets: int) -> list[bool]:
    """Which packets of one flow are lost."""
    world = World(seed)
    world.set_faults(THERE, fault)
    frame = udp()
    for _ in range(packets):
        world.send(frame)
    dropped = {told.ordinal for told in world.recorder.ends if told.dropped}
    return [ordinal in dropped for ordinal in range(1, packets + 1)]


@settings(steady, max_examples=SEEDS)
@given(st.integers(0, 2**64 - 1), st.sampled_from([1.0, 10.0, 50.0, 97.0]))
def test_the_share_lost_is_the_share_asked(seed: int, percent: float) -> None:
    packets = 5000
    fate = lost(seed, Loss(percent=percent), packets)
    assert_binomial(sum(fate), packets, percent / 100)
    # And no memory: after a loss, another is as likely as ever.
    tries = round(packets * percent / 200)
    nexts = [after for now, after in pairwise(fate) if now][:tries]
    assert len(nexts) == tries
    assert_binomial(sum(nexts), tries, percent / 100)


@settings(steady, max_examples=SEEDS)
@given(st.integers(0, 2**64 - 1), st.sampled_from([(2.0, 25.0), (10.0, 10.0), (5.0, 80.0)]))
def test_bursts_are_as_long_and_as_frequent_as_asked(seed: int, chances: tuple[float, float]) -> None:
    """Of a fixed number of lost packets, those that end a burst are binomial with r; of those kept, the last before a
    burst with p. The mean burst is one over the first, so its bounds follow; the flow starts in the good state.
    """
    enter, leave = chances
    fault = BurstLoss(enter_percent=enter, leave_percent=leave)
    fate = [False, *lost(seed, fault, 12_000)]
    pairs = list(pairwise(fate))
    tries = 300
    ends = [not after for now, after in pairs if now][:tries]
    starts = [after for now, after in pairs if not now][: 10 * tries]
    assert len(ends) == tries and len(starts) == 10 * tries
    assert_binomial(sum(ends), tries, leave / 100)
    assert_binomial(sum(starts), 10 * tries, enter / 100)


def decisions(world: World, port: int | None = None) -> list[tuple[object, ...]]:
    """What was done to each packet and copy that has ended; of one flow, where its port is given."""
    ends = [told for told in world.recorder.ends if port is None or f":{port} " in told.flow]
    return sorted((told.path, told.flow, told.ordinal, told.copy, _what_was_done(told)) for told in ends)


def _what_was_done(told: Told) -> tuple[object, ...]:
    return told.acts, told.delay, told.dropped, told.injected, told.frame


@steady
@given(wild_scripts(), st.integers(0, 2**64 - 1))
def test_the_same_seed_makes_the_same_run(script: list[Step], seed: int) -> None:
    one, other = play(script, World(seed)), play(script, World(seed))
    assert one.out == other.out
    assert one.recorder.told == other.recorder.told
    assert one.recorder.notes == other.recorder.notes


PER_FLOW = [*LOSING, *DUPLICATING, CHANGING[0], *FIXED_DELAY, *JITTERY, *REORDERING]


@steady
@given(scripts(PER_FLOW), st.integers(0, 2**64 - 1))
def test_other_flows_change_no_decision_about_this_one(script: list[Step], seed: int) -> None:
    among_others, alone = play(script, World(seed)), play(script, World(seed), leave_out=(1, 2))
    assert decisions(among_others, 2000) == decisions(alone)


# -- replay --------------------------------------------------------------------------------------------------------


def drops_of(world: World) -> dict[tuple[str, str], Recorded]:
    """As `faultlab.running.replay` finds them: each packet is called by what its sender sent."""
    ends = [told for told in world.recorder.ends if not told.injected]
    arrivals = [told for told in world.recorder.arrivals if not told.injected]
    lost = {told.packet_id for told in ends if told.dropped}
    places: dict[int, Place] = {}
    known: defaultdict[tuple[str, str], set[tuple[str, int]]] = defaultdict(set)
    first: defaultdict[tuple[str, str], Sendings] = defaultdict(Sendings)
    for told in arrivals:
        key = told.path, told.flow
        places[told.packet_id] = first[key].place(Packet.parse(told.original))
        if told.packet_id in lost and places[told.packet_id].what in STREAM:
            known[key].add(places[told.packet_id][:2])
    named = {key: Sendings(known[key]) for key in first}
    found: defaultdict[tuple[str, str], dict[Sending, RecordedFate]] = defaultdict(dict)
    for told in arrivals:
        for name in named[told.path, told.flow].names(Packet.parse(told.original)):
            if told.packet_id in lost and name[:2] == places[told.packet_id][:2]:
                copies = [one for one in ends if one.packet_id == told.packet_id]
                dropped = {one.copy: one.acts[-1][0] for one in copies if one.dropped}
                found[told.path, told.flow][name] = RecordedFate(dropped, len(dropped) < len(copies))
    return dict(found)


@steady
@given(wild_scripts())
def test_a_replay_of_the_drops_is_the_same_run(script: list[Step]) -> None:
    first = play(script, World())
    again = play(script, World(forced_drops=drops_of(first)))
    assert drops_of(again) == drops_of(first)
    assert again.out == first.out


@steady
@given(scripts([*LOSING, DUPLICATING[1], *FIXED_DELAY]), st.integers(2, 2**64 - 1))
def test_forced_drops_overrule_what_chance_says_now(script: list[Step], other_seed: int) -> None:
    first = play(script, World(seed=1))
    again = play(script, World(other_seed, drops_of(first)))
    assert drops_of(again) == drops_of(first)
    assert again.out == first.out


@steady
@given(scripts(LOSING))
def test_forced_drops_of_none_lose_none(script: list[Step]) -> None:
    world = play(script, World(forced_drops={}))
    assert len(world.out) == world.sent


# -- bounds --------------------------------------------------------------------------------------------------------


@steady
@given(st.integers(0, 6), st.integers(1, 12), st.integers(0, 3))
def test_what_does_not_fit_the_queue_is_dropped_and_says_so(limit: int, packets: int, copies: int) -> None:
    faults: list[Fault] = [Latency(delay_ms=1)]
    if copies:
        faults.append(Duplicate(every=1, copies=copies))
    world = World()
    with patch.object(core_module, "QUEUE_LIMIT", limit):
        world.set_faults(THERE, *faults)
        for number in range(1, packets + 1):
            world.send(udp(number))
            assert world.core.waiting <= limit
        world.drain()
        world.send(udp(99))
        world.drain()
    made = packets * (1 + copies)
    ends = [told for told in world.recorder.ends if told.ordinal <= packets]
    dropped = [told for told in ends if told.dropped]
    assert len(ends) == made
    assert len(dropped) == max(0, made - limit)
    for told in dropped:
        fault, effect, reason = told.acts[-1]
        assert (fault, effect.value, reason) == ("wire", "dropped", f"queue full: {limit} packets wait")
    assert (99 in world.numbers_to(1)) == (limit > 0), "room again, once the queue is empty"


@steady
@given(wild_scripts(), st.integers(0, 4))
def test_never_more_wait_than_the_queue_limit(script: list[Step], limit: int) -> None:
    with patch.object(core_module, "QUEUE_LIMIT", limit):
        world = World()
        for number, step in enumerate(script, start=1):
            world.wait(step.after)
            if isinstance(step, Set):
                world.set_faults(step.path, *step.faults)
            else:
                world.send(frame_for(step, number), int(step.back))
            assert all(0 <= path.waiting <= limit for path in _paths(world))
        check_books(world)


@steady
@given(st.integers(1, 4), st.lists(st.integers(0, 7), max_size=40), st.booleans())
def test_beyond_the_flow_limit_the_oldest_is_forgotten_and_noted(limit: int, flows: list[int], plain: bool) -> None:
    world = World()
    known: list[int] = []
    forgotten: list[int] = []
    counts: dict[int, int] = {}
    with patch.object(core_module, "FLOW_LIMIT", limit), patch.object(core_module, "QUEUE_LIMIT", 0):
        if not plain:
            world.set_faults(THERE, Loss(nth=(1000,)))
        for flow in flows:
            if flow not in known:
                if len(known) == limit:
                    forgotten.append(known.pop(0))
                known.append(flow)
                counts[flow] = 0
            counts[flow] += 1
            world.send(udp(port=2000 + flow))
            assert world.recorder.told[-1].ordinal == counts[flow], "counted anew, once forgotten"
            assert len(world.core.paths[THERE].flows) == len(known)
    noted = [note["flow"] for note in world.recorder.noted("flow-forgotten")]
    assert noted == [f"udp client:{2000 + flow} -> server:9000" for flow in forgotten]
    assert len(world.out) == len(flows)


@steady
@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 8), st.sampled_from([None, 2.0]), st.booleans())
def test_a_held_packet_waits_for_m_of_its_flow_or_till_its_fault_is_gone(
    held: int, passes: int, later: int, delay_ms: float | None, crowded: bool
) -> None:
    """Crowded: packets of another flow pass too, and count for nothing."""
    hold = Reorder(hold=(held,), passes=passes, match=Match(source_port=2000))
    latency = [Latency(delay_ms=delay_ms)] if delay_ms else []
    world = World()
    world.set_faults(THERE, hold, *latency)
    for number in range(1, held + later + 1):
        world.send(udp(number))
        if crowded:
            world.send(udp(1000, port=2001))
    world.drain()
    before, after = list(range(1, held)), list(range(held + 1, held + later + 1))
    released = [*before, *after[:passes], held, *after[passes:]]
    assert _own(world) == (released if later >= passes else [*before, *after])
    assert world.core.waiting == (later < passes)
    world.set_faults(THERE, *latency)
    world.drain()
    assert _own(world) == (released if later >= passes else [*before, *after, held])
    assert world.core.waiting == 0


def _own(world: World) -> list[int]:
    return [number for number in world.numbers_to(1) if number != 1000]


# -- garbage -------------------------------------------------------------------------------------------------------

ETHERNET = NODES[1].mac_bytes + NODES[0].mac_bytes
whole_frames = st.builds(
    lambda is_tcp, ipv6, flags: tcp(7, flags, b"0123456789abcdef", ipv6=ipv6) if is_tcp else udp(7, size=80, ipv6=ipv6),
    st.booleans(),
    st.booleans(),
    st.integers(0, 255),
)
spoilt_frames = st.builds(
    lambda frame, changes, size: _spoil(frame, changes)[:size],
    whole_frames,
    st.lists(st.tuples(st.integers(12, 79), st.integers(0, 255)), max_size=4),
    st.integers(6, 120),
)
garbage = st.one_of(
    st.binary(max_size=100),
    st.binary(max_size=100).map(lambda rest: ETHERNET + rest),
    st.binary(max_size=100).map(lambda rest: ETHERNET + b"\x08\0" + rest),
    st.binary(max_size=100).map(lambda rest: ETHERNET + b"\x86\xdd" + rest),
    spoilt_frames,
)


def _spoil(frame: bytes, changes: list[tuple[int, int]]) -> bytes:
    spoilt = bytearray(frame)
    for at, value in changes:
        if at < len(spoilt):
            spoilt[at] = value
    return bytes(spoilt)


@settings(steady, max_examples=500)
@given(together(ANYTHING), together(ANYTHING), st.lists(st.tuples(garbage, st.booleans(), waits), max_size=12))
def test_no_frame_can_make_it_raise(
    there: tuple[Fault, ...], back: tuple[Fault, ...], frames: list[tuple[bytes, bool, int]]
) -> None:
    world = World()
    world.set_faults(THERE, *there)
    world.set_faults(BACK, *back)
    for frame, turned, after in frames:
        world.wait(after)
        world.send(frame[6:12] + frame[:6] + frame[12:] if turned else frame, int(turned))
        check_books(world)
    world.drain()
    check_books(world)


@settings(steady, max_examples=500)
@given(st.one_of(whole_frames, spoilt_frames))
def test_the_quick_way_finds_the_flow_that_the_slow_one_does(frame: bytes) -> None:
    """Where the payload starts is checked by the recorder."""
    world = World()
    world.send(frame)
    assert list(world.core.paths[THERE].flows) == [FlowNames(NODES).key(frame)[0]]
