"""The messages of TCP workloads, side by side as client and server journaled them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from faultlab.evidence.journal import JournalLine
from faultlab.evidence.run_evidence import Evidence, WorkloadRecord

ERRORS_SHOWN = 3
CLOSED = "closed"
"""What a UDP client notes of its socket at its end."""


@dataclass
class Connection:
    """One client connection. `sent`, `received`: the messages' journal lines, in order; `replies`: their outcomes."""

    workload: WorkloadRecord
    conn: int
    local_port: int | None = None
    sent: list[JournalLine] = field(default_factory=list)
    replies: list[JournalLine] = field(default_factory=list)
    strays: list[JournalLine] = field(default_factory=list)
    close: JournalLine | None = None
    received: list[JournalLine] = field(default_factory=list)
    server_end: JournalLine | None = None
    server_conns: list[int] = field(default_factory=list)
    peer_ports: list[int] = field(default_factory=list)
    """The client's ports as the server saw them: a proxy's own, where one is between."""

    @property
    def name(self) -> str:
        return f"{self.workload.client_journal}: connection {self.conn}"


def client_errors(evidence: Evidence) -> str:
    """`; the clients' errors: 3x Connection refused`: what their own hosts told TCP and UDP clients; else nothing.

    To go behind a sentence about what they did not send or get.
    """
    errors: Counter[str | None] = Counter()
    for workload in (*evidence.of_kind("tcp"), *evidence.of_kind("udp")):
        for line in evidence.journal(workload.client_journal):
            if line["op"] in ("connect", "socket") or (workload.kind == "tcp" and line["phase"] in ("fail", "unknown")):
                errors[line["why"]] += 1
    del errors[None], errors[CLOSED]
    told = [f"{count}x {why}" for why, count in errors.most_common(ERRORS_SHOWN)]
    more = f", and {len(errors) - ERRORS_SHOWN} other kinds" if len(errors) > ERRORS_SHOWN else ""
    return f"; the clients' errors: {', '.join(told)}{more}" if told else ""


def connections(evidence: Evidence, workload: WorkloadRecord) -> list[Connection]:
    """Each connection of a TCP workload, with what the server journaled of it."""
    found = [Connection(workload, number) for number in range(workload.connections)]
    for line in evidence.journal(workload.client_journal):
        conn = line["conn"]
        if conn is None or conn >= len(found):
            continue
        one = found[conn]
        if line["op"] == "connect" and line["phase"] == "ok":
            one.local_port = _port(line["local"])
        elif line["op"] == "message" and line["phase"] == "invoke":
            one.sent.append(line)
        elif line["op"] == "message":
            (one.replies if line["n"] is not None else one.strays).append(line)
        elif line["op"] == "close" and line["phase"] != "invoke":
            one.close = line
    if workload.server_journal:
        _add_server_side(found, evidence.journal(workload.server_journal), workload)
    return found


def _add_server_side(found: list[Connection], journal: list[JournalLine], workload: WorkloadRecord) -> None:
    frames: dict[int, list[JournalLine]] = {}
    peers: dict[int, int] = {}
    ends: dict[int, JournalLine] = {}
    for line in journal:
        if line["op"] in ("frame", "chunk") and line["phase"] == "invoke":
            frames.setdefault(line["conn"], []).append(line)
        elif line["op"] == "connection" and line["phase"] == "invoke":
            peers[line["conn"]] = _port(line["peer"])
        elif line["op"] == "connection":
            ends[line["conn"]] = line
    by_port = {one.local_port: one for one in found if one.local_port is not None}
    for conn, port in peers.items():
        if workload.target != "toxiproxy":
            owner = by_port.get(port)
        else:
            owner = _owner(found, frames.get(conn, []), ends.get(conn))
        if owner is not None:
            owner.received.extend(frames.get(conn, []))
            owner.server_end = ends.get(conn)
            owner.server_conns.append(conn)
            owner.peer_ports.append(port)


def _owner(found: list[Connection], frames: list[JournalLine], end: JournalLine | None) -> Connection | None:
    """Through a proxy the server sees the proxy's port; the messages (raw: the whole stream) say whose they are."""
    read = end.get("received_digest") if end is not None else None
    for one in found:
        if read is not None and one.close is not None and one.close.get("sent_digest") == read:
            return one
    got = Counter(line["digest"] for line in frames)
    shared = [(sum(got[line["digest"]] for line in one.sent), -one.conn) for one in found]
    best = max(shared, default=(0, 0))
    return found[-best[1]] if best[0] else None


def _port(endpoint: str) -> int:
    return int(endpoint.rpartition(":")[2])
