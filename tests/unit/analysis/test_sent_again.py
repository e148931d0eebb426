"""What one run says of segments that were sent again: check, flow line, plot, ladder, report and `lab top` agree."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from faultlab.analysis.build_ladder import build_ladder
from faultlab.analysis.capture_tail import CaptureTail
from faultlab.analysis.conversations import Conversations
from faultlab.analysis.paths import path_facts
from faultlab.analysis.remarks import remarks
from faultlab.analysis.subject import open_subject
from faultlab.analysis.traffic import Traffic
from faultlab.checks import run_check
from faultlab.evidence.run_evidence import Evidence
from faultlab.faults import Drop, Fault, Latency, Loss, Match
from faultlab.network.packets import MASK
from faultlab.report.gather import run_page
from faultlab.report.series import conversations, course

from tests.support.virtual_wire import ACK, CLIENT, FIN, MS, NODES, PSH, SYN, TCP_SERVER, TO_TCP, tcp
from tests.unit.checks.histories import record

BACK = "tcp-server->client"
LOSSY: list[tuple[str, Fault]] = [
    (path, fault) for path in (TO_TCP, BACK) for fault in (Latency(delay_ms=20), Loss(percent=20))
]


def talk(draw: Random, isn: int, segments: int) -> Iterator[bytes]:
    """A connection of which segments of 10 bytes are sent, and older ones among them again, at once or later."""
    base, sent, acked, other = (isn + 1) & MASK, 0, 0, isn ^ 0x5555

    def answer(flags: int = ACK, seq: int = other + 1) -> bytes:
        ack = (base + acked * 10) & MASK
        return tcp(flags=flags, seq=seq, ack=ack, source=TCP_SERVER, target=CLIENT, port=8082, to=20_000)

    yield tcp(flags=SYN, seq=isn, ack=0)
    yield answer(SYN | ACK, other)
    yield tcp(seq=base, ack=5001)
    for _ in range(segments):
        luck = draw.random()
        if luck < 0.3:
            acked = draw.randint(acked, sent)
            yield answer()
        elif luck < 0.7 or not sent:
            sent += 1
            yield data(base, sent - 1, 1)
        else:
            first = draw.randrange(sent)
            again = draw.choice([1, 1, 1, 3])
            yield data(base, first, again)  # perhaps with more behind it that is new
            sent = max(sent, first + again)
    yield tcp(flags=FIN | ACK, seq=(base + sent * 10) & MASK, ack=5001)


def data(base: int, first: int, count: int) -> bytes:
    return tcp(b"0123456789" * count, PSH | ACK, seq=(base + first * 10) & MASK, ack=5001)


def counts(folder: Path) -> dict[str, int]:
    """Segments sent again, as each part of the product has them."""
    subject = open_subject(folder)
    flows, paths = Conversations(subject), path_facts(subject)
    said = remarks(subject, flows, paths)
    ladder = build_ladder(subject, "client", "tcp-server", remarks=said)
    traffic = Traffic(NODES)
    for seen in CaptureTail("sent").feed((folder / "sent.pcapng").read_bytes()):
        traffic.see(seen)
    table = next(table for table in run_page(folder, "a run", lambda _: {}).tables if table.id == "flows")
    at = table.columns.index("#sent again")
    drawn = [course(subject, flows, one, paths) for one in conversations(subject, flows, paths)]
    return {
        "check": int(run_check("retransmissions", {}, Evidence(folder)).summary.split()[0]),
        "flow line": sum(side.retransmissions for flow in flows.all for side in flow.tcp or ()),
        "plot": sum(len(way.again) for one in drawn for way in one.ways),
        "ladder": sum(
            any("repeats" in one or "retransmission" in one for one in step.remarks) for step in ladder.steps
        ),
        "report": sum(int(row[at].replace(",", "")) for row in table.rows),
        "top": sum(path.retransmissions for path in traffic.paths.values()),
    }


@pytest.mark.parametrize("seed", range(5))
def test_all_of_them_agree(tmp_path: Path, seed: int) -> None:
    """Two connections on the same ports, of which the second begins with lower numbers, over the wrap."""
    draw = Random(seed)
    frames = [*talk(draw, 4_000_000, 150), *talk(draw, MASK - 300, 150), *talk(draw, 1000, 50)]
    record(tmp_path, frames, LOSSY, gap=MS // 2)
    again = counts(tmp_path)
    assert again["check"] > 60
    assert set(again.values()) == {again["check"]}, again


def test_nothing_is_out_of_order_where_it_was_sent(tmp_path: Path) -> None:
    record(tmp_path, list(talk(Random(1), 1000, 200)), LOSSY, gap=MS // 2)
    (flow,) = Conversations(open_subject(tmp_path)).all
    assert flow.tcp is not None
    assert [side.out_of_order for side in flow.tcp] == [0, 0]


def test_fast_is_what_follows_the_acks_that_its_sender_heard(tmp_path: Path) -> None:
    """Three ACKs of the same, sent 30 ms before: 20 ms after them, in which tshark looks for it, is not over for him
    whom they reached late. And where they were lost it is not fast."""
    hole, later = data(1001, 0, 1), [data(1001, at, 1) for at in range(1, 5)]
    acks = [tcp(ack=1001, seq=(1000 ^ 0x5555) + 1, source=TCP_SERVER, target=CLIENT, port=8082, to=20_000)] * 4
    lost, late = (TO_TCP, Drop(match=Match(payload="0123456789", which=1))), (BACK, Latency(delay_ms=30))
    wait = [tcp(flags=SYN, seq=at, port=30_000 + at) for at in range(30)]
    frames = [*list(talk(Random(1), 1000, 0))[:3], hole, *later, *acks, *wait, hole]
    for name, faults, fast in (("late", [lost, late], 1), ("lost", [lost, (BACK, Loss(every=1))], 0)):
        (tmp_path / name).mkdir()
        record(tmp_path / name, frames, faults)
        flow = Conversations(open_subject(tmp_path / name)).all[0]
        assert flow.tcp is not None
        assert (flow.tcp[0].retransmissions, flow.tcp[0].fast) == (1, fast), name


def test_spurious_is_what_had_arrived_though_its_sender_could_not_know(tmp_path: Path) -> None:
    segment = data(1001, 0, 1)
    ack = tcp(ack=1011, seq=(1000 ^ 0x5555) + 1, source=TCP_SERVER, target=CLIENT, port=8082, to=20_000)
    record(tmp_path, [*list(talk(Random(1), 1000, 0))[:3], segment, ack, segment], [(BACK, Latency(delay_ms=30))])
    (flow,) = Conversations(open_subject(tmp_path)).all
    assert flow.tcp is not None
    assert (flow.tcp[0].retransmissions, flow.tcp[0].spurious) == (1, 1)
