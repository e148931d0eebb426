"""What `lab compare` measures, on a history made by hand: five messages, one a ms, of which the third is lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from faultlab.errors import LabFailure
from faultlab.evidence.run_evidence import Evidence
from faultlab.faults import Drop, Match
from faultlab.running import compare

from tests.support.virtual_wire import MS, TO_UDP, udp
from tests.unit.checks.histories import line, record, write_journal

SENT = [b"msg-0-%d-" % n + bytes(12) for n in range(5)]


@pytest.fixture
def history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each message takes 1 ms, but the fourth takes 3; the fifth comes before it; the third never."""
    monkeypatch.setattr(compare, "MESSAGES", 5)
    monkeypatch.setattr(compare, "SIZE_BYTES", 20)
    client = [line("message", "invoke", n=n, data=data, t=n * MS) for n, data in enumerate(SENT)]
    client += [line("message", "ok", n=n, data=SENT[n], t=10 * MS) for n in (0, 1, 3, 4)]
    came = [(0, 1), (1, 2), (4, 5), (3, 6)]
    server = [line("datagram", "invoke", n=at, data=SENT[n], t=t * MS) for at, (n, t) in enumerate(came)]
    write_journal(tmp_path, "journal-udp-client-1.jsonl", client)
    write_journal(tmp_path, "journal-udp-server.jsonl", server)
    record(tmp_path, [udp(data) for data in SENT], [(TO_UDP, Drop(match=Match(payload="msg-0-2-")))])
    return tmp_path


def test_measures(history: Path) -> None:
    measured = compare.measure_run(Evidence(history), "udp", 20)
    assert measured == compare.Measured(
        protocol="udp",
        loss_percent=20,
        round_trips=0.0,
        cost=5 * len(udp(SENT[0])) / (20 * (4 + 4)),
        delivered=0.8,
        in_order=0.6,
        p50_ms=1.0,
        p99_ms=3.0,
        behind_a_loss_ms=3.0,
        seconds=0.006,
    )


def test_shows_them_as_a_table(history: Path) -> None:
    rows = compare.comparison_table([compare.measure_run(Evidence(history), "udp", 20)]).splitlines()
    assert len({row.count("|") for row in rows}) == 1
    assert rows[-1] == "| UDP | 20 % | 0.0 | 1.94 | 80.0% | 60.0% | 1 ms | 3 ms | 3 ms | 0.0 s |"


def test_nothing_arrived_is_said(history: Path) -> None:
    write_journal(history, "journal-udp-server.jsonl", [])
    with pytest.raises(LabFailure, match="udp at 20% loss: no message arrived"):
        compare.measure_run(Evidence(history), "udp", 20)


@pytest.mark.parametrize("protocol", compare.PROTOCOLS)
@pytest.mark.parametrize("loss", [*compare.LOSSES_PERCENT, 0.5])
def test_each_row_is_a_scenario(protocol: str, loss: float) -> None:
    faults = compare.scenario(protocol, loss).entries
    assert len(faults[0].model_dump()["faults"]) == (2 if loss else 1)
