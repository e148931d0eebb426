"""What proves a toxic, and what only looks like it: segments at the proxy, written out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from faultlab.checks.toxic_seen import SEEN, Segment, ToxicPassage, passage_of, toxic_findings
from faultlab.engines.recorder import FileRecorder
from faultlab.engines.wire.core import Core
from faultlab.evidence.run_evidence import Evidence
from faultlab.network.packets import ACK, FIN, PSH, RST, SYN
from faultlab.network.topology import Network

from tests.support.virtual_wire import tcp

MS = 1_000_000
DATA = ACK | PSH
OPEN = [(0, 0, SYN), (1, 0, ACK)]
"""What leaves for the other end before any data."""

Row = tuple[float, int, int]
"""Time in ms, payload bytes, flags."""


def seen(kind: str, came: list[Row], left: list[Row], since: float = 0, until: float = 10_000, **made: int) -> Any:
    def segments(rows: list[Row]) -> list[Segment]:
        return [Segment(round(time * MS), size, flags) for time, size, flags in rows]

    return SEEN[kind](ToxicPassage(segments(came), segments(left), round(since * MS), round(until * MS)), made)


def data(*times: float, size: int = 100) -> list[Row]:
    return [(time, size, DATA) for time in times]


def test_latency_is_every_bytes() -> None:
    assert seen("latency", data(10, 20), data(60, 70), latency=50, jitter=0) == "delayed 2 segments by 50.0 ms"
    assert seen("latency", data(10, 20), data(60, 69), latency=50, jitter=0) is None
    assert seen("latency", data(10, 20), data(60, 69), latency=50, jitter=1) is not None
    assert seen("latency", data(10), [], latency=50, jitter=0) is None


def test_latency_is_looked_for_only_while_it_was_there() -> None:
    """The first went through at once before; of the third only the arrival was meanwhile."""
    came, left = data(10, 30, 55), data(10.1, 80, 105)
    assert seen("latency", came, left, since=20, until=90, latency=50) == "delayed 1 segments by 50.0 ms"
    assert seen("latency", came, left, since=5, until=90, latency=50) is None


def test_a_slicer_makes_smaller_ones_not_only_more() -> None:
    assert seen("slicer", data(1, 2), data(2, 3, 4, 5, size=50)) == "sliced 2 segments into 4"
    assert seen("slicer", data(1, 2), data(2, 3, 4, size=51)) is None
    assert seen("slicer", data(1, 2), data(2, 3, 202, 203)) is None, "sent again, because they were lost"
    assert seen("slicer", data(1), []) is None


def test_bandwidth_makes_what_it_holds_back_wait() -> None:
    at_once, in_turn = data(*[10.0] * 50), data(*[11.0 + turn for turn in range(50)])
    assert seen("bandwidth", at_once, in_turn, rate=100) == "102.0 kB/s"
    assert seen("bandwidth", at_once, data(*[200.0 + turn for turn in range(50)]), rate=1) is None, "too fast"


@pytest.mark.parametrize(("wait_ms", "rate"), [(0.2, 1000), (2, 10)], ids=["less than any proxy's", "less than a turn"])
def test_a_stream_that_is_slow_by_itself_proves_no_bandwidth(wait_ms: float, rate: int) -> None:
    slow = [10.0 * turn for turn in range(50)]
    assert seen("bandwidth", data(*slow), data(*[time + wait_ms for time in slow]), rate=rate) is None


def test_a_timeout_swallows_for_good() -> None:
    assert seen("timeout", data(10), OPEN) == "swallowed the data"
    assert seen("timeout", data(10), [*OPEN, *data(11)]) is None
    assert seen("timeout", data(10), [*OPEN, *data(11)], until=10.5) is None, "only the end came between"
    assert seen("timeout", data(10), [(0, 0, SYN), (5, 0, RST | ACK)]) is None, "there was no way on"
    assert seen("timeout", [], OPEN) is None
    assert seen("timeout", data(10), OPEN, since=20) is None, "nothing came meanwhile"


@pytest.mark.parametrize(
    ("came", "left", "expected"),
    [
        ([], [(5, 0, RST)], "1 RST"),
        ([(6, 0, RST)], [(5, 0, RST), (7, 0, RST)], "2 RST"),
        ([(4, 0, RST)], [(5, 0, RST)], None),
        ([(4, 0, RST)], [], None),
        ([], [(5, 0, FIN | ACK)], None),
    ],
)
def test_a_reset_is_the_proxys_own(came: list[Row], left: list[Row], expected: str | None) -> None:
    assert seen("reset_peer", came, left) == expected


def test_limit_data_ends_the_stream_at_the_byte() -> None:
    end = [(9.0, 0, FIN | ACK)]
    assert seen("limit_data", data(1, 2), [*data(2), *end], bytes=100) == "100 of 200 bytes passed"
    assert seen("limit_data", data(1, 2), data(2), bytes=100) is None, "it goes on"
    assert seen("limit_data", data(1), [*data(2), *end], bytes=100) is None, "no more came"
    assert seen("limit_data", data(1, 2), [*data(2), *end], bytes=99) is None


def test_slow_close_is_late_by_its_delay() -> None:
    assert seen("slow_close", [(10, 0, FIN)], [(60, 0, FIN)], delay=50) == "closed 50 ms late"
    assert seen("slow_close", [(10, 0, FIN)], [(59, 0, FIN)], delay=50) is None
    assert seen("slow_close", [], [(60, 0, FIN)], delay=50) is None


# -- what came and what left, out of captures --------------------------------------------------------------------------

NODES_WITH_PROXY = Network.parse().nodes(["client", "tcp-server", "toxiproxy"])
CLIENT, SERVER, PROXY = NODES_WITH_PROXY
PLACED = {"type": "slicer", "stream": "upstream", "port": 8082, "proxy": "tcp-length2", "attributes": {}}


def through_a_proxy(folder: Path, *frames: bytes) -> Evidence:
    """Frames 1 ms apart, from 1 ms on; the wall clock is 1 s ahead."""
    recorder = FileRecorder(folder, NODES_WITH_PROXY, {"seed": 1, "engine": "wire", "lab": "history"})
    core = Core(NODES_WITH_PROXY, 1, recorder)
    index = {node.mac_bytes: number for number, node in enumerate(NODES_WITH_PROXY)}
    for number, frame in enumerate(frames, start=1):
        core.receive(index[frame[6:12]], frame, number * MS)
    recorder.close(strays=0)
    return Evidence(folder)


def to_proxy(data: bytes, seq: int = 1000, flags: int = PSH | ACK) -> bytes:
    return tcp(data, flags, seq=seq, source=CLIENT, target=PROXY)


def to_server(data: bytes, seq: int = 7000, flags: int = PSH | ACK) -> bytes:
    return tcp(data, flags, seq=seq, source=PROXY, target=SERVER, port=50_007)


def answer(data: bytes, seq: int = 300) -> bytes:
    return tcp(data, PSH | ACK, seq=seq, source=SERVER, target=PROXY, port=8082, to=50_007)


def rows(segments: list[Segment], evidence: Evidence) -> list[tuple[int, int]]:
    """(ms, new bytes)"""
    offset = int(evidence.ledger.run["epoch_offset"])
    return [(round((one.time - offset) / 1e6), one.size) for one in segments]


def test_a_passage_has_what_came_to_the_proxy_and_what_left_it(tmp_path: Path) -> None:
    evidence = through_a_proxy(
        tmp_path,
        to_proxy(b"12345678"),
        to_server(b"1234"),
        to_server(b"5678", 7004),
        answer(b"no"),
        to_server(b"", 7008),
    )
    passage = passage_of(evidence, {**PLACED, "set_t": 2 * MS, "cleared_t": 3 * MS})
    assert rows(passage.all_came, evidence) == [(1, 8)]
    assert rows(passage.all_left, evidence) == [(2, 4), (3, 4), (5, 0)]
    assert rows(passage.came, evidence) == []
    assert rows(passage.left, evidence) == rows(passage.data_left, evidence) == [(2, 4), (3, 4)]


def test_bytes_that_are_sent_again_are_no_new_ones(tmp_path: Path) -> None:
    """The second segment repeats the first, the third half of it; sequence numbers may begin again."""
    start = (1 << 32) - 4
    evidence = through_a_proxy(
        tmp_path,
        to_proxy(b"12345678", start),
        to_proxy(b"12345678", start),
        to_proxy(b"5678abcd", 0),
        to_proxy(b"e", 8),
    )
    passage = passage_of(evidence, {**PLACED, "set_t": 0, "cleared_t": None})
    assert rows(passage.all_came, evidence) == [(1, 8), (2, 0), (3, 4), (4, 1)]


def test_downstream_is_the_way_back(tmp_path: Path) -> None:
    evidence = through_a_proxy(tmp_path, to_proxy(b"12"), to_server(b"12"), answer(b"345"))
    passage = passage_of(evidence, {**PLACED, "stream": "downstream", "set_t": 0, "cleared_t": None})
    assert (rows(passage.all_came, evidence), rows(passage.all_left, evidence)) == ([(3, 3)], [])


def test_says_what_was_seen_and_what_was_not(tmp_path: Path) -> None:
    evidence = through_a_proxy(tmp_path, to_proxy(b"12345678"), to_server(b"1234"), to_server(b"5678", 7004))
    placed = {**PLACED, "set_t": 0, "cleared_t": None}
    missed, seen = toxic_findings(evidence, placed)
    assert (missed, str(seen)) == (
        False,
        "sliced 1 segments into 2: slicer upstream on tcp-length2 [sent.pcapng, delivered.pcapng: interface toxiproxy]",
    )
    missed, unseen = toxic_findings(evidence, {**placed, "type": "reset_peer"})
    assert (missed, str(unseen)) == (
        True,
        "toxic reset_peer upstream on tcp-length2 left no trace [sent.pcapng, delivered.pcapng]",
    )
