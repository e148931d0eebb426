"""Why TCP sent something again: segments made by hand, through the real core and its faults."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from faultlab.analysis.paths import path_facts
from faultlab.analysis.repairs import repairs
from faultlab.analysis.subject import open_subject
from faultlab.faults import Corrupt, Cut, Drop, Fault, Match

from tests.support.virtual_wire import ACK, CLIENT, FIN, FROM_TCP, MS, SYN, TCP_SERVER, TO_TCP, tcp
from tests.unit.analysis.ends import tcpdumps
from tests.unit.checks.histories import record


def there(payload: bytes = b"", seq: int = 1000, flags: int = ACK) -> bytes:
    return tcp(payload, flags, seq)


def back(ack: int, seq: int = 5000, flags: int = ACK, payload: bytes = b"") -> bytes:
    return tcp(payload, flags, seq, ack, 8082, 20_000, TCP_SERVER, CLIENT)


def told(folder: Path) -> list[str]:
    subject = open_subject(folder)
    return [str(one) for one in repairs(subject, path_facts(subject))]


def dropped(which: int | tuple[int, ...], path: str = TO_TCP) -> tuple[str, Fault]:
    return path, Drop(match=Match(which=which))


HISTORIES: dict[str, tuple[Sequence[bytes], Sequence[tuple[str, Fault]], list[str]]] = {
    "a segment": (
        [there(b"abc"), there(b"def", 1003), there(b"abc")],
        [dropped(1)],
        ["frame 3 repeats frame 1, which f1 dropped"],
    ),
    "a segment, and its first repetition": (
        [there(b"abc"), there(b"abc"), there(b"abc")],
        [dropped((1, 2))],
        ["frame 2 repeats frame 1, which f1 dropped", "frame 3 repeats frames 1 and 2, which f1 dropped"],
    ),
    "many, by one that is larger": (
        [*(there(b"ab", 1000 + 2 * number) for number in range(5)), there(b"abababababab")],
        [dropped((1, 2, 3, 4, 5))],
        ["frame 6 repeats frames 1, 2, 3 and 2 more, which f1 dropped"],
    ),
    "the half of one": (
        [there(b"abcdef"), there(b"def", 1003)],
        [dropped(1)],
        ["frame 2 repeats frame 1, which f1 dropped"],
    ),
    "what was repaired is no cause any more": (
        [there(b"abc"), there(b"abc"), there(b"abc")],
        [dropped(1)],
        ["frame 2 repeats frame 1, which f1 dropped", "frame 3 repeats frame 2, which arrived"],
    ),
    "an acknowledgement": (
        [there(b"abc"), back(1003), there(b"abc")],
        [dropped(1, FROM_TCP)],
        ["frame 3 repeats frame 1, whose acknowledgement was lost: frame 2, which f1 dropped"],
    ),
    "a lost acknowledgement that a later one made up for": (
        [there(b"abc"), back(1003), back(1003), *[there(seq=1003)] * 3, there(b"abc")],
        [dropped(1, FROM_TCP)],
        ["frame 7 repeats frame 1, which arrived"],
    ),
    "a SYN whose SYN-ACK was lost": (
        [
            there(flags=SYN, seq=999),
            back(1000, 4999, SYN | ACK),
            there(flags=SYN, seq=999),
            back(1000, 4999, SYN | ACK),
        ],
        [dropped(1, FROM_TCP)],
        [
            "frame 3 repeats frame 1, whose acknowledgement was lost: frame 2, which f1 dropped",
            "frame 4 repeats frame 2, which f1 dropped",
        ],
    ),
    "a FIN": (
        [there(b"abc"), there(seq=1003, flags=FIN | ACK), there(seq=1003, flags=FIN | ACK)],
        [dropped(2)],
        ["frame 3 repeats frame 2, which f1 dropped"],
    ),
    "one that was spoilt": (
        [there(b"abc"), there(b"abc")],
        [(TO_TCP, Corrupt(nth=1))],
        ["frame 2 repeats frame 1, which f1 changed"],
    ),
    "one that was changed, and TCP can't tell": (
        [there(b"abc"), there(b"abc")],
        [(TO_TCP, Corrupt(nth=1, checksum="fixed"))],
        ["frame 2 repeats frame 1, which arrived"],
    ),
    "one that was cut short": (
        [there(flags=SYN, seq=999), there(b"abcdef"), there(b"def", 1003)],
        [(TO_TCP, Cut(at=(3,)))],
        ["frame 3 repeats frame 2, which f1 changed"],
    ),
    "past 2^32": (
        [there(b"abcd", 0xFFFFFFFE), there(b"efgh", 2), there(b"abcd", 0xFFFFFFFE)],
        [dropped(1)],
        ["frame 3 repeats frame 1, which f1 dropped"],
    ),
    "nothing: new bytes, and pure acknowledgements": (
        [there(b"abc"), there(seq=1003), there(seq=1003), there(b"def", 1003), back(1006), back(1006)],
        [dropped(1)],
        [],
    ),
    "nothing: another connection of the same ports": (
        [there(flags=SYN, seq=7999), there(b"abc", 8000), there(flags=SYN, seq=8000), there(b"abc", 8001)],
        [dropped(2)],
        [],
    ),
}


@pytest.mark.parametrize("what", HISTORIES)
def test_what_was_repaired(tmp_path: Path, what: str) -> None:
    frames, faults, expected = HISTORIES[what]
    record(tmp_path, frames, faults)
    assert told(tmp_path) == expected


def test_two_faults_are_told_apart(tmp_path: Path) -> None:
    record(tmp_path, [there(b"abc")] * 3, [dropped(1), (TO_TCP, Corrupt(nth=1))])
    assert told(tmp_path)[1] == "frame 3 repeats frame 1, which f1 dropped and frame 2, which f2 changed"


def test_without_a_ledger_nobody_knows_who_did_it(tmp_path: Path) -> None:
    frames = [tcp(b"%d" % number, seq=1000 + number) for number in range(4)]
    record(tmp_path, [*frames, back(1001), tcp(b"1", seq=1001, ack=5001), tcp(b"4", seq=1004)], [dropped(2)])
    assert told(tcpdumps(tmp_path, tmp_path / "ends", "client", "tcp-server")) == [
        "frame 6 repeats frame 2, lost on the way"
    ]


def test_an_acknowledgement_that_came_too_late_to_be_heard_made_up_for_nothing(tmp_path: Path) -> None:
    frames = [there(b"abc"), back(1003), back(1003), there(b"abc")]
    record(tmp_path, frames, [dropped(1, FROM_TCP)], gap=MS // 2)
    assert told(tmp_path) == ["frame 4 repeats frame 1, whose acknowledgement was lost: frame 2, which f1 dropped"]
