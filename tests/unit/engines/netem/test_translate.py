"""Faults to netem's options, on literals; and every refusal names the fault, the path and the way out."""

from __future__ import annotations

import pytest
from faultlab.engines.netem.options import QUEUE_PACKETS, Burst, Netem
from faultlab.engines.netem.translate import translate
from faultlab.errors import UsageError
from faultlab.faults import (
    Blackhole,
    BurstLoss,
    Corrupt,
    Cut,
    Drop,
    Duplicate,
    Fault,
    Flap,
    Latency,
    Loss,
    Match,
    Partition,
    Rate,
    Rebind,
    Reorder,
    Reset,
)

PATH = "client->tcp-server"
MS = 1_000_000
TEN_MS = Latency(delay_ms=10)


@pytest.mark.parametrize(
    ("faults", "netem"),
    [
        ([], Netem()),
        ([Latency(delay_ms=50)], Netem(delay=50 * MS)),
        (
            [Latency(delay_ms=50, jitter_ms=5, distribution="pareto", correlation_percent=25)],
            Netem(delay=50 * MS, jitter=5 * MS, distribution="pareto", delay_correlation=0.25),
        ),
        ([Loss(percent=5)], Netem(loss=0.05)),
        (
            [BurstLoss(enter_percent=1, leave_percent=20, bad_loss_percent=90, good_loss_percent=2)],
            Netem(burst=Burst(to_bad=0.01, to_good=0.2, loss_in_bad=0.9, loss_in_good=0.02)),
        ),
        ([Duplicate(percent=10)], Netem(duplicate=0.1)),
        ([TEN_MS, Reorder(percent=25, gap=4)], Netem(delay=10 * MS, reorder=0.25, gap=4)),
        ([Corrupt(percent=1)], Netem(corrupt=0.01)),
        ([Rate(rate_kbit=800)], Netem(rate=100_000, limit=1000)),
        ([Rate(rate_kbit=800, limit_packets=20)], Netem(rate=100_000, limit=20)),
        ([Loss(percent=1), TEN_MS, Duplicate(percent=2)], Netem(loss=0.01, delay=10 * MS, duplicate=0.02)),
        ([Partition()], Netem(loss=1.0)),
        ([Partition(), Duplicate(percent=50), TEN_MS], Netem(loss=1.0)),
    ],
    ids=lambda value: ", ".join(one.describe() for one in value) or "none" if isinstance(value, list) else "",
)
def test_faults_become_options(faults: list[Fault], netem: Netem) -> None:
    assert translate(PATH, faults) == netem


def test_a_rate_behind_a_delay_has_room_for_what_the_delay_holds() -> None:
    netem = translate(PATH, [Rate(rate_kbit=8000), Latency(delay_ms=54)])
    assert netem.limit == 1000 + 1000  # 1 MB/s for 54 ms are 1,000 frames of 54 bytes
    assert translate(PATH, [Rate(rate_kbit=1e6), Latency(delay_ms=5000)]).limit == 1000 + QUEUE_PACKETS


@pytest.mark.parametrize(
    ("faults", "why"),
    [
        ([Loss(nth=3)], "by chance alone"),
        ([Loss(every=3)], "by chance alone"),
        ([Duplicate(every=3)], "by chance alone"),
        ([Corrupt(nth=(1, 2))], "by chance alone"),
        ([Loss(percent=5, match=Match(protocol="tcp", port=8080))], "can't select by protocol tcp, port 8080"),
        ([Partition(match=Match(protocol="udp"))], "can't select by protocol udp"),
        ([Latency(trace=(1.0, 2.0))], "trace"),
        ([Duplicate(percent=5, copies=2)], "one copy"),
        ([Corrupt(percent=5, bits=2)], "one bit"),
        ([Corrupt(percent=5, checksum="fixed")], "mend checksums"),
        ([Reorder(hold=3)], "hold a packet"),
        ([Reorder(percent=5)], "add latency"),
        ([Loss(percent=5), BurstLoss(enter_percent=1, leave_percent=20)], "one loss model"),
        ([Rate(rate_kbit=100, burst_bytes=9000)], "no burst"),
        ([Rate(rate_kbit=100, limit_bytes=9000)], "counts packets"),
        ([Rate(rate_kbit=100, limit_packets=9), TEN_MS], "one queue"),
        ([Drop(match=Match(tcp="syn+ack"))], "no such fault"),
        ([Flap(up_ms=10, down_ms=10)], "no such fault"),
        ([Blackhole(above_bytes=1000)], "no such fault"),
        ([Reset()], "no such fault"),
        ([Cut(every=13)], "no such fault"),
        ([Rebind()], "no such fault"),
    ],
    ids=lambda value: value if isinstance(value, str) else "+".join(one.kind for one in value),
)
def test_what_netem_can_t_do_is_refused_by_name(faults: list[Fault], why: str) -> None:
    with pytest.raises(UsageError) as caught:
        translate(PATH, faults)
    message = str(caught.value)
    assert any(f"engine netem can't do {fault.describe()!r} on {PATH}: " in message for fault in faults)
    assert why in message
    assert message.endswith("use --engine wire")
    assert "\n" not in message
