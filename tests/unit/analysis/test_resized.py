"""Segments that a device cut or joined between the captures (offload): none is lost, forged or doubled for that."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
from faultlab.analysis.overview import overview
from faultlab.analysis.paths import PathFacts, path_facts
from faultlab.analysis.subject import open_subject
from faultlab.evidence.files import CaptureWriter
from faultlab.evidence.pcapng import Capture
from faultlab.network.packets import MASK

from tests.support.virtual_wire import ACK, MS, PSH, tcp

STREAM = Random(5).randbytes(60_000)
FOUR = [(0, 1000), (1000, 2000), (2000, 3000), (3000, 4000)]
ONE = [(0, 4000)]
Cuts = list[tuple[int, int]]


def ends(
    folder: Path, sent: Cuts, arrived: Cuts, first: int = 1000, spoilt: int = -1, snap: int = 1 << 16
) -> PathFacts:
    """Bytes from one number to another of a stream, a segment a millisecond; of what arrives one byte is spoilt."""
    for name, cuts, late in (("sent", sent, 0), ("delivered", arrived, 7)):
        writer = CaptureWriter(folder / f"{name}.pcapng", ["eth0"], name)
        for number, (begin, end) in enumerate(cuts):
            data = bytearray(STREAM[begin:end])
            if name == "delivered" and begin <= spoilt < end:
                data[spoilt - begin] ^= 1
            frame = tcp(bytes(data), ACK | PSH * (end % 4000 == 0), seq=(first + begin) & MASK)
            writer.packet(0, frame, 0, b"", (number + late + 1) * MS)
        writer.close()
        if snap < 1 << 16:
            _cut(folder / f"{name}.pcapng", snap)
    (facts,) = path_facts(open_subject(folder))
    return facts


def _cut(file: Path, snap: int) -> None:
    """As `tcpdump -s`, by a pcap file with microseconds in the place of the other."""
    capture, out = Capture(file), bytearray(bytes.fromhex("d4c3b2a1020004000000000000000000ffff000001000000"))
    for index in range(len(capture)):
        frame, at = capture.frame(index), capture.times[index] // 1000
        for number in (at // 10**6, at % 10**6, min(snap, len(frame)), len(frame)):
            out += number.to_bytes(4, "little")
        out += frame[:snap]
    file.with_suffix(".pcap").write_bytes(out)
    file.unlink()


def told(facts: PathFacts) -> dict[str, int]:
    found = {
        "lost": facts.losses.lost,
        "doubled": facts.duplicated,
        "changed": int(facts.changed.sum()),
        "forged": facts.forged,
        "reordered": facts.reordering.count,
        "resized": facts.pairing.resized,
    }
    return {name: count for name, count in found.items() if count}


@pytest.mark.parametrize("first", [1000, MASK - 1500], ids=["", "over the wrap"])
@pytest.mark.parametrize("snap", [1 << 16, 96], ids=["whole", "96 bytes of each"])
@pytest.mark.parametrize(("sent", "arrived", "count"), [(ONE, FOUR, 1), (FOUR, ONE, 4)], ids=["cut", "joined"])
def test_one_and_four(tmp_path: Path, sent: Cuts, arrived: Cuts, count: int, first: int, snap: int) -> None:
    facts = ends(tmp_path, sent, arrived, first, snap=snap)
    assert told(facts) == {"resized": count}
    assert (facts.sent, facts.delivered) == (len(sent), len(sent))


@pytest.mark.parametrize("seed", range(20))
def test_any_sizes(tmp_path: Path, seed: int) -> None:
    draw = Random(seed)
    sent, arrived = cuts(draw), cuts(draw)
    facts = ends(tmp_path, sent, arrived)
    assert set(told(facts)) <= {"resized"}
    assert facts.pairing.resized == len(set(sent) - set(arrived))


def cuts(draw: Random) -> Cuts:
    at = sorted({0, len(STREAM), *(draw.randrange(40) * 1500 for _ in range(30))})
    return list(pairwise(at))


@pytest.mark.parametrize("seed", range(20))
def test_what_is_lost_between_what_was_joined_is_lost(tmp_path: Path, seed: int) -> None:
    """Some of 40 segments are lost; those between two losses arrive as one or two."""
    draw = Random(seed)
    sent = [(at * 1500, at * 1500 + 1500) for at in range(40)]
    lost = sorted(draw.sample(range(1, 39), 4))  # a first and a last that both have
    arrived: Cuts = []
    for first, last in zip([0, *(one + 1 for one in lost)], [*lost, 40], strict=True):
        half = draw.randint(first, last)
        arrived += [(a * 1500, b * 1500) for a, b in ((first, half), (half, last)) if a < b]
    assert told(ends(tmp_path, sent, arrived))["lost"] == 4
    assert not told(path_facts(open_subject(tmp_path))[0]).keys() & {"forged", "doubled", "changed"}


def test_a_piece_that_was_lost_and_sent_again(tmp_path: Path) -> None:
    """The large segment did not arrive whole, and what was sent again did."""
    last = (4000, 5000)
    facts = ends(tmp_path, [(0, 4000), (2000, 3000), last], [FOUR[0], FOUR[1], FOUR[3], FOUR[2], last])
    assert told(facts) == {"lost": 1}


def test_of_two_that_were_sent_one_arrived(tmp_path: Path) -> None:
    before, after = (50_000, 50_100), (50_100, 50_200)
    facts = ends(tmp_path, [before, (0, 4000), (0, 4000), after], [before, *FOUR, after])
    assert told(facts) == {"lost": 1, "resized": 1}


def test_bytes_that_changed_in_a_piece(tmp_path: Path) -> None:
    assert told(ends(tmp_path, ONE, FOUR, spoilt=2500)) == {"resized": 1, "changed": 1}
    assert told(ends(tmp_path, FOUR, ONE, spoilt=2500)) == {"resized": 4, "changed": 1}


def test_it_is_said(tmp_path: Path) -> None:
    ends(tmp_path, ONE, FOUR)
    assert "1 segments arrived in smaller or larger ones" in overview(open_subject(tmp_path)).remarks[-1]
