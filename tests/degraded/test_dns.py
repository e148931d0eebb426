"""Names on a degraded network: getaddrinfo(3), which blocks a thread of a pool, and a resolver that speaks DNS itself.

RFC 1035, 4.2.1: over UDP a question may be lost, and the resolver asks again. The C library waits a second before that
(resolv.conf(5): timeout), and a thread with it; our own resolver waits as long as it was told, and blocks nobody.
"""

from __future__ import annotations

from tests.degraded.judge import Judge, Judged


def seconds(judged: Judged) -> float:
    """From the first question to the last answer."""
    times = [line["t"] for line in judged.journal("dns-client-1") if line["op"] in ("lookup", "resolve")]
    return (max(times) - min(times)) / 1e9


def test_every_name_is_found_in_spite_of_losses(judge: Judge) -> None:
    """Almost every third packet (not one: 2 x 0.7^120 < 1e-18); each name is asked for until it is found."""
    judge("""
        workload: [dns: {how: resolve, count: 60, timeout: 200ms, retries: 9, concurrency: 9}]
        faults: [{on: client<->dns-server, for: 1s, loss: 30%}]
        checks: [dns]
    """)


def test_a_lookup_waits_a_second_for_what_was_lost(judge: Judge) -> None:
    """The first question of each of three names is lost: the C library sends it again after its own second."""
    judged = judge("""
        workload: [dns: {how: lookup, names: [client], count: 1, timeout: 20s, family: 4}]
        faults: [{on: client->dns-server, drop: {which: first}}]
        checks: [dns]
    """)
    assert seconds(judged) >= 1.0


def test_a_small_pool_makes_lookups_wait_for_each_other(judge: Judge) -> None:
    """Answers take 200 ms. Two threads find twenty names in ten rounds; the resolver asks for all twenty at once."""
    workload = "names: [client, dns-server], count: 20, concurrency: 20, timeout: 20s, family: 4"
    took = {}
    for how, more in (("lookup", ", threads: 2"), ("resolve", "")):
        took[how] = seconds(
            judge(f"""
                workload: [dns: {{how: {how}, {workload}{more}}}]
                faults: [{{on: dns-server->client, latency: 200ms}}]
                checks: [dns]
            """)
        )
    assert took["lookup"] >= 2.0
    assert took["resolve"] < took["lookup"]


def test_a_question_in_two_families_is_two(judge: Judge) -> None:
    """family: both asks for A and AAAA (RFC 3596, 2.1), and each is a packet that may be lost by itself."""
    judged = judge("""
        workload: [dns: {how: resolve, names: [client, dns-server], count: 2, family: both}]
        faults: [{on: client->dns-server, latency: 5ms}]
        checks: [dns]
    """)
    asked = [line for line in judged.journal("dns-server") if line["op"] == "query" and line["phase"] == "invoke"]
    assert sorted(line["qtype"] for line in asked) == ["A", "A", "AAAA", "AAAA"]


def test_names_are_found_again_when_a_cut_ends(judge: Judge) -> None:
    """Nothing gets through for a second; what was asked meanwhile is asked again, and found when that is over."""
    judge("""
        workload: [dns: {how: resolve, count: 60, pace: 40ms, timeout: 500ms, retries: 9, concurrency: 60}]
        faults: [{on: client->dns-server, at: 300ms, for: 1s, partition: true}]
        checks: [dns, healed]
    """)
