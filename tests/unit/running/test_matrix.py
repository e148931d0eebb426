"""The matrix: its cells are scenarios, named as asked, and each leaves time to heal."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from faultlab.engines.wire.core import Core
from faultlab.errors import UsageError
from faultlab.network.topology import Network, Node
from faultlab.running.matrix import MatrixCell, cells
from faultlab.scenario.model import DnsWorkload, TcpWorkload
from faultlab.scenario.timeline import moments, timelines

from tests.support.virtual_wire import ACK, MS, PSH, SYN, ListRecorder, tcp, udp

ALL = cells()


def test_has_a_cell_for_each_subject_and_condition() -> None:
    assert len(ALL) >= 150
    assert len({cell.scenario.name for cell in ALL}) == len(ALL)
    assert {cell.subject for cell in ALL} >= {"tcp-raw", "udp-bare", "udp-retry", "dns-lookup", "proxy-length2"}


@pytest.mark.parametrize(
    ("pattern", "count"),
    [("matrix/tcp-line/loss", 1), ("matrix/*/loss", 10), ("matrix/dns-*/flap", 2), ("matrix/udp-bare", 19)],
)
def test_is_chosen_from_by_name(pattern: str, count: int) -> None:
    assert len(cells(pattern)) == count


@pytest.mark.parametrize(
    ("pattern", "told"),
    [
        ("matrix/tcp-lien", "did you mean tcp-line"),
        ("matrix/tcp-line/los", "did you mean loss"),
        ("matrix/udp-bare/reset", "reset is nothing that happens to udp-bare"),
        ("matrix/a/b/c", "expected matrix, matrix/SUBJECT or matrix/SUBJECT/CONDITION"),
    ],
)
def test_says_what_it_does_not_have(pattern: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        cells(pattern)


@pytest.mark.parametrize("cell", ALL, ids=lambda cell: cell.scenario.name)
def test_goes_on_for_a_second_after_its_faults(cell: MatrixCell) -> None:
    """Where faults end before the workload does, `healed` must have something to judge on a slow machine too."""
    entries = cell.scenario.entries
    if any(entry.for_ms is None for entry in entries):
        assert "healed" not in [name for name, _ in cell.scenario.checks]
        return
    (workload,) = cell.scenario.workloads
    sending_ms = workload.messages * workload.pace_ms
    if not isinstance(workload, DnsWorkload):
        sending_ms = (workload.messages - 1) * workload.pace_ms
    assert sending_ms - max(entry.at_ms + (entry.for_ms or 0) for entry in entries) >= 800


SLOWER = 6
"""How much slower the applications are than they are asked to be: as at a load of 15 on two processors, and worse."""
NODES = Network.parse().nodes(["client", "dns-server", "tcp-server", "udp-server", "toxiproxy"])
LINKED = [cell for cell in ALL if not cell.scenario.toxics()]


def talk(cell: MatrixCell) -> Iterator[tuple[int, bytes]]:
    """(ns, frame) of both ways, as slow as that: each message is answered within a millisecond."""
    (workload,) = cell.scenario.workloads
    names = {node.name: node for node in NODES}
    client, server = names["client"], names[workload.target]
    size = 40 if isinstance(workload, DnsWorkload) else sum(workload.size_bytes) // 2
    for number in range(workload.messages):
        now = round(number * workload.pace_ms * SLOWER * MS)
        if isinstance(workload, TcpWorkload):
            for conn in range(workload.connections):
                yield from exchange(client, server, 20_000 + conn, number, size, now + conn)
        elif isinstance(workload, DnsWorkload):
            for port in (20_000 + 2 * number, 20_001 + 2 * number):  # A and AAAA
                question = workload.names[number % len(workload.names)].encode().ljust(size)
                yield now, udp(question, port, 53, client, server)
                yield now + MS, udp(question + bytes(24), 53, port, server, client)
        else:
            yield now, udp(bytes(size), 20_000, workload.port, client, server)
            yield now + MS, udp(bytes(size), workload.port, 20_000, server, client)


def exchange(client: Node, server: Node, port: int, number: int, size: int, now: int) -> Iterator[tuple[int, bytes]]:
    """A message, its answer, and the acknowledgement of that; the connection's opening before the first."""
    there = {"port": port, "source": client, "target": server}
    back = {"port": 8080, "to": port, "source": server, "target": client}
    if number == 0:
        yield now, tcp(b"", SYN, 999, **there)
        yield now, tcp(b"", SYN | ACK, 4999, **back)
    seq = 1000 + number * size
    yield now, tcp(bytes(size), PSH | ACK, seq, **there)
    yield now + MS, tcp(bytes(size), PSH | ACK, seq + 4000, **back)
    yield now + MS, tcp(b"", ACK, seq + size, **there)


@pytest.mark.parametrize("cell", LINKED, ids=lambda cell: cell.scenario.name)
def test_no_fault_hangs_on_how_fast_the_applications_are(cell: MatrixCell) -> None:
    """Each leaves its mark, though a few packets come where many are asked for."""
    recorder = ListRecorder()
    core = Core(NODES, 1, recorder)
    steps = [
        (round(at_ms * MS), number, path, faults)
        for path, changes in timelines(moments(cell.scenario)).items()
        for number, (at_ms, faults) in enumerate(changes)
    ]
    index = {node.mac_bytes: number for number, node in enumerate(NODES)}
    packets = sorted(talk(cell), key=lambda one: one[0])
    for now, _, path, faults in sorted(steps, key=lambda step: step[:2]):
        while packets and packets[0][0] < now:
            send(core, index, *packets.pop(0))
        core.set_faults(path, faults, now)
    for packet in packets:
        send(core, index, *packet)
    asked = {str(fields["id"]): fields for kind, fields in recorder.notes if kind == "fault-set"}
    marks = {fault for entry in recorder.entries for fault, did, _ in entry.acts if did in asked[fault]["leaves"]}
    assert asked.keys() == marks


def send(core: Core, index: dict[bytes, int], now: int, frame: bytes) -> None:
    core.release(now)
    core.receive(index[frame[6:12]], frame, now)
