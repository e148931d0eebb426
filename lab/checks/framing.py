"""Framing: each message came out of the stream as it went in; nothing merged, split, cut or invented.

Two proofs that know nothing of each other: what the server says it received, and the bytes on the wire, put together
and decoded here.
"""

from __future__ import annotations

from hashlib import blake2b

from lab.checks.base import Check, CheckResult, Finding, NoOptions, conclude
from lab.checks.messages import Connection, connections
from lab.checks.streams import Stream, streams
from lab.evidence.evidence import Evidence, Workload
from services.framing import PeerError, codec


def judge(evidence: Evidence, options: NoOptions) -> CheckResult:
    """For framed TCP workloads; raw mode has no frames to keep."""
    wrong: list[Finding] = []
    unclear: list[Finding] = []
    frames = 0
    for workload in evidence.of_kind("tcp"):
        if workload.framing in (None, "raw"):
            continue
        seen = connections(evidence, workload)
        frames += sum(len(one.received) for one in seen)
        for one in seen:
            wrong += _judge_journal(one)
        _judge_wire(evidence, workload, seen, wrong, unclear)
    if not frames:
        unclear.append(Finding("no frame arrived"))
    return conclude("framing", f"{frames} frames whole", wrong, unclear)


def _judge_journal(one: Connection) -> list[Finding]:
    sent = {line["digest"]: line["size"] for line in one.sent}
    found = []
    for line in one.received:
        if line["digest"] not in sent:
            where = f"{one.workload.server_journal}: connection {line['conn']}, frame {line['n']}"
            found.append(Finding(f"a frame of {line['size']} bytes equals none that was sent", where))
    return found


def _judge_wire(
    evidence: Evidence, workload: Workload, seen: list[Connection], wrong: list[Finding], unclear: list[Finding]
) -> None:
    server = workload.server_journal.removeprefix("journal-").removesuffix(".jsonl")
    on_wire = streams(evidence, server, workload.port)
    for one in seen:
        stream = _stream_of(one, on_wire)
        if stream is None:
            unclear.append(Finding(f"connection {one.conn}: its stream is not in the capture", "delivered.pcapng"))
            continue
        digests = _decode(workload, stream, one, wrong)
        journal = [line["digest"] for line in one.received]
        if digests[: len(journal)] != journal:
            wrong.append(Finding(f"connection {one.conn}: the server's frames are not those on the wire", one.name))


def _stream_of(one: Connection, on_wire: dict[tuple[bytes, int], Stream]) -> Stream | None:
    ports = {one.local_port} if one.workload.target != "toxiproxy" else set(one.peer_ports)
    return next((stream for (_, port), stream in on_wire.items() if port in ports), None)


def _decode(workload: Workload, stream: Stream, one: Connection, wrong: list[Finding]) -> list[str]:
    decoder = codec(workload.framing or "line").decoder()
    try:
        messages = decoder.feed(bytes(stream.data))
    except PeerError as error:
        wrong.append(
            Finding(f"connection {one.conn}: the bytes on the wire are no frames: {error}", "delivered.pcapng")
        )
        return []
    return [blake2b(message, digest_size=8).hexdigest() for message in messages]


CHECK = Check("framing", NoOptions, judge)
