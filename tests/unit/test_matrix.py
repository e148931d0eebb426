"""The matrix: its cells are scenarios, named as asked, and each leaves time to heal."""

from __future__ import annotations

import pytest

from lab.errors import UsageError
from lab.matrix import Cell, cells
from lab.scenario import DnsWorkload

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
def test_goes_on_for_a_second_after_its_faults(cell: Cell) -> None:
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
