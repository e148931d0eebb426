"""Accounting for datagrams, proof of faults, and the smaller checks: passed, failed, nothing seen."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from faultlab.checks import CHECKS, Verdict, run_check, worst
from faultlab.errors import UsageError
from faultlab.evidence.run_evidence import Evidence
from faultlab.faults import Blackhole, Corrupt, Drop, Duplicate, Fault, Latency, Loss, Match, Rate, Reorder

from tests.support.virtual_wire import CLIENT, MS, TO_UDP, UDP_SERVER, udp
from tests.unit.checks.histories import (
    CLIENT_JOURNAL,
    MESSAGES,
    TCP,
    UDP,
    TcpHistory,
    datagrams,
    line,
    record,
    udp_history,
    write_journal,
)

PATH = "client->udp-server"


def udp_verdict(evidence: Evidence) -> Verdict:
    return run_check("udp_accounting", {}, evidence).verdict


@pytest.mark.parametrize(
    "fault", [None, Loss(nth=(2, 4)), Duplicate(every=2), Corrupt(nth=1), Corrupt(nth=1, checksum="fixed")]
)
def test_datagrams_that_are_explained(fault: Fault | None, tmp_path: Path) -> None:
    faults = [(PATH, fault)] if fault is not None else []
    broken = isinstance(fault, Corrupt) and fault.checksum == "broken"
    received = MESSAGES[1:] if broken else None
    assert udp_verdict(udp_history(tmp_path, faults=faults, received=received)) == Verdict.PASS


@pytest.mark.parametrize(
    "received",
    [MESSAGES[:4], (*MESSAGES, MESSAGES[0]), (*MESSAGES[:4], b"other")],
    ids=["one less", "one twice", "another"],
)
def test_datagrams_that_nothing_explains(received: Sequence[bytes], tmp_path: Path) -> None:
    assert udp_verdict(udp_history(tmp_path, received=received)) == Verdict.FAIL


@pytest.mark.parametrize(("end", "verdict"), [(None, Verdict.INCONCLUSIVE), ("ok", Verdict.FAIL)])
@pytest.mark.parametrize("last", ["invoke", "ok"])
def test_what_a_killed_client_did_last_is_not_known(
    last: str, end: str | None, verdict: Verdict, tmp_path: Path
) -> None:
    """Its datagram is on the wire, or the answer came to its node, and its journal ends before it says so."""
    back = [udp(data, port=41_234, to=20_000, source=UDP_SERVER, target=CLIENT) for data in MESSAGES]
    record(tmp_path, [*datagrams(MESSAGES), *back])
    received = [line("datagram", "invoke", n=n, data=data) for n, data in enumerate(MESSAGES)]
    write_journal(tmp_path, UDP.server_journal, received)
    told = [line("message", phase, n=n, data=data) for n, data in enumerate(MESSAGES) for phase in ("invoke", "ok")]
    told = told[:-1] if last == "ok" else [*told[:-2], line("message", "duplicate", data=MESSAGES[-1])]
    write_journal(tmp_path, UDP.client_journal, told, end=end)
    assert udp_verdict(Evidence(tmp_path, (UDP,))) == verdict


@pytest.mark.parametrize(
    "faults",
    [
        [Loss(nth=2)],
        [Drop(match=Match(payload="message 3"))],
        [Duplicate(nth=1)],
        [Corrupt(nth=3)],
        [Latency(delay_ms=7)],
        [Reorder(hold=2, passes=2)],
        [Reorder(percent=50), Latency(delay_ms=5)],
        [Rate(rate_kbit=100)],
        [Blackhole(above_bytes=70)],
    ],
    ids=lambda faults: faults[0].describe(),
)
def test_each_effect_is_seen_in_the_captures(faults: list[Fault], tmp_path: Path) -> None:
    record(tmp_path, datagrams(MESSAGES * 20), [(TO_UDP, fault) for fault in faults])
    result = run_check("fault_seen", {"expected": len(faults)}, Evidence(tmp_path))
    assert result.verdict == Verdict.PASS, result
    assert run_check("ledger", {}, Evidence(tmp_path)).verdict == Verdict.PASS


def test_a_fault_that_never_acted_is_inconclusive(tmp_path: Path) -> None:
    record(tmp_path, datagrams(MESSAGES), [(TO_UDP, Drop(match=Match(payload="never said")))])
    assert run_check("fault_seen", {"expected": 1}, Evidence(tmp_path)).verdict == Verdict.INCONCLUSIVE


def test_a_fault_that_was_never_set_is_inconclusive(tmp_path: Path) -> None:
    record(tmp_path, datagrams(MESSAGES))
    assert run_check("fault_seen", {"expected": 1}, Evidence(tmp_path)).verdict == Verdict.INCONCLUSIVE


def test_an_engine_that_did_not_end_as_it_should_is_told_with_its_reason(tmp_path: Path) -> None:
    record(tmp_path, datagrams(MESSAGES))
    (tmp_path / "end.json").write_text('{"reason": "stopped", "failed": "the netem process ended"}')
    result = run_check("ledger", {}, Evidence(tmp_path))
    assert result.verdict == Verdict.INCONCLUSIVE
    assert "the netem process ended" in result.findings[0].text


def test_the_ledger_s_word_alone_is_no_proof(tmp_path: Path) -> None:
    """The captures are of a run without the drop that the ledger claims."""
    honest, lying = tmp_path / "honest", tmp_path / "lying"
    for folder, faults in ((honest, []), (lying, [(TO_UDP, Loss(nth=2))])):
        folder.mkdir()
        record(folder, datagrams(MESSAGES), faults)
    (lying / "delivered.pcapng").write_bytes((honest / "delivered.pcapng").read_bytes())
    evidence = Evidence(lying)
    assert run_check("fault_seen", {"expected": 1}, evidence).verdict == Verdict.INCONCLUSIVE
    assert run_check("ledger", {}, evidence).verdict == Verdict.FAIL


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("handshake", {"at_most_ms": 50}, Verdict.PASS),
        ("handshake", {"at_least_ms": 50}, Verdict.FAIL),
        ("retransmissions", {"at_most": 0}, Verdict.PASS),
        ("retransmissions", {"at_least": 1}, Verdict.FAIL),
        ("delay", {"path": "client->tcp-server", "at_most_ms": 1}, Verdict.PASS),
        ("delay", {"path": "client->tcp-server", "at_least_ms": 1}, Verdict.FAIL),
        ("delay", {"path": "tcp-server->udp-server"}, Verdict.INCONCLUSIVE),
        ("rate", {"path": "client->tcp-server", "at_most_kbit": 10_000}, Verdict.PASS),
        ("rate", {"path": "client->tcp-server", "at_most_kbit": 8, "burst_bytes": 100}, Verdict.FAIL),
        ("rate", {"path": "tcp-server->udp-server", "at_most_kbit": 8}, Verdict.INCONCLUSIVE),
        ("healed", {}, Verdict.INCONCLUSIVE),
        ("dns", {}, Verdict.INCONCLUSIVE),
        ("udp_accounting", {}, Verdict.INCONCLUSIVE),
    ],
)
def test_the_smaller_checks_on_a_good_connection(
    name: str, options: dict[str, Any], expected: Verdict, tmp_path: Path
) -> None:
    assert run_check(name, options, TcpHistory().write(tmp_path)).verdict == expected


@pytest.mark.parametrize("name", CHECKS)
def test_an_empty_folder_proves_nothing(name: str, tmp_path: Path) -> None:
    options = {"delay": {"path": "a->b"}, "rate": {"path": "a->b", "at_most_kbit": 8}}.get(name, {})
    assert run_check(name, options, Evidence(tmp_path)).verdict == Verdict.INCONCLUSIVE


@pytest.mark.parametrize("name", ["sent.pcapng", "delivered.pcapng", "ledger.bin"])
def test_a_truncated_file_proves_nothing(name: str, tmp_path: Path) -> None:
    record(tmp_path, datagrams(MESSAGES))
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[:-3])
    assert run_check("ledger", {}, Evidence(tmp_path)).verdict == Verdict.INCONCLUSIVE


def test_frames_that_the_engine_never_saw_prove_nothing(tmp_path: Path) -> None:
    record(tmp_path, datagrams(MESSAGES))
    (tmp_path / "end.json").write_text('{"reason": "stopped", "lost_before_wire": {}}')
    assert run_check("ledger", {}, Evidence(tmp_path)).verdict == Verdict.PASS
    (tmp_path / "end.json").write_text('{"reason": "stopped", "lost_before_wire": {"client": 186442}}')
    result = run_check("ledger", {}, Evidence(tmp_path))
    said = "186442 frames of client were lost before the engine saw them"
    assert (result.verdict, result.summary) == (Verdict.INCONCLUSIVE, said)


@pytest.mark.parametrize("name", ["reliability", "ordering", "framing"])
def test_why_nothing_was_sent_is_said(name: str, tmp_path: Path) -> None:
    """Of the clients' own errors, counted; the most frequent ones where there are many."""
    record(tmp_path, datagrams(MESSAGES))
    refused = [
        {"op": "connect", "phase": "fail", "conn": 1 + n, "n": None, "why": why}
        for n, why in enumerate(["Connection refused"] * 3 + ["No route to host", "a", "b", "c"])
    ]
    write_journal(tmp_path, CLIENT_JOURNAL, refused)
    write_journal(tmp_path, "journal-tcp-server.jsonl", [])
    told = run_check(name, {}, Evidence(tmp_path, (replace(TCP, connections=7),)))
    assert told.verdict == Verdict.INCONCLUSIVE
    words = "; the clients' errors: 3x Connection refused, 1x No route to host, 1x a, and 2 other kinds"
    assert words in str(told.findings)


def test_what_the_kernel_dropped_is_said_of_what_did_not_come(tmp_path: Path) -> None:
    """Its words go with what was delivered and not received, and with the ledger's; the verdicts stay what they are."""
    evidence = udp_history(tmp_path, received=MESSAGES[:4])
    dropped = {"udp-server": {"UdpRcvbufErrors": 1}, "client": {"UdpMemErrors": 2}}
    (tmp_path / "end.json").write_text(json.dumps({"reason": "stopped", "dropped_by_kernel": dropped}))
    of_server = (
        "; the kernel of udp-server dropped, after delivery, 1 (UdpRcvbufErrors: the socket's receive buffer was full)"
    )
    of_client = "; the kernel of client dropped, after delivery, 2 (UdpMemErrors: UDP had used up its memory)"
    accounting = run_check("udp_accounting", {}, evidence)
    assert accounting.verdict == Verdict.FAIL
    assert accounting.findings[0].text.endswith(f"received by it 0 times{of_server}")
    ledger = run_check("ledger", {}, evidence)
    assert (ledger.verdict, ledger.summary.endswith(f"captures agree{of_server}{of_client}")) == (Verdict.PASS, True)


def test_why_nothing_was_answered_is_said_of_datagrams(tmp_path: Path) -> None:
    """An ICMP error is no datagram's own: the socket has it (udp(7))."""
    evidence = udp_history(tmp_path)
    with (tmp_path / UDP.client_journal).open("a") as journal:
        noted = {"t": 1, "op": "socket", "phase": "note", "conn": 0, "n": None, "why": "Connection refused"}
        journal.write(json.dumps(noted) + "\n")
    assert run_check("udp_accounting", {}, evidence).summary.endswith("; the clients' errors: 1x Connection refused")


def test_no_such_check_and_bad_options_are_the_user_s() -> None:
    with pytest.raises(UsageError, match="no check"):
        run_check("nothing", {}, Evidence(Path()))
    with pytest.raises(UsageError, match="handshake"):
        run_check("handshake", {"at_lest": 1}, Evidence(Path()))


def test_the_worst_verdict_wins() -> None:
    assert worst([Verdict.PASS, Verdict.INCONCLUSIVE]) == Verdict.INCONCLUSIVE
    assert worst([Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS]) == Verdict.FAIL
    assert worst([]) == Verdict.INCONCLUSIVE


@pytest.mark.parametrize("name", ["tcp-server", "TCP-Server", "Tcp-Server.LAB", "tcp-server.Lab."])
@pytest.mark.parametrize(
    ("end", "expected"),
    [
        ({"phase": "ok", "addresses": ["10.77.0.3"]}, Verdict.PASS),
        ({"phase": "ok", "addresses": ["10.77.0.9"]}, Verdict.FAIL),
        ({"phase": "ok", "addresses": []}, Verdict.FAIL),
        ({"phase": "fail", "why": "no such name"}, Verdict.FAIL),
        ({"phase": "unknown", "why": "no answer in time"}, Verdict.INCONCLUSIVE),
    ],
    ids=["right", "wrong address", "no address", "not found", "no answer"],
)
def test_dns_answers(end: dict[str, Any], expected: Verdict, name: str, tmp_path: Path) -> None:
    """Names that differ in case are one (RFC 4343)."""
    record(tmp_path, datagrams(MESSAGES))
    asked = {"op": "resolve", "conn": None, "n": 0, "why": None}
    lines = [{**asked, "phase": "invoke", "name": name}, {**asked, **end}]
    write_journal(tmp_path, "journal-dns-client-1.jsonl", lines)
    workload = replace(UDP, kind="dns", client_journal="journal-dns-client-1.jsonl")
    assert run_check("dns", {}, Evidence(tmp_path, (workload,))).verdict == expected


@pytest.mark.parametrize(
    ("end", "expected"),
    [("ok", Verdict.PASS), ("unknown", Verdict.INCONCLUSIVE), ("fail", Verdict.FAIL)],
)
def test_each_datagram_may_have_to_be_answered(end: str, expected: Verdict, tmp_path: Path) -> None:
    """The last of five ends so; without the option UDP promises no answer, and none is asked for."""
    evidence = udp_history(tmp_path)
    lines = [line("message", "invoke", n=number, data=data) for number, data in enumerate(MESSAGES)]
    lines += [line("message", "ok", n=number, data=data) for number, data in enumerate(MESSAGES[:4])]
    lines += [line("message", "note", n=None, data=b"Message Received")]
    lines += [line("message", end, n=4, data=MESSAGES[4], why="why")]
    write_journal(tmp_path, UDP.client_journal, lines)
    assert run_check("udp_accounting", {"all_answered": True}, evidence).verdict == expected
    assert run_check("udp_accounting", {}, evidence).verdict == Verdict.PASS


@pytest.mark.parametrize(("closed_ms", "expected"), [(3, Verdict.PASS), (30, Verdict.FAIL)])
def test_an_answer_that_comes_too_late_is_nobody_s_to_receive(
    closed_ms: int, expected: Verdict, tmp_path: Path
) -> None:
    """The answer is delivered after 7 ms; a client that had closed its socket by then can't have received it."""
    answer = udp(MESSAGES[0], source=UDP_SERVER, target=CLIENT, port=41_234, to=UDP.source_port or 0)
    record(tmp_path, [*datagrams(MESSAGES[:1]), answer], [("udp-server->client", Latency(delay_ms=5))])
    lines = [line("message", "invoke", n=0, data=MESSAGES[0]), line("message", "unknown", n=0)]
    lines += [line("socket", "note", why="closed", t=closed_ms * MS)]
    write_journal(tmp_path, UDP.client_journal, lines)
    write_journal(tmp_path, UDP.server_journal, [line("datagram", "invoke", n=0, data=MESSAGES[0])])
    assert run_check("udp_accounting", {}, Evidence(tmp_path, (UDP,))).verdict == expected


def test_healing_waits_for_toxics_too(tmp_path: Path) -> None:
    """Messages leave at 2 to 6 ms; the toxic was gone after 4 or after 40."""
    evidence = TcpHistory().write(tmp_path)
    for cleared_ms, expected in ((4, Verdict.PASS), (40, Verdict.INCONCLUSIVE)):
        healed = replace(evidence, toxics=({"cleared_t": cleared_ms * MS},))
        assert run_check("healed", {}, healed).verdict == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [({}, Verdict.PASS), ({"at_least_ms": 40}, Verdict.PASS), ({"at_most_ms": 39}, Verdict.FAIL)],
)
def test_other_jobs_of_the_pool(options: dict[str, Any], expected: Verdict, tmp_path: Path) -> None:
    """One is done at once, one after 40 ms."""
    lines = [line("job", "invoke", n=0, t=0), line("job", "ok", n=0, t=0), line("job", "invoke", n=1, t=10 * MS)]
    lines += [line("job", "unknown", n=1, t=50 * MS, why="stopped")]
    write_journal(tmp_path, "journal-dns-client-1.jsonl", lines)
    record(tmp_path, [])
    workload = replace(UDP, kind="dns", client_journal="journal-dns-client-1.jsonl")
    assert run_check("pool", options, Evidence(tmp_path, (workload,))).verdict == expected
    assert run_check("pool", options, Evidence(tmp_path)).verdict == Verdict.INCONCLUSIVE


@pytest.mark.parametrize(("status", "expected"), [(0, Verdict.PASS), (3, Verdict.FAIL), (None, Verdict.INCONCLUSIVE)])
def test_a_client_of_one_s_own(status: int | None, expected: Verdict, tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "command-client-1.txt").write_text("starting\nthe counter is wrong\n")
    workload = replace(UDP, name="command-client-1", kind="command", client_journal="", status=status)
    result = run_check("succeeds", {}, Evidence(tmp_path, (workload,)))
    assert result.verdict == expected
    assert (status == 3) == ("ended with 3: the counter is wrong" in result.summary)
