"""Shrinking: the least that still fails, and single packets as faults that another run can find."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from faultlab.network.sendings import Sending
from faultlab.running.shrink import FaultFields, apart, as_entry, drops_only, merge_drops, smallest
from faultlab.scenario.model import FaultEntry
from hypothesis import given
from hypothesis import strategies as st


@given(st.integers(0, 40), st.data())
def test_what_is_left_fails_and_can_not_spare_a_part(count: int, data: st.DataObject) -> None:
    """A failure needs all of one of some sets of items."""
    items = list(range(count))
    needed = data.draw(st.lists(st.sets(st.sampled_from(items or [0]), max_size=5), min_size=1, max_size=3))

    def fails(some: Sequence[int]) -> bool:
        return any(one <= set(some) for one in needed)

    if not fails(items):
        return
    left = smallest(items, fails)
    assert fails(left)
    assert left == sorted(left)
    assert not any(fails([one for one in left if one != gone]) for gone in left)


def test_needs_few_runs_for_one_of_many() -> None:
    runs = []

    def fails(some: Sequence[int]) -> bool:
        runs.append(len(some))
        return 77 in some

    assert smallest(range(100), fails) == [77]
    assert len(runs) <= 2 * 7 + 2


def test_a_failure_that_needs_nothing_is_left_with_nothing() -> None:
    assert smallest([1, 2, 3], lambda some: True) == []


def test_the_faults_of_an_entry_are_apart() -> None:
    entry = {"on": "client->tcp-server", "for": "1s", "loss": "5%", "latency": "5ms"}
    assert apart(entry) == [
        {"on": "client->tcp-server", "for": "1s", "loss": "5%"},
        {"on": "client->tcp-server", "for": "1s", "latency": "5ms"},
    ]


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"on": "a->b", "loss": "5%"}, True),
        ({"on": "a->b", "at": "1s", "flap": {}}, True),
        ({"on": "a->b", "rate": "1mbit"}, False),
        ({"on": "a->b", "reset": True}, False),
        ({"on": "toxiproxy:8082", "toxic": {}}, False),
    ],
)
def test_knows_what_can_only_drop(entry: FaultFields, expected: bool) -> None:
    assert drops_only(entry) is expected


TCP = "tcp client:20000 -> tcp-server:8082"
PORTS = {"protocol": "tcp", "source_port": 20_000, "target_port": 8082}


@pytest.mark.parametrize(
    ("flow", "sending", "drop"),
    [
        (TCP, Sending("bytes", 41, 2), {**PORTS, "stream": [41, 41], "which": 2}),
        (TCP, Sending("SYN", 0), {**PORTS, "which": 9}),
        (TCP, Sending("ACK", 5), {**PORTS, "which": 9}),
        ("udp6 client:*1 -> dns-server:53", Sending("packet", 9), {"protocol": "udp", "target_port": 53, "which": 9}),
        ("icmp client:0 -> tcp-server:0", Sending("packet", 9), {"which": 9}),
    ],
)
def test_a_packet_is_a_fault(flow: str, sending: Sending, drop: FaultFields) -> None:
    entry = as_entry(("client->tcp-server", flow, sending, 0), ordinal=9)
    assert entry == {"on": "client->tcp-server", "drop": drop}
    FaultEntry.model_validate(entry)


def test_packets_of_a_flow_are_one_fault() -> None:
    entries = [{"on": "a->b", "drop": {"protocol": "udp", "which": n}} for n in (3, 8)]
    entries += [{"on": "b->a", "drop": {"protocol": "udp", "which": 5}}]
    assert merge_drops(entries) == [
        {"on": "a->b", "drop": {"protocol": "udp", "which": [3, 8]}},
        {"on": "b->a", "drop": {"protocol": "udp", "which": [5]}},
    ]
