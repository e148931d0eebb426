"""Kernel netem as the lab's engine: what was asked, what the applications saw, and what the inferred ledger says.

Bounds for random faults are binomial, wide enough for one wrong alarm in 10^9 runs or less; the seed fixes them anyway
where the kernel takes it.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from itertools import pairwise
from math import sqrt

import pytest
from faultlab.errors import UsageError
from faultlab.faults import BurstLoss, Corrupt, Drop, Duplicate, Fault, Latency, Loss, Match, Partition, Rate, Reorder
from faultlab.network.packets import ETHERNET_HEADER, with_checksums

from tests.netem.conftest import MS, Bench, Evidence

PATH, BACK, OTHER = "a->b", "b->a", "c->b"
MTU_FRAME = 1514


def about(share: float, of: int) -> Callable[[int], bool]:
    """Within 6.5 standard deviations of a binomial count."""
    spread = 6.5 * sqrt(of * share * (1 - share))
    return lambda count: abs(count - share * of) <= spread


def agrees(evidence: Evidence, received: list[tuple[int, int]]) -> None:
    """The ledger says what the receiver saw, netem's counters say what the ledger says, and nothing is amiss."""
    assert evidence.notes["warning"] == []
    assert evidence.notes["run"][0]["inferred"] is True
    assert sum(len(packet.delays_ms) for packet in evidence.on(PATH)) == len(received)
    assert evidence.counted(PATH)["dropped"] == sum(packet.dropped for packet in evidence.on(PATH))


def test_latency_delays_by_what_was_asked(bench: Bench) -> None:
    bench.lab.set_faults(PATH, Latency(delay_ms=20))
    sent, received = bench.send(PATH)
    evidence = bench.down()
    agrees(evidence, received)
    measured = sorted((when - sent[number]) / MS for number, when in received)
    assert len(measured) == 100
    assert measured[0] >= 20
    assert evidence.delays(PATH)[0] >= 20
    assert evidence.median_delay(PATH) < 25
    assert evidence.with_effect(PATH, "delayed") == 100


def test_jitter_spreads_as_wide_as_asked(bench: Bench) -> None:
    bench.lab.set_faults(PATH, Latency(delay_ms=30, jitter_ms=10))
    _, received = bench.send(PATH, count=200)
    evidence = bench.down()
    agrees(evidence, received)
    delays = evidence.delays(PATH)
    assert delays[0] >= 20
    assert delays[10] < 25
    assert delays[-10] > 35
    assert abs(evidence.median_delay(PATH) - 30) < 5


def test_loss_takes_its_share(bench: Bench) -> None:
    bench.lab.set_faults(PATH, Loss(percent=20))
    _, received = bench.send(PATH, count=400, gap_ms=2)
    evidence = bench.down()
    agrees(evidence, received)
    assert about(0.2, 400)(evidence.with_effect(PATH, "dropped"))
    assert len(received) + evidence.with_effect(PATH, "dropped") == 400


def test_burst_loss_comes_in_bursts(bench: Bench) -> None:
    bench.lab.set_faults(PATH, BurstLoss(enter_percent=5, leave_percent=20))
    _, received = bench.send(PATH, count=500, gap_ms=2)
    evidence = bench.down()
    agrees(evidence, received)
    fates = [packet.dropped for packet in evidence.on(PATH)]
    starts = sum(now and not before for before, now in pairwise([False, *fates]))
    assert starts
    assert sum(fates) / starts > 2  # five on average; loss without bursts of the same share has 1.25


def test_duplicates_arrive_twice(bench: Bench) -> None:
    bench.lab.set_faults(PATH, Duplicate(percent=30))
    _, received = bench.send(PATH, count=300, gap_ms=2)
    evidence = bench.down()
    agrees(evidence, received)
    doubled = evidence.with_effect(PATH, "duplicated")
    assert about(0.3, 300)(doubled)
    assert len(received) == 300 + doubled


def test_reordered_packets_overtake(bench: Bench) -> None:
    bench.lab.set_faults(PATH, Latency(delay_ms=20), Reorder(percent=25))
    _, received = bench.send(PATH, count=300, gap_ms=2)
    evidence = bench.down()
    agrees(evidence, received)
    numbers = [number for number, _ in received]
    assert numbers != sorted(numbers)
    assert about(0.25, 300)(evidence.with_effect(PATH, "overtook"))
    assert evidence.with_effect(PATH, "overtook") + evidence.with_effect(PATH, "delayed") == 300


def test_corruption_changes_bytes_and_drops_none(bench: Bench) -> None:
    bench.lab.set_faults(PATH, Corrupt(percent=30))
    _, received = bench.send(PATH, count=300, gap_ms=2)
    evidence = bench.down()
    assert evidence.notes["warning"] == []
    changed = evidence.with_effect(PATH, "changed")
    assert about(0.3, 300)(changed)
    assert not any(packet.dropped for packet in evidence.on(PATH))
    assert 300 - changed <= len(received) < 300  # checksums find it, but for some bits of the headers


def test_rate_is_never_above_what_was_asked(bench: Bench) -> None:
    bench.lab.set_faults(PATH, Rate(rate_kbit=400))
    _, received = bench.send(PATH, count=60, gap_ms=1, size=458)
    evidence = bench.down()
    agrees(evidence, received)
    assert len(received) == 60
    seconds = (received[-1][1] - received[0][1]) / 1e9
    assert 59 * 500 * 8 / seconds <= 400_000 * 1.1  # the receiver may wake late for the first one
    assert evidence.with_effect(PATH, "delayed") == 60


def test_a_full_queue_drops_and_says_so(bench: Bench) -> None:
    bench.lab.set_faults(PATH, Rate(rate_kbit=400, limit_packets=10))
    _, received = bench.send(PATH, count=60, gap_ms=1, size=458)
    evidence = bench.down()
    agrees(evidence, received)
    assert evidence.with_effect(PATH, "dropped") > 20
    assert any("queue full" in act[2] for note in evidence.notes["acts"] for act in note["list"])


def test_a_partition_heals(bench: Bench) -> None:
    bench.lab.set_faults(PATH, Partition())
    _, nothing = bench.send(PATH, count=20)
    bench.lab.clear_faults(PATH)
    _, everything = bench.send(PATH, count=20)
    evidence = bench.down()
    assert nothing == []
    assert len(everything) == 20
    agrees(evidence, everything)
    assert evidence.with_effect(PATH, "dropped") == 20
    assert [note["id"] for note in evidence.notes["fault-cleared"]] == ["f1"]


def test_a_change_leaves_no_moment_without_a_fault(bench: Bench) -> None:
    bench.lab.set_faults(PATH, Partition())
    with bench.flow(PATH, count=400, gap_ms=2) as flow:
        for number in range(1000):
            bench.lab.set_faults(PATH, Loss(percent=100) if number % 2 else Partition())
            if not flow.running:
                break
        _, received = flow.results()
    evidence = bench.down()
    assert received == []
    assert len(evidence.notes["fault-set"]) > 1
    agrees(evidence, received)


def test_a_change_forgets_every_option_of_the_fault_before(bench: Bench) -> None:
    everything = (
        Latency(delay_ms=5, jitter_ms=5, distribution="normal", correlation_percent=50),
        Reorder(percent=50),
        Corrupt(percent=100),
        Rate(rate_kbit=100),
        Loss(percent=50),
        Duplicate(percent=50),
    )
    bench.lab.set_faults(PATH, *everything)
    bench.lab.set_faults(PATH, Latency(delay_ms=10))
    _, received = bench.send(PATH, count=50)
    evidence = bench.down()
    agrees(evidence, received)
    assert [number for number, _ in received] == list(range(50))
    assert all(packet.effects == {"delayed"} for packet in evidence.on(PATH))
    assert 10 <= evidence.delays(PATH)[0] <= evidence.median_delay(PATH) < 15


def test_faults_end_by_themselves_after_their_time(bench: Bench) -> None:
    bench.lab.set_faults(PATH, Partition(), for_ms=150)
    deadline = time.monotonic() + 10
    while bench.lab.faults():
        assert time.monotonic() < deadline
    _, received = bench.send(PATH, count=10)
    evidence = bench.down()
    agrees(evidence, received)
    assert len(received) == 10
    [begin], [end] = (evidence.notes[kind] for kind in ("fault-set", "fault-cleared"))
    assert 150 <= (end["t"] - begin["t"]) / MS < 1000


def test_only_the_faulted_path_is_touched_and_both_ip_versions_alike(bench: Bench) -> None:
    bench.lab.set_faults(PATH, Latency(delay_ms=20))
    for path in (PATH, BACK, OTHER):
        for version in ("ipv4", "ipv6"):
            _, received = bench.send(path, count=10, version=version)
            assert len(received) == 10
    evidence = bench.down()
    assert len(evidence.on(PATH)) == len(evidence.on(OTHER)) == 20
    assert evidence.delays(PATH)[0] >= 20
    assert max(evidence.median_delay(BACK), evidence.median_delay(OTHER)) < 5
    assert {packet.label.split()[0] for packet in evidence.on(PATH)} == {"udp", "udp6"}


def test_two_paths_to_one_node_have_their_own_faults(bench: Bench) -> None:
    bench.lab.set_faults(OTHER, Latency(delay_ms=20))
    bench.lab.clear_faults(OTHER)
    bench.lab.set_faults(PATH, Duplicate(percent=100))
    _, received = bench.send(PATH, count=20)
    _, plain = bench.send(OTHER, count=20)
    agrees(bench.down(), received)
    assert (len(received), len(plain)) == (40, 20)


@pytest.mark.parametrize(
    "fault",
    [Loss(nth=3), Drop(match=Match(tcp="syn")), Loss(percent=5, match=Match(port=80))],
    ids=lambda one: one.kind,
)
def test_a_fault_that_netem_can_t_do_is_refused_and_nothing_changes(bench: Bench, fault: Fault) -> None:
    bench.lab.set_faults(PATH, Latency(delay_ms=20))
    with pytest.raises(UsageError, match=r"engine netem can't do .* on a->b: .*; use --engine wire"):
        bench.lab.set_faults(PATH, fault)
    assert bench.lab.faults() == {PATH: (Latency(delay_ms=20),)}


def test_no_frame_is_larger_than_the_link_or_lacks_its_checksum(bench: Bench) -> None:
    program = """
import socket, sys
end = socket.create_server(("", 9001)) if sys.argv[1] == "take" else None
if end is not None:
    print("ready", flush=True)
    peer, _ = end.accept()
    print(sum(iter(lambda: len(peer.recv(65536)), 0)))
else:
    with socket.create_connection((sys.argv[2], 9001)) as peer:
        peer.sendall(bytes(300_000))
"""
    taker = bench.lab.popen("b", ["python", "-c", program, "take"], stdout=subprocess.PIPE, text=True)
    assert taker.stdout is not None
    assert taker.stdout.readline() == "ready\n"
    give = ["python", "-c", program, "give", bench.addresses["b"]["ipv4"]]
    assert bench.lab.exec("a", give).returncode == 0
    assert taker.communicate()[0] == "300000\n"
    evidence = bench.down()
    for side in ("sent", "delivered"):
        frames = evidence.frames(side)
        assert max(map(len, frames)) == MTU_FRAME
        assert all(with_checksums(frame) == frame for frame in frames if len(frame) > ETHERNET_HEADER)
    assert evidence.notes["warning"] == evidence.notes["stray"] == []


def test_the_same_seed_drops_the_same_packets(
    run_twice: Callable[[Callable[[Bench], None]], list[Evidence]],
) -> None:
    def work(bench: Bench) -> None:
        bench.lab.set_faults(PATH, Loss(percent=50))
        bench.send(PATH)

    first, second = run_twice(work)
    if not first.notes["seed"][0]["seeded"]:
        pytest.skip("this kernel's netem takes no seed (before 6.6)")
    drops = [[packet.ordinal for packet in one.on(PATH) if packet.dropped] for one in (first, second)]
    assert drops[0] == drops[1]
    assert 20 < len(drops[0]) < 80


def test_jitter_before_a_rate_reorders_nothing(bench: Bench) -> None:
    """With a rate, sch_netem sends no packet before the last in its queue; the wire means the same."""
    bench.lab.set_faults(PATH, Latency(delay_ms=20, jitter_ms=10), Rate(rate_kbit=20_000))
    _, received = bench.send(PATH, count=300, gap_ms=2)
    evidence = bench.down()
    agrees(evidence, received)
    assert [number for number, _ in received] == list(range(300))


def test_what_reorder_sends_ahead_skips_the_rate_too(bench: Bench) -> None:
    """At 50 kbit/s a frame of 142 bytes takes 23 ms, so that three in four of a burst wait for long."""
    bench.lab.set_faults(PATH, Latency(delay_ms=50), Rate(rate_kbit=50), Reorder(percent=100, gap=4))
    _, received = bench.send(PATH, count=40, gap_ms=1)
    bench.down()
    order = [number for number, _ in received]
    assert sorted(order) == list(range(40))
    ahead = [number for number in range(40) if number % 4 == 3]
    assert [number for number in order if number in ahead] == ahead
    assert order.index(39) < order.index(10)
