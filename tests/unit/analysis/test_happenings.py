"""What happens, packet by packet, from captures that the core wrote; and which of it is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from faultlab.analysis.capture_tail import CaptureTail
from faultlab.analysis.happenings import Happening, Happenings, Wanted
from faultlab.analysis.tail import LedgerTail
from faultlab.errors import UsageError
from faultlab.faults import Corrupt, Duplicate, Fault, Latency, Loss, Reset

from tests.support.virtual_wire import ACK, FROM_TCP, MS, NODES, PSH, SYN, TO_TCP, TO_UDP, tcp
from tests.unit.checks.histories import datagrams, record

SEGMENTS = [tcp(flags=SYN, seq=999), *(tcp(b"x" * 50, PSH | ACK, seq=1000 + 50 * number) for number in range(3))]
DATAGRAMS = datagrams([b"msg-0-1-", b"msg-0-2-"])


def happenings(folder: Path, frames: Sequence[bytes], *faults: tuple[str, Fault]) -> list[Happening]:
    record(folder, frames, faults)
    tail = LedgerTail()
    tail.feed((folder / "ledger.bin").read_bytes())
    seen = [one for side in ("sent", "delivered") for one in CaptureTail(side).feed(read(folder, side))]
    told = Happenings(NODES, tail.faults)
    return [one for one in map(told.of, sorted(seen, key=lambda one: one.time_ns)) if one is not None]


def read(folder: Path, side: str) -> bytes:
    return (folder / f"{side}.pcapng").read_bytes()


def test_what_passes_at_once_is_said_once(tmp_path: Path) -> None:
    told = happenings(tmp_path, SEGMENTS)
    assert [one.what for one in told] == ["SYN", "data 1..51 (50 B)", "data 51..101 (50 B)", "data 101..151 (50 B)"]
    assert {(one.sender, one.receiver, one.arrived, one.late_ns) for one in told} == {
        ("client", "tcp-server", False, None)
    }
    assert [one.packet for one in told] == [1, 2, 3, 4]


def test_a_dropped_packet_names_its_fault(tmp_path: Path) -> None:
    _, dropped = happenings(tmp_path, DATAGRAMS, (TO_UDP, Loss(nth=2)))
    assert (dropped.dropped, dropped.deeds) == (True, ("dropped by loss nth 2",))
    assert dropped.what == "datagram 8 B msg-0-2-"


def test_a_delayed_packet_arrives_later(tmp_path: Path) -> None:
    sent, arrived = happenings(tmp_path, DATAGRAMS[:1], (TO_UDP, Latency(delay_ms=5)))
    assert (sent.arrived, sent.deeds, sent.effects) == (False, ("delayed by latency 5ms",), ("delayed",))
    assert (arrived.arrived, arrived.late_ns, arrived.packet) == (True, 5 * MS, sent.packet)
    assert (arrived.sender, arrived.receiver) == (sent.sender, sent.receiver) == ("client", "udp-server")


def test_a_copy_is_said_though_it_arrives_at_once(tmp_path: Path) -> None:
    told = happenings(tmp_path, DATAGRAMS[:1], (TO_UDP, Duplicate(nth=1)))
    assert [(one.arrived, one.copy) for one in told] == [(False, 0), (True, 1)]


def test_a_changed_packet_says_so_when_it_is_sent(tmp_path: Path) -> None:
    (sent,) = happenings(tmp_path, DATAGRAMS[:1], (TO_UDP, Corrupt(nth=1)))
    assert sent.effects == ("changed",)


def test_a_forged_packet_only_arrives(tmp_path: Path) -> None:
    told = happenings(tmp_path, SEGMENTS, (TO_TCP, Reset(nth=2)))
    forged = [one for one in told if "injected" in one.effects]
    assert {(one.sender, one.receiver) for one in forged} == {("client", "tcp-server"), ("tcp-server", "client")}
    assert all(one.arrived and one.what == "RST" and one.late_ns is None for one in forged)


def test_captures_without_a_ledger_s_numbers_are_told_side_by_side(tmp_path: Path) -> None:
    """As engine netem writes them while the lab runs."""
    record(tmp_path, DATAGRAMS)
    sent = CaptureTail("sent").feed(read(tmp_path, "sent"))
    told = Happenings(NODES, {})
    bare = [
        one._replace(side=side, block=_without_options(one.block)) for one in sent for side in ("sent", "delivered")
    ]
    bare = [one._replace(node=2) if one.side == "delivered" else one for one in bare]
    found = [told.of(one) for one in bare]
    assert [(one.arrived, one.sender, one.receiver, one.packet, one.late_ns) for one in found if one] == [
        (False, "client", "udp-server", 0, None),
        (True, "client", "udp-server", 0, None),
    ] * 2


def _without_options(block: bytes) -> bytes:
    size = int.from_bytes(block[20:24], "little")
    end = 28 + (size + 3) // 4 * 4
    total = (end + 4).to_bytes(4, "little")
    return block[:4] + total + block[8:end] + total


ONE = Happening(0, False, "client", "tcp-server", 1, "SYN", 6, (20_000, 8082), ("dropped",), ("dropped by f",))


@pytest.mark.parametrize(
    ("wanted", "is_so"),
    [
        (Wanted(), True),
        (Wanted(on="client"), True),
        (Wanted(on="dns-server"), False),
        (Wanted(on=TO_TCP), True),
        (Wanted(on=FROM_TCP), False),
        (Wanted(on="tcp-server<->client"), True),
        (Wanted(protocol="tcp"), True),
        (Wanted(protocol="udp"), False),
        (Wanted(protocol="dns"), False),
        (Wanted(port=8082), True),
        (Wanted(port=8083), False),
        (Wanted(effects=frozenset({"dropped", "held"})), True),
        (Wanted(effects=frozenset({"held"})), False),
        (Wanted(on="client", port=8083), False),
    ],
)
def test_which_are_wanted(wanted: Wanted, is_so: bool) -> None:
    assert wanted(ONE) is is_so


def test_dns_is_by_its_port() -> None:
    assert Wanted(protocol="dns")(replace(ONE, protocol=17, ports=(53, 40_000)))


def test_the_words_say_the_same() -> None:
    wanted = Wanted("a->b", "tcp", 80, frozenset({"held", "dropped"}))
    words = ["--on", "a->b", "--protocol", "tcp", "--port", "80", "--only", "dropped", "--only", "held"]
    assert wanted.words() == words
    assert Wanted().words() == []


@pytest.mark.parametrize("on", ["nobody", "client->nobody"])
def test_a_node_that_is_not_there_is_a_mistake(on: str) -> None:
    with pytest.raises(UsageError, match="node"):
        Wanted(on=on).check(["client", "tcp-server"])
    Wanted(on="client").check(["client", "tcp-server"])
