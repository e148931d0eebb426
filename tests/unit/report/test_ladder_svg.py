"""The ladder as SVG: what stands where, for steps written by hand."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from xml.etree import ElementTree

from faultlab.analysis.ladder import Arrival, Deed, Fate, Gap, Ladder, StandingFault, Step
from faultlab.faults.base import Effect
from faultlab.report.ladder_svg import LEFT, MIDDLE, RIGHT, fate_in_words, ladder_head, ladder_svg

from tests.unit.analysis.steps import DROP, MS, ladder, step

SVG = "{http://www.w3.org/2000/svg}"


def drawn(model: Ladder, shown: Sequence[Step | Gap] | None = None) -> ElementTree.Element:
    """As a browser's parser of HTML has it: in the namespace of SVG."""
    text = ladder_svg(model, model.steps if shown is None else shown)
    return ElementTree.fromstring(text.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))


def steps(svg: ElementTree.Element) -> list[ElementTree.Element]:
    return [one for one in svg.iter(f"{SVG}g") if one.get("class", "").startswith("step")]


def words(element: ElementTree.Element, kind: str) -> list[str]:
    return ["".join(one.itertext()) for one in element.iter(f"{SVG}text") if one.get("class") == kind]


def ends(element: ElementTree.Element) -> list[tuple[float, float]]:
    """(x, y) of each arrow's point."""
    found = []
    for one in element.iter(f"{SVG}path"):
        if one.get("class") == "point":
            x, y = one.get("d", "")[1:].partition("L")[0].split()
            found.append((float(x), float(y)))
    return found


def test_a_dropped_packet_ends_at_the_wire_and_names_its_fault() -> None:
    sent, lost = steps(
        drawn(ladder(step(1, 0, "SYN"), step(2, 0.4, "SYN-ACK", "server", after_ms=None, deeds=(DROP,))))
    )
    assert [sent.get("class"), lost.get("class")] == ["step plain", "step dropped"]
    assert [x for x, _ in ends(sent)] == [RIGHT]
    assert ends(lost) == []
    assert [one.get("class") for one in lost.iter(f"{SVG}path")] == ["line", "cross"]
    assert words(lost, "why") == ["drop (tcp syn+ack, which 1)"]
    assert words(lost, "what") == ["2 SYN-ACK"]


def test_what_overtakes_arrives_above_what_it_overtook() -> None:
    held = step(1, 0, "data 1..2 (1 B)", after_ms=20, overtaken_by=(2,))
    first, second = steps(drawn(ladder(held, step(2, 1, "data 2..3 (1 B)"))))
    assert float(first.get("data-top", "")) < float(second.get("data-top", ""))
    assert ends(first)[0][1] > ends(second)[0][1]
    assert first.get("class") == "step late"
    assert words(first, "told") == ["20.0 ms later, overtaken by frame 2"]


def test_two_copies_are_two_arrows() -> None:
    deed = Deed("f1", "duplicate 10%", Effect.DUPLICATED, "random 10%")
    twice = step(1, 0, "ACK 1", deeds=(deed,), arrivals=(Arrival(0, 1, 0, "ACK 1"), Arrival(MS, 2, 1, "ACK 1")))
    (one,) = steps(drawn(ladder(twice)))
    assert one.get("class") == "step duplicated"
    assert len(ends(one)) == 2
    assert words(one, "told") == ["a copy, by duplicate 10%"]


def test_a_changed_packet_says_what_it_arrives_as() -> None:
    deed = Deed("f1", "cut 13", Effect.CHANGED, "at byte 13")
    came = Arrival(0, 1, 0, "data 13..14 (1 B)", "1 of the 2 length bytes of message 2")
    (one,) = steps(drawn(ladder(step(1, 0, "data 13..25 (12 B)", holds="message 2", deeds=(deed,), arrivals=(came,)))))
    told = ["changed by cut 13", "arrives as data 13..14 (1 B)", "1 of the 2 length bytes of message 2"]
    assert words(one, "told") == told
    assert words(one, "more") == ["message 2"]


def test_a_forged_packet_begins_at_the_wire() -> None:
    (one,) = steps(drawn(ladder(_forged())))
    assert one.get("class") == "step forged"
    assert [circle.get("cx") for circle in one.iter(f"{SVG}circle")] == [str(round(MIDDLE))]
    assert words(one, "what") == ["forged RST"]


def _forged() -> Step:
    return Step(
        0, "client", "server", None, 9, "tcp client:1 -> server:80", "tcp", "RST", "", Fate.DELIVERED,
        (Arrival(0, 1, 0, "RST"),),
    )  # fmt: skip


def test_a_remark_names_the_fault_and_not_its_number() -> None:
    faults = (
        StandingFault("f1", "client->server", "drop (tcp syn, which 1)", 0, None),
        StandingFault("f2", "client->server", "cut 13", 0, None),
    )
    said = ("repeats frame 1, which f1 dropped", "repeats frame 1, which f2 changed")
    (one,) = steps(drawn(ladder(step(2, 1, "data 1..2 (1 B)", remarks=said), faults=faults)))
    assert one.get("class") == "step again"
    assert words(one, "more") == ["repeats frame 1, lost to drop", "repeats frame 1, changed by cut 13"]


def test_of_several_connections_each_packet_says_its_port() -> None:
    other = Step(
        MS, "server", "client", 2, 2, "tcp server:80 -> client:*1", "tcp", "SYN", "", Fate.UNKNOWN
    )  # fmt: skip
    svg = drawn(ladder(step(1, 0, "SYN"), other))
    assert [words(one, "what") for one in steps(svg)] == [["1 :20000 SYN"], ["2 :*1 SYN"]]
    assert [one.get("data-side") for one in steps(svg)] == ["left", "right"]


def test_a_pause_and_a_gap_are_named() -> None:
    first, last = step(1, 0, "SYN"), step(9, 2500, "ACK 1")
    svg = drawn(ladder(first, last), [first, Gap(7, MS, 2 * MS, 0), last])
    assert words(svg, "pause") == ["2.50 s later"]
    assert [one.text for one in svg.iter(f"{SVG}text") if one.text and one.text.startswith("…")] == [
        "… 7 packets as asked …"
    ]


def test_the_wire_is_shaded_while_a_fault_stands() -> None:
    stood = StandingFault("f1", "client->server", "loss 10%", 5 * MS, 15 * MS)
    svg = drawn(ladder(step(1, 0, "one"), step(2, 10, "two"), step(3, 20, "three"), faults=(stood,)))
    (band,) = [one for one in svg.iter(f"{SVG}rect") if one.get("class") == "stands"]
    tops = [float(one.get("data-top", "")) for one in steps(svg)]
    top, bottom = float(band.get("y", "")), float(band.get("y", "")) + float(band.get("height", ""))
    assert tops[0] < top < tops[1] < bottom < tops[2]


def test_words_never_overlap() -> None:
    crowd = ladder(*(step(number, number / 1000, "data", "client" if number % 3 else "server") for number in range(50)))
    tops = [float(one.get("data-top", "")) for one in steps(drawn(crowd))]
    assert all(after - before >= 20 for before, after in pairwise(tops))


def test_markup_in_names_is_text() -> None:
    evil = "</text><script>alert(1)</script>"
    model = Ladder(
        evil, evil + "2", 0, (step(1, 0, evil, remarks=(evil,)),), (StandingFault("f1", evil, evil, 0, None),)
    )
    assert "<script" not in ladder_head(model) + ladder_svg(model, model.steps)
    drawn(model)


def test_fates_in_words() -> None:
    lost = step(2, 0, "SYN", after_ms=None, deeds=(DROP,))
    assert fate_in_words(lost) == "dropped by drop (tcp syn+ack, which 1) (named packet)"
    assert fate_in_words(step(1, 0, "SYN", after_ms=5)) == "delivered after 5.0 ms as frame 1"


def test_nothing_at_all() -> None:
    assert steps(drawn(ladder())) == []
    assert LEFT < MIDDLE < RIGHT
