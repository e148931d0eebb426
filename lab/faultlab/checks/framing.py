"""Framing: each message came out of the stream as it went in; nothing merged, split, cut or stuck together.

Proofs that know nothing of each other: what the server says it received, where it keeps a journal; and the bytes on the
wire, put together and decoded here: those that reached the server, and the answers that reached the client.
"""

from __future__ import annotations

from hashlib import blake2b

from faultlab_services.framing import PeerError, codec

from faultlab.checks.base import Check, CheckResult, Finding, NoOptions, conclude
from faultlab.checks.messages import Connection, client_errors, connections
from faultlab.checks.streams import streams
from faultlab.evidence.run_evidence import Evidence, WorkloadRecord
from faultlab.network.tcp_stream import TcpStream

CAPTURE = "delivered.pcapng"


def judge(evidence: Evidence, options: NoOptions) -> CheckResult:
    """For framed TCP workloads; raw mode has no frames to keep."""
    wrong: list[Finding] = []
    unclear: list[Finding] = []
    frames = 0
    for workload in evidence.of_kind("tcp"):
        if workload.framing in (None, "raw"):
            continue
        seen = connections(evidence, workload)
        for one in seen:
            wrong += _judge_journal(one)
        frames += _judge_arrivals(evidence, workload, seen, wrong, unclear)
        _judge_answers(evidence, workload, seen, wrong)
    if not frames:
        unclear.append(Finding(f"no frame arrived{client_errors(evidence)}"))
    return conclude("framing", f"{frames} frames whole", wrong, unclear)


def _judge_journal(one: Connection) -> list[Finding]:
    sent = {line["digest"]: line["size"] for line in one.sent}
    found = []
    for line in one.received:
        if line["digest"] not in sent:
            where = f"{one.workload.server_journal}: connection {line['conn']}, frame {line['n']}"
            found.append(Finding(f"a frame of {line['size']} bytes equals none that was sent", where))
    return found


def _judge_arrivals(
    evidence: Evidence, workload: WorkloadRecord, seen: list[Connection], wrong: list[Finding], unclear: list[Finding]
) -> int:
    """How many frames reached the server: those that its journal has, or, where it keeps none, those that were sent."""
    server = "tcp-server" if workload.target == "toxiproxy" else workload.target
    on_wire = streams(evidence, server, workload.port)
    frames = 0
    for one in seen:
        stream = _stream_of(one, on_wire)
        if stream is None:
            unclear.append(Finding(f"connection {one.conn}: its stream is not in the capture", CAPTURE))
            continue
        digests = [_digest(frame) for frame in _frames(workload, stream, one, "bytes on the wire", wrong)]
        if workload.server_journal:
            expected, whose = [line["digest"] for line in one.received], "the server's frames"
            digests = digests[: len(expected)]
        else:
            expected, whose = [line["digest"] for line in one.sent][: len(digests)], "the frames sent"
        frames += len(expected)
        if digests != expected:
            wrong.append(Finding(f"connection {one.conn}: {whose} are not those on the wire", one.name))
    return frames


def _stream_of(one: Connection, on_wire: dict[int, TcpStream]) -> TcpStream | None:
    ports = {one.local_port} if one.workload.target != "toxiproxy" else set(one.peer_ports)
    return next((stream for port, stream in on_wire.items() if port in ports), None)


def _judge_answers(evidence: Evidence, workload: WorkloadRecord, seen: list[Connection], wrong: list[Finding]) -> None:
    """Of the frames that came back, none is a part of a message, or a message with something stuck to it.

    A frame that has nothing of a message's beginning or end is for reliability to judge.
    """
    asked = streams(evidence, workload.target, workload.port)
    back = streams(evidence, workload.source, workload.port, answers=True)
    messages = {
        frame: one.conn
        for one in seen
        if one.local_port in asked
        for frame in _frames(workload, asked[one.local_port], one, "bytes sent", [])
    }
    for one in seen:
        if one.local_port not in back:
            continue
        for number, frame in enumerate(_frames(workload, back[one.local_port], one, "answers", wrong)):
            if frame not in messages and (what := _piece(frame, messages)):
                wrong.append(Finding(f"answer {number} of connection {one.conn}, {len(frame)} bytes, {what}", CAPTURE))


def _piece(frame: bytes, messages: dict[bytes, int]) -> str | None:
    for message in filter(None, messages):
        if frame and len(frame) < len(message) and (message.startswith(frame) or message.endswith(frame)):
            return f"is a part of a message of {len(message)}"
        if len(frame) > len(message) and (frame.startswith(message) or frame.endswith(message)):
            return f"is a message of {len(message)} with something stuck to it"
    return None


def _frames(
    workload: WorkloadRecord, stream: TcpStream, one: Connection, what: str, wrong: list[Finding]
) -> list[bytes]:
    try:
        return codec(workload.framing or "line").decoder().feed(bytes(stream.data))
    except PeerError as error:
        wrong.append(Finding(f"connection {one.conn}: the {what} are no frames: {error}", CAPTURE))
        return []


def _digest(message: bytes) -> str:
    return blake2b(message, digest_size=8).hexdigest()


CHECK = Check("framing", NoOptions, judge)
