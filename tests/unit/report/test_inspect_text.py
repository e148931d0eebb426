"""What `lab inspect` says in words: of a connection, of what became of a packet; and tables, times and sizes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from faultlab.analysis.flow_facts import FlowFacts, TcpSide
from faultlab.analysis.ladder import Arrival, Deed, Gap
from faultlab.analysis.overview import CaptureSize, Overview
from faultlab.faults.base import Effect
from faultlab.report.inspect_text import became, overview_lines, packet_lines, text_table
from faultlab.report.quantities import duration, size

from tests.unit.analysis.steps import DROP, LATENCY, MS, step

QUIET = TcpSide(0, 0, 0, 0, 0, 0, 0, 0, None, 0.0)


def flow(
    number: int = 1, tcp: tuple[TcpSide, TcpSide] | None = (QUIET, QUIET), handshake: int | None = None
) -> FlowFacts:
    return FlowFacts(
        number, "tcp" if tcp else "udp", 0, ("client:1", "server:2"), (3, 2), (600, 400), 0, 5 * MS, handshake, tcp
    )


def said(*flows: FlowFacts, every: bool = False) -> list[str]:
    seen = Overview(
        (CaptureSize("a.pcap", 5, 1000, 5 * MS),), 0, (), (), flows, ("what came of it",), ("is cut short",)
    )
    return [line.plain for line in overview_lines(seen, None, every)]


def test_of_a_capture_its_size_and_what_is_not_known() -> None:
    assert said() == ["a.pcap   5 packets   1 kB   5 ms", "not known: what came of it", "note: is cut short"]


def test_a_quiet_connection_says_little() -> None:
    assert said(flow())[-1].split() == ["1", "tcp", "client:1", "<->", "server:2", "5", "1", "kB", "5", "ms"]


def test_a_connection_says_whatever_did_not_go_smoothly() -> None:
    busy = TcpSide(5, 2, 1, 3, 4, 0, 0, 1448, 2 * MS, 1e6)
    reset = TcpSide(0, 0, 0, 0, 0, 1, 1, 0, 1 * MS, 0.0)
    assert said(flow(tcp=(busy, reset), handshake=7 * MS))[-1].endswith(
        "handshake 7 ms, RTT 2 ms, 5 sent again (2 fast, 1 spurious), 3 out of order, 4 duplicate ACKs, "
        "1 zero window, 1,448 bytes not captured, reset by server:2"
    )


def test_a_connection_says_that_the_lab_reset_it() -> None:
    reset = TcpSide(0, 0, 0, 0, 0, 0, 1, 0, None, 0.0)
    both = replace(flow(tcp=(QUIET, reset)), forged_resets=(1, 2))
    assert said(both)[-1].endswith("reset by server:2, reset by the lab (RST to client:1 and server:2)")
    assert said(replace(flow(), forged_resets=(0, 1)))[-1].endswith(" reset by the lab (RST to server:2)")


def test_of_many_flows_the_largest() -> None:
    """A transfer that begins after a thousand queries is not hidden behind them."""
    flows = [flow(number, tcp=None) for number in range(1, 31)]
    flows[28] = replace(flows[28], bytes=(10, 10**9))
    assert said(*flows)[-1] == "10 smaller flows more; --all shows them"
    assert said(*flows)[-21].split()[0] == "29"
    assert len(said(*flows, every=True)) == len(said(*flows)) + 9


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (step(1, 0, "SYN"), ""),
        (step(1, 0, "SYN", after_ms=None, deeds=(DROP,)), "dropped by drop (tcp syn+ack, which 1)"),
        (step(1, 0, "SYN", after_ms=5, deeds=(LATENCY,)), "5 ms later"),
        (step(1, 0, "SYN", after_ms=5, overtaken_by=(2, 3)), "5 ms later; overtaken by frame 2 and 1 more"),
        (step(1, 0, "SYN", remarks=("repeats frame 2",)), "repeats frame 2"),
        (
            step(
                1, 0, "data 1..9 (8 B)",
                deeds=(Deed("f1", "cut 4", Effect.CHANGED, "cut at byte 4"),),
                arrivals=(Arrival(0, 1, 0, "data 1..5 (4 B)", "a part of message 1"),),
            ),
            "changed by cut 4; arrives as data 1..5 (4 B): a part of message 1",
        ),
    ],
)  # fmt: skip
def test_what_became_of_a_packet(one: object, words: str) -> None:
    assert became(one) == words  # type: ignore[arg-type]


def test_a_line_for_each_packet() -> None:
    lines = [line.plain for line in packet_lines([step(1, 0, "SYN"), Gap(3, 0, 0, 0)])]
    assert lines == [
        "   ms  frame  path              packet",
        "0.000      1  client -> server  SYN",
        "                                3 packets more",
    ]


def test_a_table_has_straight_columns() -> None:
    assert [line.plain for line in text_table([("path", "n"), ("a->b", "1,000"), ("c", "7")], left=(0,))] == [
        "path      n",
        "a->b  1,000",
        "c         7",
    ]


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0 us"), (999, "0.999 us"), (999_400, "999 us"), (999_600, "1 ms"), (21_240_000, "21.2 ms"),
        (999_600_000, "1 s"), (1_014_000_000, "1.01 s"), (3_600_000_000_000, "3600 s"), (-5_000_000, "-5 ms"),
    ],
)  # fmt: skip
def test_times_to_three_digits(ns: int, text: str) -> None:
    assert duration(ns) == text


@pytest.mark.parametrize(
    ("octets", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (6_090, "6.09 kB"), (999_600, "1 MB"), (2_000_000_000, "2 GB")],
)
def test_sizes_to_three_digits(octets: int, text: str) -> None:
    assert size(octets) == text
