"""The ladder as text, line by line, of steps written by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from faultlab.analysis.ladder import Arrival, Deed, Fate, Gap, Ladder, StandingFault, Step
from faultlab.faults.base import Effect
from faultlab.report.ladder_text import ASCII, UNICODE, Symbols, ladder_text, symbols_for

from tests.unit.analysis.steps import DROP, LATENCY, MS, ladder, step


def drawn(model: Ladder, width: int = 80, symbols: Symbols = UNICODE, shown: list[Step | Gap] | None = None) -> str:
    """Without the heading; spaces at the ends of lines are cut."""
    lines = [line.plain.rstrip() for line in ladder_text(model, shown or list(model.steps), width, symbols)]
    return "\n".join(lines[lines.index("") + 1 :])


def test_a_handshake_whose_first_syn_ack_is_dropped() -> None:
    model = ladder(
        step(1, 0, "SYN"),
        step(2, 0.427, "SYN-ACK", "server", after_ms=None, deeds=(DROP,)),
        step(3, 1014.3, "SYN-ACK", "server", remarks=("retransmission of frame 2",)),
        step(4, 1014.7, "ACK 1"),
    )
    assert drawn(model) == (
        """\
       ms frame  client                     the wire                     server
    0.000     1  │ SYN ─────────────────────────┼────────────────────────────▶│
    0.427     2  │                              ✗──────────────────── SYN-ACK │
                 │ └ dropped by drop (tcp syn+ack, which 1)                   │
                 ⋮                        1.01 s pass                         ⋮
 1014.300     3  │◀─────────────────────────────┼──────────────────── SYN-ACK │
                 │ └ retransmission of frame 2                                │
 1014.700     4  │ ACK 1 ───────────────────────┼────────────────────────────▶│
                 client                     the wire                     server"""
    )


def test_a_packet_that_is_overtaken_arrives_on_a_line_of_its_own() -> None:
    ahead = Deed("f2", "reorder 25%", Effect.OVERTOOK, "random 25%")
    model = ladder(
        step(1, 0, "data 1..101 (100 B)", after_ms=5, deeds=(LATENCY,), overtaken_by=(2,)),
        step(2, 1, "data 101..201 (100 B)", deeds=(ahead,)),
    )
    assert drawn(model, symbols=ASCII) == (
        """\
       ms frame  client                     the wire                     server
    0.000     1  | data 1..101 (100 B) -------->:                             |
    1.000     2  | data 101..201 (100 B) -------+---------------------------->|
                 | ` sent ahead by reorder 25%                                |
    5.000        |       frame 1, sent 5 ms ago : data 1..101 (100 B) ------->|
                 | ` overtaken by frame 2                                     |
                 client                     the wire                     server"""
    )


def test_a_packet_that_a_fault_held_back_says_which() -> None:
    held = Deed("f1", "reorder hold 1 passes 2", Effect.HELD, "until 2 later passed")
    model = ladder(
        step(2, 0, "datagram 3 B", "server", after_ms=3, deeds=(held,), overtaken_by=(3, 4)),
        step(3, 1, "datagram 3 B", "server"),
    )
    assert drawn(model).splitlines()[3:-1] == [
        "    3.000        │◀─────────────── datagram 3 B ┊ frame 2, sent 3 ms ago      │",
        "                 │ └ held back by reorder hold 1 passes 2                     │",
        "                 │ └ overtaken by frame 3 and 1 more                          │",
    ]


def test_a_delay_in_which_nothing_happens_stands_on_the_arrow() -> None:
    text = drawn(ladder(step(1, 0, "SYN", after_ms=20, deeds=(LATENCY,))))
    assert "│ SYN ─────────────────────────┼─────────────────── 20 ms ──▶│" in text


def test_a_segment_that_is_cut_arrives_as_another() -> None:
    cut = Deed("f1", "cut 13", Effect.CHANGED, "cut at byte 13")
    arrival = Arrival(0, 1, 0, "data 13..14 (1 B)", "1 of the 2 length bytes of message 2")
    model = ladder(step(1, 0, "data 13..25 (12 B)", holds="message 2", deeds=(cut,), arrivals=(arrival,)))
    assert drawn(model).splitlines()[1:-1] == [
        "    0.000     1  │ data 13..25: message 2 ─────▶≠ data 13..14 (1 B) ─────────▶│",
        "                 │ └ changed by cut 13                                        │",
        "                 │ └ arrives with 1 of the 2 length bytes of message 2        │",
    ]


def test_what_the_receiver_throws_away_says_so() -> None:
    corrupt = Deed("f1", "corrupt 5%", Effect.CHANGED, "random 5%")
    arrival = Arrival(0, 1, 0, "datagram 9 B", damaged=True)
    text = drawn(ladder(step(1, 0, "datagram 9 B", deeds=(corrupt,), arrivals=(arrival,))))
    assert "▶≠ datagram 9 B" in text
    assert "└ changed by corrupt 5%" in text
    assert "└ checksum wrong now: the receiver throws it away" in text


def test_two_arrows_for_a_duplicate() -> None:
    twice = Deed("f1", "duplicate 10%", Effect.DUPLICATED, "random 10%")
    arrivals = (Arrival(0, 1, 0, "datagram 9 B"), Arrival(2 * MS, 2, 1, "datagram 9 B"))
    assert drawn(ladder(step(1, 0, "datagram 9 B", deeds=(twice,), arrivals=arrivals))).splitlines()[1:-1] == [
        "    0.000     1  │ datagram 9 B ────────────────┼────────────────────────────▶│",
        "                 │ └ duplicated by duplicate 10%                              │",
        "    2.000        │                              ┊ datagram 9 B ──────────────▶│",
        "                 │ └ copy 2 (frame 1)                                         │",
    ]


def test_a_forged_packet_begins_at_the_wire() -> None:
    forged = Deed("f1", "reset", Effect.INJECTED, "towards the receiver")
    rst = Step(
        0, "client", "server", None, 9, "tcp client:1 -> server:2", "tcp", "RST", "", Fate.DELIVERED,
        (Arrival(0, 4, 0, "RST"),), (forged,),
    )  # fmt: skip
    assert drawn(ladder(rst)).splitlines()[1:-1] == [
        "    0.000        │                              ✱ RST ───────────────────────▶│",
        "                 │ └ forged by reset (towards the receiver)                   │",
    ]


def test_a_packet_that_never_left_says_so() -> None:
    waiting = step(1, 0, "SYN", fate=Fate.WAITING, arrivals=(), lost=0)
    assert "└ still on the wire when the lab ended" in drawn(ladder(waiting))


def test_gaps_say_how_many_packets_and_whether_they_have_a_story() -> None:
    one = step(1, 0, "SYN")
    text = drawn(ladder(one), shown=[one, Gap(34, MS, 2 * MS, 0), Gap(1300, 3 * MS, 4 * MS, 7)])
    assert "… 34 packets as asked …" in text
    assert "… 1,300 packets, 7 of them with a story (--all) …" in text


def test_several_conversations_are_told_apart_by_port() -> None:
    other = replace(step(2, 1, "SYN"), flow="tcp client:20500 -> server:80")
    text = drawn(ladder(step(1, 0, "SYN"), other))
    assert "│ 20000: SYN ─" in text
    assert "│ 20500: SYN ─" in text


def test_of_a_capture_from_elsewhere_there_is_no_wire_and_the_reason() -> None:
    seen = step(1, 0, "SYN", fate=Fate.UNKNOWN, arrivals=(), lost=0)
    lines = [line.plain for line in ladder_text(ladder(seen, unknown="one capture: the rest can't be known"), [seen])]
    assert "note: one capture: the rest can't be known" in lines
    assert not any("wire" in line for line in lines)
    assert "    0.000     1  │ SYN ──────────────────────────────────────────────────────▶│" in lines


def test_faults_stand_above_with_where_and_when() -> None:
    fault = StandingFault("f1", "server->client", "loss 5%", -3 * MS, 1_090 * MS)
    lines = [line.plain for line in ladder_text(ladder(step(1, 0, "SYN"), faults=(fault,)), [])]
    assert "fault f1: loss 5% on server->client, from the start to 1.09 s" in lines


def test_names_that_are_too_long_for_a_line_have_two() -> None:
    left, right = "2001:db8:1111:2222:3333:4444:5555:6666", "2001:db8:1111:2222:3333:4444:5555:7777"
    lines = drawn(replace(ladder(step(1, 0, "SYN")), left=left, right=right)).splitlines()
    assert lines[0] == f"       ms frame  {left}"
    assert lines[1] == f"{right:>79}"
    assert lines[-2:] == [f"{'':17}{left}", lines[1]]


def test_a_name_in_the_middle_is_not_written_over() -> None:
    lines = drawn(replace(ladder(step(1, 0, "SYN")), left="a" * 30, right="b")).splitlines()
    assert lines[0] == f"       ms frame  {'a' * 30}{'b':>32}"


def test_of_very_many_faults_the_first() -> None:
    faults = tuple(StandingFault(f"f{number}", "a->b", "flap", 0, 1) for number in range(30))
    lines = [line.plain for line in ladder_text(ladder(step(1, 0, "SYN"), faults=faults), [])]
    assert sum(line.startswith("fault") for line in lines) == 8
    assert "and 22 faults more" in lines


@pytest.mark.parametrize("width", [10, 80, 100, 118, 160])
def test_no_line_is_longer_than_the_terminal(width: int) -> None:
    long = "data 1000001..1000101 (100 B)"
    arrival = Arrival(0, 1, 0, long, "the first 3 of 10 bytes of message 123")
    cut = Deed("f1", "cut " + "13, " * 20, Effect.CHANGED, "cut at byte 13")
    holds = "messages 1 to 3; the first 3 of 10 bytes of message 4"
    model = ladder(
        step(1, 0, long, holds=holds, deeds=(cut,), arrivals=(arrival,)),
        step(2, 1, long, "server", after_ms=20, deeds=(LATENCY,), overtaken_by=(3, 4)),
        step(3, 2, long * 3, "server", after_ms=None, deeds=(DROP,)),
        step(12_345_678, 9e9, long, "server"),
    )  # fmt: skip
    lines = [line.plain for line in ladder_text(model, list(model.steps), width)]
    assert max(map(len, lines)) <= max(width, 80)


def test_plain_signs_where_the_terminal_has_no_others() -> None:
    assert symbols_for("utf-8") is UNICODE
    assert symbols_for("latin-1") is symbols_for("ascii") is symbols_for(None) is ASCII
    text = "\n".join(line.plain for line in ladder_text(ladder(step(1, 0, "SYN")), [], symbols=ASCII))
    assert text.isascii()
