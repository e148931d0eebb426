"""What each check says of each of many histories, word by word: verdict, summary, findings and their places.

words.txt has it; of a history that is another with a difference, only what is said otherwise there. It is read by
people when it changes: `LAB_WORDS=write pytest tests/unit/checks/test_words.py` writes it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from faultlab.checks import CHECKS, CheckResult, run_check
from faultlab.engines.recorder import FileRecorder
from faultlab.engines.wire.core import Core
from faultlab.evidence.run_evidence import Evidence
from faultlab.faults import Corrupt, Drop, Duplicate, Fault, Latency, Loss, Match, Reorder

from tests.support.virtual_wire import ACK, CLIENT, MS, NODES, PSH, SYN, TCP_SERVER, UDP_SERVER, tcp, udp
from tests.unit.checks.histories import MESSAGES, TCP, UDP, TcpHistory, digest, line, record, udp_history, write_journal

WORDS = Path(__file__).parent / "words.txt"
OPTIONS: dict[str, dict[str, Any]] = {
    "delay": {"path": "client->tcp-server", "percentile": 99, "at_most_ms": 2},
    "rate": {"path": "client->tcp-server", "at_most_kbit": 8000},
    "retransmissions": {"at_least": 0, "at_most": 1},
    "udp_accounting": {"all_answered": True},
    "pool": {"at_least_ms": 5},
}
STRICT: dict[str, dict[str, Any]] = {
    "delay": {"path": "client->tcp-server", "at_least_ms": 1},
    "rate": {"path": "client->tcp-server", "at_most_kbit": 8, "burst_bytes": 200},
    "handshake": {"at_least_ms": 50, "at_most_ms": 60},
    "retransmissions": {"at_least": 1},
    "dns": {"all_answered": False},
    "fault_seen": {"expected": 2, "toxics": 1},
}
"""What "strict" histories are held to."""
GOOD = TcpHistory()
A, B, C, D, E = MESSAGES
Lines = list[dict[str, Any]]
NEEDED = {name: OPTIONS[name] for name in ("delay", "rate")}
LIKE = {"raw": "raw"} | dict.fromkeys(("udp", "healed", "jobs", "dns", "command", "ledger", "faults"), "udp")
"""Histories by how they are called, and the first of the kind that they are compared with."""


def own(history: TcpHistory, answers: Sequence[bytes]) -> Callable[[Path], Evidence]:
    """A server without a journal; what it answered is on the wire."""

    def write(folder: Path) -> Evidence:
        history.write(folder)
        frames, at = history._frames(), 5000
        for data in answers:
            payload = len(data).to_bytes(2, "big") + data
            frames.append(tcp(payload, PSH | ACK, seq=at, source=TCP_SERVER, target=CLIENT, port=8082, to=20_000))
            at += len(payload)
        for name in ("ledger.bin", "sent.pcapng", "delivered.pcapng"):
            (folder / name).unlink()
        record(folder, frames)
        return Evidence(folder, (replace(TCP, server_journal=""),))

    return write


def two(crossed: bool, target: str = "tcp-server") -> Callable[[Path], Evidence]:
    """Two connections of one message each; a proxy has ports of its own towards the server."""
    ports = (20_000, 20_001) if target == "tcp-server" else (50_007, 50_008)

    def write(folder: Path) -> Evidence:
        client: Lines = []
        server: Lines = []
        for conn, message in enumerate((A, B)):
            answer = (B, A)[conn] if crossed else message
            client += [
                line("connect", "ok", conn=conn, local=f"10.77.0.2:{20_000 + conn}", peer="x:8082"),
                line("message", "invoke", conn=conn, n=0, data=message),
                line("message", "ok" if answer == message else "fail", conn=conn, n=0, data=answer),
            ]
            server += [
                line("connection", "invoke", conn=conn, peer=f"10.77.0.2:{ports[conn]}"),
                line("frame", "invoke", conn=conn, n=0, data=message),
                line("connection", "ok", conn=conn),
            ]
        write_journal(folder, TCP.client_journal, client)
        write_journal(folder, TCP.server_journal, server)
        frames = []
        for port, message in zip(ports, (A, B), strict=True):
            frames += [tcp(flags=SYN, seq=999, port=port)]
            frames += [tcp(len(message).to_bytes(2, "big") + message, PSH | ACK, seq=1000, port=port)]
        record(folder, frames)
        return Evidence(folder, (replace(TCP, messages=1, connections=2, target=target),))

    return write


def raw(
    *, outcome: str = "ok", echoed: bytes = A, read: bytes | None = A, stray: bool = False, target: str = "tcp-server"
) -> Callable[[Path], Evidence]:
    """One message over raw TCP; `read` None: the server's end of it was never journaled."""

    def write(folder: Path) -> Evidence:
        client = [line("connect", "ok", local="10.77.0.2:20000", peer="x:8080")]
        client += [line("message", "invoke", n=0, data=A)]
        client += [line("message", outcome, n=0, data=None if outcome == "unknown" else A, why="because")]
        client += [line("message", "note", data=b"more")] if stray else []
        streams = {"sent_digest": digest(A), "echoed_digest": digest(echoed)}
        client += [line("close", "invoke"), line("close", "ok", **streams)]
        server = [line("connection", "invoke", peer="10.77.0.2:50007" if target == "toxiproxy" else "10.77.0.2:20000")]
        server += [] if read is None else [line("connection", "ok", received_digest=digest(read))]
        write_journal(folder, TCP.client_journal, client)
        write_journal(folder, TCP.server_journal, server)
        record(folder, [tcp(flags=SYN, seq=999, to=8080), tcp(A, PSH | ACK, seq=1000, to=8080)])
        return Evidence(folder, (replace(TCP, framing="raw", messages=1, port=8080, target=target),))

    return write


def echo(
    answers: Sequence[bytes],
    end: str = "unknown",
    got: Sequence[bytes] | None = None,
    faults: Sequence[tuple[str, Fault]] = (),
) -> Callable[[Path], Evidence]:
    """Two datagrams to an echo server that sends these answers; the client got them, or those of them."""

    def write(folder: Path) -> Evidence:
        asked = [udp(data, port=20_000) for data in (A, B)]
        back = [udp(data, source=UDP_SERVER, target=CLIENT, port=41_234, to=20_000) for data in answers]
        record(folder, [*asked, *back], faults)
        client = [line("message", "invoke", n=n, data=data) for n, data in enumerate((A, B))]
        left = [A, B]
        for answer in answers if got is None else got:
            if answer in left:
                left.remove(answer)
                client.append(line("message", "ok", n=(A, B).index(answer), data=answer))
            else:
                known = answer in (A, B)
                n = (A, B).index(answer) if known else None
                client.append(line("message", "duplicate" if known else "fail", n=n, data=answer))
        client += [line("message", end, n=(A, B).index(data), why="no answer") for data in left]
        write_journal(folder, UDP.client_journal, client)
        write_journal(
            folder, UDP.server_journal, [line("datagram", "invoke", n=n, data=d) for n, d in enumerate((A, B))]
        )
        return Evidence(folder, (replace(UDP, messages=2),))

    return write


def healing(kind: str, end: str, cleared_ms: int) -> Callable[[Path], Evidence]:
    """An operation that begins at 2 ms and ends so; the last toxic was gone at `cleared_ms`."""

    def write(folder: Path) -> Evidence:
        record(folder, [udp(A)])
        named = {"name": "client", "addresses": ["10.77.0.2"]}
        lines = [line("socket", "note"), line(kind, "invoke", n=0, **named), line(kind, end, n=0, why="late", **named)]
        write_journal(folder, "journal-dns-client-1.jsonl", lines)
        workload = replace(
            UDP, kind="dns" if kind != "message" else "other", client_journal="journal-dns-client-1.jsonl"
        )
        return Evidence(folder, (workload,), ({"cleared_t": cleared_ms * MS},))

    return write


def jobs(folder: Path) -> Evidence:
    record(folder, [udp(A)])
    lines = [
        line("job", "invoke", n=0),
        line("job", "ok", n=0),
        line("job", "invoke", n=1),
        line("job", "unknown", n=1),
    ]
    write_journal(folder, "journal-dns-client-1.jsonl", lines)
    return Evidence(folder, (replace(UDP, kind="dns", client_journal="journal-dns-client-1.jsonl"),))


def again(folder: Path) -> Evidence:
    """A segment that is sent twice, and another that goes back before it."""
    evidence = GOOD.write(folder)
    for name in ("ledger.bin", "sent.pcapng", "delivered.pcapng"):
        (folder / name).unlink()
    frames = GOOD._frames()
    record(folder, [*frames, frames[-1], frames[-2]], [("client->tcp-server", Latency(delay_ms=3))])
    return evidence


def cut_short(*names: str) -> Callable[[Path], Evidence]:
    def write(folder: Path) -> Evidence:
        GOOD.write(folder)
        for name in names:
            (folder / name).write_bytes((folder / name).read_bytes()[:-3])
        return Evidence(folder, (TCP,))

    return write


def noted(kind: str, **fields: Any) -> Callable[[Path], Evidence]:
    """The engine left a note."""

    def write(folder: Path) -> Evidence:
        GOOD.write(folder)
        recorder = FileRecorder(folder, NODES, {"seed": 1, "engine": "wire", "lab": "history"})
        core = Core(NODES, 1, recorder)
        core.receive(0, tcp(), MS)
        recorder.note(kind, **fields)
        recorder.close(strays=0)
        return Evidence(folder, (TCP,))

    return write


def faulty(*faults: Fault) -> Callable[[Path], Evidence]:
    """Ten datagrams under these faults."""

    def write(folder: Path) -> Evidence:
        record(folder, [udp(data) for data in MESSAGES * 2], [("client->udp-server", fault) for fault in faults])
        return Evidence(folder)

    return write


def named(phase: str, **end: Any) -> Callable[[Path], Evidence]:
    """One name, and how it ended."""

    def write(folder: Path) -> Evidence:
        record(folder, [udp(A)])
        lines = [line("resolve", "invoke", n=0, name="tcp-server.lab."), line("resolve", "note", n=None)]
        lines += [line("resolve", phase, n=0, why="because", **end)]
        write_journal(folder, "journal-dns-client-1.jsonl", lines)
        return Evidence(folder, (replace(UDP, kind="dns", client_journal="journal-dns-client-1.jsonl"),))

    return write


def theirs(status: int | None, log: str = "one\ntwo\n") -> Callable[[Path], Evidence]:
    """A client of the user's own."""

    def write(folder: Path) -> Evidence:
        record(folder, [udp(A)])
        (folder / "log").mkdir()
        (folder / "log" / "command-client-1.txt").write_text(log)
        return Evidence(
            folder, (replace(UDP, name="command-client-1", kind="command", client_journal="", status=status),)
        )

    return write


HISTORIES: dict[str, Callable[[Path], Evidence]] = {
    "good": GOOD.write,
    "server lost one": replace(GOOD, received=(A, B, D, E)).write,
    "server got one twice": replace(GOOD, received=(*MESSAGES, E)).write,
    "server got them swapped": replace(GOOD, received=(A, C, B, D, E)).write,
    "server got another": replace(GOOD, received=(A, b"other", C, D, E)).write,
    "wire had another": replace(GOOD, on_wire=(A, b"other", C, D, E)).write,
    "one came back different": replace(GOOD, answers=GOOD.answers | {2: b"other"}).write,
    "one never came back": replace(GOOD, answers={0: A, 1: B, 2: D, 3: E}).write,
    "one came back twice": replace(GOOD, answers={0: A, 1: B, 2: B, 3: C, 4: D}).write,
    "two came back swapped": replace(GOOD, answers={0: A, 1: C, 2: B, 3: D, 4: E}).write,
    "one has no answer": replace(GOOD, answers={0: A, 1: B, 2: C, 3: D}).write,
    "one was never sent": replace(GOOD, sent=MESSAGES[:4], received=MESSAGES[:4], order=range(4)).write,
    "own server": own(GOOD, MESSAGES),
    "own server, merged": own(GOOD, (A, B + C, D, E)),
    "own server, split": own(GOOD, (A, B, C[:4], C[4:], D, E)),
    "own server, corrupt": own(GOOD, (A, B, C, D[:-1] + b"?", E)),
    "own server, wire had another": own(replace(GOOD, on_wire=(A, b"other", C, D, E)), MESSAGES),
    "two connections": two(crossed=False),
    "two connections, crossed": two(crossed=True),
    "two connections, proxied": two(crossed=False, target="toxiproxy"),
    "raw": raw(),
    "raw, unknown": raw(outcome="unknown"),
    "raw, different": raw(outcome="fail"),
    "raw, more": raw(stray=True),
    "raw, echoed another": raw(echoed=B),
    "raw, read another": raw(read=B),
    "raw, no end": raw(read=None),
    "raw, proxied": raw(target="toxiproxy"),
    "raw, proxied, read another": raw(read=B, target="toxiproxy"),
    "sent again": again,
    "udp": echo((A, B)),
    "udp, one lost": echo((A, B), got=(A,), faults=[("udp-server->client", Loss(nth=2))]),
    "udp, one not answered": echo((A,)),
    "udp, one refused": echo((A,), "fail"),
    "udp, answered twice": echo((A, B, B)),
    "udp, doubled": echo((A, B), got=(A, B, B), faults=[("udp-server->client", Duplicate(nth=2))]),
    "udp, another's answer": echo((A, C)),
    "udp, acknowledged": udp_history,
    "healed, lookup": healing("lookup", "ok", 1),
    "healed, resolve": healing("resolve", "unknown", 1),
    "healed, message": healing("message", "fail", 1),
    "healed, too early": healing("message", "fail", 9),
    "jobs": jobs,
    "strict, good": GOOD.write,
    "strict, sent again": again,
    "strict, name without an answer": named("unknown"),
    "dns, right": named("ok", addresses=["10.77.0.3", "fd77:1ab:0::3"]),
    "dns, wrong": named("ok", addresses=["10.77.0.9", "10.77.0.3"]),
    "dns, none": named("ok", addresses=[]),
    "dns, not found": named("fail"),
    "command, content": theirs(0),
    "command, cross": theirs(3),
    "command, cross without a word": theirs(3, ""),
    "command, still there": theirs(None),
    "ledger, cut short": cut_short("ledger.bin"),
    "ledger, captures cut short": cut_short("sent.pcapng", "delivered.pcapng"),
    "ledger, netem missed some": noted("warning", text="captures incomplete", lost=3),
    "ledger, refused": noted("refused", error="no room"),
    "faults, delayed": faulty(Latency(delay_ms=3)),
    "faults, held": faulty(Reorder(hold=(2,), passes=2)),
    "faults, overtaking": faulty(Latency(delay_ms=5), Reorder(percent=50)),
    "faults, changed": faulty(Corrupt(every=3)),
    "faults, two and one unseen": faulty(Loss(nth=(2, 4)), Drop(match=Match(payload="never said"))),
    "nothing": lambda folder: Evidence(folder),
}


def said(result: CheckResult, folder: Path) -> list[str]:
    lines = [f"  {result.name}: {result.verdict}: {result.summary}"]
    lines += [f"    - {finding}" for finding in result.findings if str(finding) != result.summary]
    return [text.replace(str(folder), "FOLDER") for text in lines]


def words(name: str, folder: Path) -> list[list[str]]:
    """What each check says."""
    evidence = HISTORIES[name](folder)
    options = STRICT if name.startswith("strict") else OPTIONS
    return [said(run_check(check, options.get(check, NEEDED.get(check, {})), evidence), folder) for check in CHECKS]


def test_the_words_are_those_that_people_have_read(tmp_path: Path) -> None:
    found = []
    usual: dict[str, list[list[str]]] = {}
    for number, name in enumerate(HISTORIES):
        folder = tmp_path / str(number)
        folder.mkdir()
        told = words(name, folder)
        base = usual.setdefault(LIKE.get(name.partition(",")[0], "good"), [])
        found.append("\n".join([name, *(text for one in told if one not in base for text in one)]) + "\n")
        base += [] if base else told
    if os.environ.get("LAB_WORDS") == "write":
        WORDS.write_text("\n".join(found))
    assert "\n".join(found) == WORDS.read_text()


@pytest.mark.parametrize("check", CHECKS)
def test_a_check_says_its_name(check: str, tmp_path: Path) -> None:
    assert run_check(check, OPTIONS.get(check, {}), GOOD.write(tmp_path)).name == check
