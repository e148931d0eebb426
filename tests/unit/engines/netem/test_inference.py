"""The inferred ledger on hand-made packets: what was sent, what arrived, what must be concluded."""

from __future__ import annotations

from faultlab.engines.netem.inference import NOTHING, DeliveredPacket, SentPacket, Setting, infer
from faultlab.engines.netem.options import Netem
from faultlab.faults.base import Effect
from hypothesis import given
from hypothesis import strategies as st

MS = 1_000_000
PATH = (0, 1)


def setting(kind: str, **netem: float) -> Setting:
    return Setting(Netem(**netem), {kind: ("f1", kind)})  # type: ignore[arg-type]


LOSS = setting("loss", loss=0.5)
DELAY = setting("latency", delay=20 * MS)


def sent(time_ms: float, frame: bytes, *settings: Setting) -> SentPacket:
    return SentPacket(PATH, round(time_ms * MS), frame, settings or (NOTHING,))


def arrived(time_ms: float, frame: bytes, target: int = 1) -> DeliveredPacket:
    return DeliveredPacket(target, round(time_ms * MS), frame)


def effects(acts: tuple[tuple[str, Effect, str], ...]) -> list[tuple[str, Effect]]:
    return [(name, effect) for name, effect, _ in acts]


def test_what_arrives_as_sent_was_delivered_untouched() -> None:
    fates, strangers = infer([sent(1, b"one"), sent(2, b"two")], [arrived(1.1, b"one"), arrived(2.1, b"two")], {})
    assert [[departure.arrival for departure in fate.departures] for fate in fates] == [[0], [1]]
    assert all(fate.acts == () and not fate.dropped for fate in fates)
    assert strangers == []


def test_what_does_not_arrive_was_dropped_by_the_loss_of_its_path() -> None:
    fates, _ = infer([sent(1, b"one", LOSS), sent(2, b"two", LOSS)], [arrived(2.1, b"two")], {})
    assert fates[0].dropped
    assert effects(fates[0].acts) == [("f1", Effect.DROPPED)]
    assert not fates[1].dropped


def test_a_drop_without_a_fault_blames_no_fault() -> None:
    fates, _ = infer([sent(1, b"one")], [], {})
    assert effects(fates[0].acts) == [("netem", Effect.DROPPED)]


def test_the_same_bytes_at_another_node_are_another_packet() -> None:
    fates, strangers = infer([sent(1, b"one", LOSS)], [arrived(1.1, b"one", target=2)], {})
    assert fates[0].dropped
    assert strangers == [0]


def test_a_delay_is_the_latency_s_and_as_long_as_asked() -> None:
    fates, _ = infer([sent(1, b"one", DELAY)], [arrived(21.2, b"one")], {})
    assert effects(fates[0].acts) == [("f1", Effect.DELAYED)]
    assert fates[0].departures[0].asked_delay == 20 * MS


def test_two_arrivals_are_a_duplicate() -> None:
    twice = setting("duplicate", duplicate=0.5)
    fates, strangers = infer([sent(1, b"one", twice)], [arrived(1.1, b"one"), arrived(1.2, b"one")], {})
    assert [departure.arrival for departure in fates[0].departures] == [0, 1]
    assert effects(fates[0].acts) == [("f1", Effect.DUPLICATED)]
    assert strangers == []


def test_one_flipped_bit_is_corruption_and_names_the_bit() -> None:
    bent = setting("corrupt", corrupt=0.5)
    fates, strangers = infer([sent(1, b"abcdef", bent)], [arrived(1.1, b"abcdeg")], {})
    assert effects(fates[0].acts) == [("f1", Effect.CHANGED)]
    assert fates[0].departures[0].flipped_bit == 47
    assert strangers == []


def test_one_flipped_bit_without_corruption_asked_for_is_a_stranger() -> None:
    fates, strangers = infer([sent(1, b"abcdef", LOSS)], [arrived(1.1, b"abcdeg")], {})
    assert fates[0].dropped
    assert strangers == [0]


def test_two_flipped_bits_are_not_netem_s() -> None:
    bent = setting("corrupt", corrupt=0.5)
    _, strangers = infer([sent(1, b"abcdef", bent)], [arrived(1.1, b"abcdde")], {})
    assert strangers == [0]


def test_of_two_that_a_bent_packet_may_be_it_is_the_one_that_is_missing() -> None:
    bent = setting("corrupt", corrupt=0.5)
    fates, _ = infer(
        [sent(1, b"aaaa", bent), sent(2, b"aaab", bent)], [arrived(2.1, b"aaab"), arrived(2.2, b"aaac")], {}
    )
    assert effects(fates[0].acts) == [("f1", Effect.CHANGED)]
    assert fates[1].acts == ()


def test_a_packet_that_skips_the_delay_overtook() -> None:
    both = Setting(Netem(delay=20 * MS, reorder=0.5, gap=1), {"latency": ("f1", ""), "reorder": ("f2", "")})
    fates, _ = infer([sent(1, b"one", both), sent(2, b"two", both)], [arrived(2.1, b"two"), arrived(21.1, b"one")], {})
    assert effects(fates[0].acts) == [("f1", Effect.DELAYED)]
    assert effects(fates[1].acts) == [("f2", Effect.OVERTOOK)]
    assert fates[1].departures[0].asked_delay == 0


def test_a_full_queue_is_the_rate_s() -> None:
    rate = setting("rate", rate=1000)
    fates, _ = infer([sent(1, b"one", rate)], [], {})
    assert effects(fates[0].acts) == [("f1", Effect.DROPPED)]
    assert fates[0].acts[0][2].startswith("queue full")


def test_what_the_qdisc_still_holds_was_not_dropped() -> None:
    fates, _ = infer([sent(1, b"one", LOSS), sent(2, b"two", LOSS)], [], {PATH: 1})
    assert [fate.waiting for fate in fates] == [False, True]
    assert [fate.dropped for fate in fates] == [True, False]


def test_identical_packets_with_losses_are_told_apart_by_the_delay_asked() -> None:
    both = Setting(Netem(delay=20 * MS, loss=0.5), {"latency": ("f1", ""), "loss": ("f2", "")})
    fates, _ = infer([sent(time, b"same", both) for time in (0, 100, 200)], [arrived(120.2, b"same")], {})
    assert [fate.dropped for fate in fates] == [True, False, True]


def test_identical_packets_that_all_arrive_keep_their_order() -> None:
    slow = setting("rate", rate=1000)
    fates, _ = infer([sent(n, b"same", slow) for n in range(3)], [arrived(50 + n, b"same") for n in range(3)], {})
    assert [[departure.arrival for departure in fate.departures] for fate in fates] == [[0], [1], [2]]


def test_identical_packets_with_copies_give_each_its_nearest() -> None:
    twice = setting("duplicate", duplicate=0.5)
    arrivals = [arrived(time, b"same") for time in (0.1, 100.1, 100.2, 200.1)]
    fates, _ = infer([sent(time, b"same", twice) for time in (0, 100, 200)], arrivals, {})
    assert [len(fate.departures) for fate in fates] == [1, 2, 1]


def test_identical_packets_with_copies_and_losses_go_by_time_alone() -> None:
    both = Setting(Netem(duplicate=0.5, loss=0.5), {"duplicate": ("f1", ""), "loss": ("f2", "")})
    arrivals = [arrived(time, b"same") for time in (0.1, 0.2, 200.1, 200.2)]
    fates, _ = infer([sent(time, b"same", both) for time in (0, 100, 200)], arrivals, {})
    assert [len(fate.departures) for fate in fates] == [2, 0, 2]
    assert effects(fates[1].acts) == [("f2", Effect.DROPPED)]


def test_while_a_path_is_changed_the_setting_that_explains_counts() -> None:
    fates, _ = infer([sent(1, b"one", NOTHING, LOSS), sent(2, b"two", NOTHING, LOSS)], [arrived(2.1, b"two")], {})
    assert effects(fates[0].acts) == [("f1", Effect.DROPPED)]


def test_a_delay_while_the_latency_is_being_cleared_is_still_its() -> None:
    fates, _ = infer([sent(1, b"one", NOTHING, DELAY)], [arrived(21.1, b"one")], {})
    assert effects(fates[0].acts) == [("f1", Effect.DELAYED)]


def test_a_copy_that_came_just_before_the_next_sending_is_the_first_s() -> None:
    """Its time is nearer to what was expected of the second, which had not left yet."""
    twice = setting("duplicate", duplicate=0.5)
    pair = [sent(1, b"ack", twice), sent(1.16, b"ack", twice)]
    fates, _ = infer(pair, [arrived(1.04, b"ack"), arrived(1.15, b"ack"), arrived(1.2, b"ack")], {})
    assert [[departure.arrival for departure in fate.departures] for fate in fates] == [[0, 1], [2]]


TIMES = st.lists(st.integers(0, 12), max_size=8).map(sorted)
BOTH = Setting(Netem(duplicate=0.5, loss=0.5), {"loss": ("f1", "loss"), "duplicate": ("f2", "duplicate")})
SETTINGS = st.sampled_from([LOSS, DELAY, setting("duplicate", duplicate=0.5), BOTH])


@given(TIMES, TIMES, st.lists(SETTINGS, min_size=8, max_size=8))
def test_nothing_arrives_before_it_was_sent(leave: list[int], arrive: list[int], settings: list[Setting]) -> None:
    pair = [sent(time, b"same", settings[number]) for number, time in enumerate(leave)]
    arrivals = [arrived(time, b"same") for time in arrive]
    fates, strangers = infer(pair, arrivals, {})
    found = [
        (one.time, arrivals[departure.arrival].time)
        for one, fate in zip(pair, fates, strict=True)
        for departure in fate.departures
    ]
    assert all(left <= came for left, came in found)
    assert len(found) + len(strangers) == len(arrivals)
    assert all(not leave or arrive[number] < leave[0] for number in strangers)
