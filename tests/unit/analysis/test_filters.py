"""Filters on evidence that the wire's core wrote: which packets each keeps, and what can't be meant."""

from __future__ import annotations

from pathlib import Path

import pytest
from faultlab.analysis.filters import Filter
from faultlab.analysis.subject import open_subject
from faultlab.errors import UsageError
from faultlab.faults import Loss
from faultlab.faults.base import Effect

from tests.support.virtual_wire import ACK, CLIENT, MS, SYN, TCP_SERVER, TO_UDP, tcp, udp
from tests.unit.checks.histories import datagrams, record

FRAMES = [
    *datagrams([b"one", b"two"]),
    tcp(flags=SYN, seq=1),
    tcp(flags=SYN | ACK, source=TCP_SERVER, target=CLIENT, port=8082, to=20_000),
    udp(b"a question", to=53),
]


def kept(folder: Path, chosen: Filter) -> list[int]:
    """Frame numbers in sent.pcapng."""
    record(folder, FRAMES, [(TO_UDP, Loss(nth=2))])
    subject = open_subject(folder)
    return [int(index) + 1 for index in chosen.of(subject)(subject.main).nonzero()[0]]


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (Filter(), [1, 2, 3, 4, 5]),
        (Filter(on="tcp-server"), [3, 4]),
        (Filter(on="client->tcp-server"), [3]),
        (Filter(on="tcp-server->client"), [4]),
        (Filter(on="client<->tcp-server"), [3, 4]),
        (Filter(protocol="tcp"), [3, 4]),
        (Filter(protocol="udp"), [1, 2, 5]),
        (Filter(protocol="dns"), [5]),
        (Filter(protocol="icmp"), []),
        (Filter(port=8082), [3, 4]),
        (Filter(between_ns=(MS, 2 * MS)), [2, 3]),
        (Filter(effects=frozenset({Effect.DROPPED})), [2]),
        (Filter(effects=frozenset({Effect.CHANGED})), []),
        (Filter(on="client", port=20_000, protocol="udp", between_ns=(0, MS)), [1, 2]),
    ],
)
def test_each_filter(tmp_path: Path, chosen: Filter, expected: list[int]) -> None:
    assert kept(tmp_path, chosen) == expected


@pytest.mark.parametrize("on", ["nobody", "client->nobody", "nobody<->client", "->", ""])
def test_a_node_that_is_not_there(tmp_path: Path, on: str) -> None:
    if on:
        with pytest.raises(UsageError, match=r"--on .*expected one of client, tcp-server"):
            kept(tmp_path, Filter(on=on))
    else:
        assert kept(tmp_path, Filter(on=on)) == [1, 2, 3, 4, 5]


def test_what_was_done_takes_a_ledger(tmp_path: Path) -> None:
    record(tmp_path, FRAMES)
    with pytest.raises(UsageError, match="without a ledger"):
        Filter(effects=frozenset({Effect.DROPPED})).of(open_subject(tmp_path / "sent.pcapng"))
