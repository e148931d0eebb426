"""Histories made by hand: what a client and a server journaled, and frames through the real core into real files."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

from faultlab.engines.recorder import FileRecorder
from faultlab.engines.wire.core import Core
from faultlab.evidence.run_evidence import Evidence, WorkloadRecord
from faultlab.faults import Fault

from tests.support.virtual_wire import ACK, CLIENT, MS, NODES, PSH, SYN, TCP_SERVER, UDP_SERVER, tcp, udp

PORT = 20_000
CLIENT_JOURNAL = "journal-tcp-client-1.jsonl"
TCP = WorkloadRecord(
    "tcp-client-1", "tcp", CLIENT_JOURNAL, "journal-tcp-server.jsonl", "client", "tcp-server", 8082, "tcp",
    "length2", 5, 1, PORT, status=0,
)  # fmt: skip
UDP = WorkloadRecord(
    "udp-client-1", "udp", "journal-udp-client-1.jsonl", "journal-udp-server.jsonl", "client", "udp-server", 41_234,
    "udp", None, 5, 1, PORT, status=0,
)  # fmt: skip
MESSAGES = tuple(f"message {number}".encode() * (number + 1) for number in range(5))


def digest(data: bytes) -> str:
    return blake2b(data, digest_size=8).hexdigest()


def line(
    op: str, phase: str, *, conn: int | None = 0, n: int | None = None, data: bytes | None = None, **more: Any
) -> dict[str, Any]:
    """A journal's line; `t` is filled in when it is written, unless given."""
    about = {"size": 0, "digest": None} if data is None else {"size": len(data), "digest": digest(data)}
    return {"op": op, "phase": phase, "conn": conn, "n": n, "why": None, **about, **more}


def write_journal(folder: Path, name: str, lines: Iterable[dict[str, Any]], *, end: str | None = "ok") -> None:
    """Times count up in ms, so that the order of the lines is the order of what happened. `end` None: cut off."""
    last = [] if end is None else [line("journal", end, conn=None)]
    text = [json.dumps({"t": (number + 1) * MS, "actor": name, **one}) for number, one in enumerate([*lines, *last])]
    (folder / name).write_text("".join(one + "\n" for one in text))


@dataclass
class TcpHistory:
    """What happened to five messages. Change a list to make a server that is wrong."""

    sent: Sequence[bytes] = MESSAGES
    received: Sequence[bytes] = MESSAGES
    on_wire: Sequence[bytes] = MESSAGES
    answers: dict[int, bytes] = field(default_factory=lambda: dict(enumerate(MESSAGES)))
    order: Sequence[int] = range(5)

    def write(self, folder: Path) -> Evidence:
        write_journal(folder, TCP.client_journal, self._client())
        write_journal(folder, TCP.server_journal, self._server())
        record(folder, self._frames())
        return Evidence(folder, (TCP,))

    def _client(self) -> list[dict[str, Any]]:
        lines = [line("connect", "ok", local=f"10.77.0.2:{PORT}", peer="10.77.0.3:8082")]
        lines += [line("message", "invoke", n=number, data=data) for number, data in enumerate(self.sent)]
        for number in self.order:
            answer = self.answers.get(number)
            if answer is None:
                lines.append(line("message", "unknown", n=number, why="no answer in time"))
            else:
                phase = "ok" if answer == self.sent[number] else "fail"
                lines.append(line("message", phase, n=number, data=answer))
        return lines

    def _server(self) -> list[dict[str, Any]]:
        lines = [line("connection", "invoke", peer=f"10.77.0.2:{PORT}", framing="length2")]
        lines += [line("frame", "invoke", n=number, data=data) for number, data in enumerate(self.received)]
        return [*lines, line("connection", "ok", frames=len(self.received))]

    def _frames(self) -> list[bytes]:
        frames = [
            tcp(flags=SYN, seq=999),
            tcp(flags=SYN | ACK, seq=4999, source=TCP_SERVER, target=CLIENT, port=8082, to=PORT),
        ]
        at = 1000
        for data in self.on_wire:
            payload = struct.pack("!H", len(data)) + data
            frames.append(tcp(payload, PSH | ACK, seq=at))
            at += len(payload)
        return frames


def record(folder: Path, frames: Iterable[bytes], faults: Sequence[tuple[str, Fault]] = (), gap: int = MS) -> None:
    """Send the frames through the core, `gap` ns apart, into ledger and captures."""
    recorder = FileRecorder(folder, NODES, {"seed": 1, "engine": "wire", "lab": "history"})
    core = Core(NODES, 1, recorder)
    index = {node.mac_bytes: number for number, node in enumerate(NODES)}
    for path in dict.fromkeys(path for path, _ in faults):
        core.set_faults(path, [fault for one, fault in faults if one == path], 0)
    now = 0
    for frame in frames:
        now += gap
        core.release(now)
        core.receive(index[frame[6:12]], frame, now)
    while core.deadline is not None:
        core.release(core.deadline)
    recorder.close(strays=0)


def datagrams(payloads: Iterable[bytes]) -> list[bytes]:
    return [udp(payload, port=PORT) for payload in payloads]


def udp_history(
    folder: Path, *, received: Sequence[bytes] | None = None, faults: Sequence[tuple[str, Fault]] = ()
) -> Evidence:
    """Five datagrams; the server journals `received`, or exactly what the wire delivered."""
    record(folder, datagrams(MESSAGES), faults)
    evidence = Evidence(folder, (UDP,))
    if received is None:
        delivered = evidence.delivered
        received = [delivered.frame(index)[42:] for index in range(len(delivered))]
    write_journal(
        folder, UDP.client_journal,
        [*(line("message", "invoke", n=number, data=data) for number, data in enumerate(MESSAGES)),
         line("message", "note", n=None, data=b"Message Received")],
    )  # fmt: skip
    write_journal(
        folder,
        UDP.server_journal,
        [line("datagram", "invoke", n=number, data=data) for number, data in enumerate(received)],
    )
    return evidence


__all__ = [
    "MESSAGES",
    "TCP",
    "UDP",
    "UDP_SERVER",
    "TcpHistory",
    "datagrams",
    "line",
    "record",
    "udp_history",
    "write_journal",
]
