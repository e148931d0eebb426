"""What is chosen of a long ladder: its start, each kind of story, what a finding names, and gaps for the rest."""

from __future__ import annotations

from faultlab.analysis.ladder import Deed, Fate, Gap, Step, chosen
from faultlab.faults.base import Effect

from tests.unit.analysis.steps import DROP, LATENCY, ladder, step


def long(**special: Step) -> list[Step]:
    steps = [step(number, number, "ACK 1") for number in range(1, 101)]
    for name, one in special.items():
        steps[int(name.removeprefix("at_")) - 1] = one
    return steps


def frames(shown: list[Step | Gap]) -> list[object]:
    """Frame numbers, and for a gap how many packets it stands for, negative."""
    return [-one.packets if isinstance(one, Gap) else one.frame for one in shown]


def test_a_short_ladder_is_whole() -> None:
    steps = [step(number, number, "ACK 1") for number in range(1, 11)]
    assert chosen(ladder(*steps)) == steps


def test_a_long_one_without_a_story_is_its_start_and_a_gap() -> None:
    assert frames(chosen(ladder(*long()))) == [*range(1, 17), -84]


def test_a_dropped_packet_is_shown_with_what_is_around_it() -> None:
    lost = step(50, 50, "data", after_ms=None, deeds=(DROP,))
    shown = chosen(ladder(*long(at_50=lost)))
    assert frames(shown) == [1, 2, 3, -44, 48, 49, 50, 51, 52, -48]
    assert [one.stories for one in shown if isinstance(one, Gap)] == [0, 0]


def test_a_packet_that_a_finding_names_is_shown() -> None:
    assert 70 in frames(chosen(ladder(*long()), around=frozenset({70})))


def test_each_kind_of_story_comes_before_the_second_of_a_kind() -> None:
    lost = {f"at_{at}": step(at, at, "data", after_ms=None, deeds=(DROP,)) for at in range(10, 80)}
    changed = Deed("f2", "corrupt 5%", Effect.CHANGED, "bit 9")
    shown = chosen(ladder(*long(**lost, at_95=step(95, 95, "data", deeds=(changed,)))), most=20)
    assert 95 in frames(shown)
    assert sum(isinstance(one, Step) for one in shown) <= 20
    assert sum(one.stories for one in shown if isinstance(one, Gap)) > 50


def test_a_gap_of_one_packet_is_that_packet() -> None:
    lost = {f"at_{at}": step(at, at, "data", after_ms=None, deeds=(DROP,)) for at in (7, 13)}
    assert frames(chosen(ladder(*long(**lost)))) == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, -85]


def test_a_delay_alone_is_no_story() -> None:
    assert step(1, 1, "ACK 1", after_ms=5, deeds=(LATENCY,)).stories == ()
    assert step(1, 1, "ACK 1", after_ms=5, deeds=(LATENCY,), overtaken_by=(2,)).stories == ("overtaken",)


def test_one_remark_with_other_numbers_is_the_same_story() -> None:
    first = step(1, 1, "data", remarks=("retransmission of frame 2",))
    second = step(9, 1, "data", remarks=("retransmission of frame 7",))
    assert first.stories == second.stories != ()


def test_a_segment_that_ends_within_a_length_prefix_is_a_story() -> None:
    assert step(1, 1, "data", holds="1 of the 2 length bytes of message 2").stories
    assert step(1, 1, "data", holds="message 2 without its end mark").stories
    assert not step(1, 1, "data", holds="messages 2 to 3; 5 of the 10 bytes of message 4").stories


def test_forged_is_what_nobody_sent() -> None:
    forged = Step(0, "client", "server", None, 3, "tcp a -> b", "tcp", "RST", "", Fate.DELIVERED)
    assert forged.forged and not step(1, 1, "RST").forged
