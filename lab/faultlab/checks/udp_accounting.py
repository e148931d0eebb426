"""UDP accounting: UDP promises nothing, so every datagram must be accounted for instead.

What a client sent is on the wire; what the wire delivered, the server received, exactly that often; and so for the way
back. A datagram that vanished between a device and an application has no explanation, and fails. What counts is the
datagram, in however many IP fragments it comes: it is delivered when the last of them is
(`faultlab.network.reassembly`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b

from faultlab.checks.base import Check, CheckOptions, CheckResult, Finding, conclude, kernel_drops
from faultlab.checks.messages import client_errors
from faultlab.evidence.pcapng import Capture
from faultlab.evidence.run_evidence import Evidence, WorkloadRecord
from faultlab.faults.base import Effect
from faultlab.network.packets import UDP, Packet, checksum_right
from faultlab.network.reassembly import Datagram, Reassembly

Digests = Counter[str]


class UdpOptions(CheckOptions):
    """all_answered: whether each datagram must have been answered, as a client that asks again may expect."""

    all_answered: bool = False


@dataclass
class _Way:
    """One direction between a server and its clients: payload digests, as often as they were seen."""

    sent: Digests = field(default_factory=Counter)
    delivered: Digests = field(default_factory=Counter)
    packets: set[tuple[int, ...]] = field(default_factory=set)
    """Of each datagram the packets that carried it."""
    crowded: bool = False
    """Whether its receiver may have run out of room for incomplete datagrams."""


def judge(evidence: Evidence, options: UdpOptions) -> CheckResult:
    """For all UDP workloads of a server together; answers only in echo mode, where they can be told apart."""
    wrong: list[Finding] = []
    unclear: list[Finding] = []
    summaries = []
    for target in dict.fromkeys(workload.target for workload in evidence.of_kind("udp")):
        workloads = [one for one in evidence.of_kind("udp") if one.target == target]
        summaries.append(_judge_server(evidence, workloads, wrong, unclear))
    if options.all_answered:
        for workload in evidence.of_kind("udp"):
            _judge_answers(evidence, workload, wrong, unclear)
    if not summaries:
        unclear.append(Finding("no UDP workload"))
    return conclude("udp_accounting", "; ".join(summaries) + client_errors(evidence), wrong, unclear)


def _judge_answers(evidence: Evidence, workload: WorkloadRecord, wrong: list[Finding], unclear: list[Finding]) -> None:
    """A datagram that was never answered may have arrived all the same: unknown, so the check can't conclude."""
    journal = evidence.journal(workload.client_journal)
    ends = {
        line["n"]: line for line in journal if line["op"] == "message" and line["phase"] in ("ok", "fail", "unknown")
    }
    for n in range(workload.messages):
        end = ends.get(n)
        if end is None or end["phase"] != "ok":
            kind = wrong if end is not None and end["phase"] == "fail" else unclear
            why = "no outcome" if end is None else end["why"]
            kind.append(Finding(f"datagram {n} has no answer ({why})", workload.client_journal))


def _judge_server(
    evidence: Evidence, workloads: list[WorkloadRecord], wrong: list[Finding], unclear: list[Finding]
) -> str:
    server, port, journal = workloads[0].target, workloads[0].port, workloads[0].server_journal
    there, back = _way(evidence, server, port, towards=True), _way(evidence, server, port, towards=False)
    back.delivered -= _too_late(evidence, workloads)
    sent = _sent(evidence, workloads)
    if not sent:
        unclear.append(Finding(f"the workload sent nothing{client_errors(evidence)}", workloads[0].client_journal))
    cut_short = any(not evidence.journal_is_whole(one.client_journal) for one in workloads)
    of_client = unclear if cut_short else wrong  # what a killed client did last, its journal need not say
    _compare(sent, there.sent, "sent by the client", "on the wire", of_client, workloads[0].client_journal)
    why = kernel_drops(evidence, server)
    received, received_as = there.delivered, "delivered to the server"  # of one without a journal no more is known
    if journal:
        received, received_as = _received(evidence, journal), "received by the server"
        lacking = unclear if there.crowded else wrong
        _compare(there.delivered, received, "delivered to the server", "received by it", lacking, journal, why)
    answers = _answers(evidence, workloads)
    if answers is not None:
        _compare(received, back.sent, received_as, "answered by it", wrong, "sent.pcapng", "" if journal else why)
        wrong += _foreign(evidence, workloads, back)
        why = "".join(kernel_drops(evidence, node) for node in dict.fromkeys(one.source for one in workloads))
        lacking = unclear if back.crowded else of_client
        _compare(
            back.delivered, answers, "answers delivered", "received by the client", lacking, workloads[0].name, why
        )
    dropped = _done(evidence, there, Effect.DROPPED)
    doubled = _done(evidence, there, Effect.DUPLICATED)
    doubles = f", {doubled} duplicated" if doubled else ""
    counts = f"{there.delivered.total()} delivered, {dropped} dropped{doubles}"
    return f"{sent.total()} sent: {counts}" + (f"; {received.total()} received" if journal else "")


def _way(evidence: Evidence, server: str, port: int, *, towards: bool) -> _Way:
    way = _Way()
    _collect(evidence.sent, way, way.sent, port, None if towards else server, towards)
    _collect(evidence.delivered, way, way.delivered, port, server if towards else None, towards)
    return way


def _collect(capture: Capture, way: _Way, digests: Digests, port: int, node: str | None, towards: bool) -> None:
    reassembly = Reassembly()
    for _, datagram in _datagrams(capture, reassembly, node):
        packet = datagram.packet
        if (packet.target_port if towards else packet.source_port) == port:
            digests[_digest(packet.payload)] += 1
            way.packets.add(tuple(sorted(datagram.parts)))
    way.crowded = way.crowded or reassembly.crowded


def _datagrams(capture: Capture, reassembly: Reassembly, node: str | None = None) -> Iterator[tuple[int, Datagram]]:
    """(time, datagram): each that is whole, and that a receiver takes; `node` None for those of all nodes."""
    for index in range(len(capture)):
        if node is not None and capture.node(index) != node:
            continue
        packet = Packet.parse(capture.frame(index))
        if packet.protocol != UDP:
            continue
        datagram = reassembly.add(packet, capture.times[index], capture.packets[index])
        if datagram is not None and checksum_right(datagram.packet):
            yield capture.times[index], datagram


def _foreign(evidence: Evidence, workloads: list[WorkloadRecord], back: _Way) -> list[Finding]:
    """Answers that equal nothing their client sent, though the server sent them just so."""
    return [
        Finding(f"an answer of {line['size']} bytes equals nothing that its client sent", workload.client_journal)
        for workload in workloads
        for line in evidence.journal(workload.client_journal)
        if line["op"] == "message" and line["phase"] == "fail" and line["n"] is None and back.sent[line["digest"]]
    ]


def _too_late(evidence: Evidence, workloads: list[WorkloadRecord]) -> Digests:
    """Answers that were delivered when their client had closed its socket."""
    late: Digests = Counter()
    offset, capture = int(evidence.ledger.run["epoch_offset"]), evidence.delivered
    for workload in workloads:
        journal = evidence.journal(workload.client_journal)
        closed = [line["t"] + offset for line in journal if line["op"] == "socket" and line["why"] == "closed"]
        for time, datagram in _datagrams(capture, Reassembly()) if closed else ():
            packet = datagram.packet
            if time >= closed[0] and (packet.source_port, packet.target_port) == (workload.port, workload.source_port):
                late[_digest(packet.payload)] += 1
    return late


def _digest(payload: bytes) -> str:
    return blake2b(payload, digest_size=8).hexdigest()


def _sent(evidence: Evidence, workloads: list[WorkloadRecord]) -> Digests:
    """Every transmission: the first ones, and the retries."""
    sent: Digests = Counter()
    for workload in workloads:
        digests: dict[int, str] = {}
        for line in evidence.journal(workload.client_journal):
            if line["op"] != "message" or line["n"] is None:
                continue
            if line["phase"] == "invoke":
                digests[line["n"]] = line["digest"]
                sent[line["digest"]] += 1
            elif line["phase"] == "note":
                sent[digests[line["n"]]] += 1
            elif line["phase"] == "fail" and line["digest"] is None:
                sent[digests[line["n"]]] -= 1
    return +sent


def _received(evidence: Evidence, journal: str) -> Digests:
    return Counter(
        line["digest"] for line in evidence.journal(journal) if line["op"] == "datagram" and line["phase"] == "invoke"
    )


def _answers(evidence: Evidence, workloads: list[WorkloadRecord]) -> Digests | None:
    """What the clients got back; None where answers are bare acknowledgements, all alike."""
    got: Digests = Counter()
    for workload in workloads:
        for line in evidence.journal(workload.client_journal):
            if line["op"] == "message" and line["phase"] == "note" and line["n"] is None:
                return None
            # A datagram that our own host refused to send is a failure without an answer.
            if line["op"] == "message" and line["phase"] in ("ok", "fail", "duplicate") and line["digest"] is not None:
                got[line["digest"]] += 1
    return got


def _compare(
    expected: Digests,
    seen: Digests,
    expected_as: str,
    seen_as: str,
    wrong: list[Finding],
    where: str,
    why_less: str = "",
) -> None:
    for digest in sorted(expected.keys() | seen.keys()):
        if expected[digest] != seen[digest]:
            text = (
                f"a datagram (digest {digest}) {expected_as} {expected[digest]} times, {seen_as} {seen[digest]} times"
            )
            wrong.append(Finding(text + (why_less if seen[digest] < expected[digest] else ""), where))


def _done(evidence: Evidence, way: _Way, effect: Effect) -> int:
    """How many datagrams it was done to. One in fragments is lost with all copies of any, and doubled with each."""
    ledger = evidence.ledger
    touched = Counter(entry.packet for entry in ledger.entries if entry.did(effect))
    count = 0
    for parts in way.packets:
        if len(parts) == 1:
            count += touched[parts[0]]
        elif effect is Effect.DROPPED:
            count += any(not ledger.by_packet[part].copies for part in parts if touched[part])
        else:
            count += all(touched[part] for part in parts)
    return count


CHECK = Check("udp_accounting", UdpOptions, judge)
