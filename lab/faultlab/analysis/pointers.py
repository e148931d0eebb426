"""Which packets a finding means: its words and its `where` name frames, ledger numbers, or what a journal tells of.

    sent.pcapng frame 12 (ledger 345)                       that packet
    journal-tcp-client-1.jsonl: connection 0, message 4     the packets that carry `msg-0-4-`, on that connection
    journal-dns-client-1.jsonl: name 7                      the queries and answers while that name was asked for
    ... (digest 0db310f6795d7654)                           the message with that digest

A message is known by its beginning, so of one in several segments only the first is found. Where a finding means no
packet in particular, there are none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from faultlab.analysis.protocols import DNS_PORT
from faultlab.analysis.subject import Subject
from faultlab.evidence.journal import JournalLine, read_journal

_FRAME = re.compile(r"(\w+)\.pcapng frame (\d+)")
_LEDGER = re.compile(r"ledger (\d+)")
_JOURNAL = re.compile(r"(journal-[\w.-]+\.jsonl)")
_NUMBER = {kind: re.compile(rf"\b{kind} (\d+)") for kind in ("connection", "message", "frame", "answer", "name")}
_DIGEST = re.compile(r"\bdigest ([0-9a-f]{16})\b")
_MESSAGE = re.compile(rb"msg-(\d+)-(\d+)-")


@dataclass(frozen=True)
class _Message:
    """A message as its client's journal has it; `port` is the client's own, or None where the journal doesn't say."""

    conn: int
    number: int
    port: int | None


class Pointers:
    """For the findings of one run. Journals and payloads are read when a finding asks for them."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._journals: dict[str, list[JournalLine]] = {}

    def packets(self, text: str, where: str) -> tuple[int, ...]:
        """Ledger numbers, in the order of the packets; empty where no packet in particular is meant."""
        named = set(self._named(where)) or set(self._carrying(text, where))
        return tuple(sorted(named))

    def _named(self, where: str) -> Iterator[int]:
        """Packets that `where` gives the numbers of."""
        ledger = [int(number) for number in _LEDGER.findall(where)]
        yield from ledger
        sides = {"sent": self._subject.sent, "delivered": self._subject.delivered}
        for name, number in () if ledger else _FRAME.findall(where):
            side = sides.get(name)
            if side is not None and 0 < int(number) <= len(side):
                yield int(side.ids[int(number) - 1])

    def _carrying(self, text: str, where: str) -> Iterator[int]:
        """Packets that carry the messages or names that the finding speaks of."""
        journal = next(iter(_JOURNAL.findall(where)), "")
        words = f"{text}; {where}"
        conn, name = _first("connection", words), _first("name", where)
        for message in self._by_digest.get(next(iter(_DIGEST.findall(text)), ""), []):
            yield from self._of_message(message)
        if name is not None:
            yield from self._of_name(journal, name)
        if journal in self._clients:
            for number in _NUMBER["message"].findall(text):
                for message in self._messages(journal, conn, int(number)):
                    yield from self._of_message(message)
        elif (frame := _first("frame", where)) is not None and conn is not None:
            yield from self._of_frame(journal, conn, frame)
        elif (answer := _first("answer", text)) is not None and conn is not None:
            yield from self._of_answer(conn, answer)

    # -- journals ------------------------------------------------------------------------------------------------------

    @cached_property
    def _clients(self) -> dict[str, list[JournalLine]]:
        """The journals of clients, by file name."""
        return {
            file.name: self._journal(file.name) for file in sorted(self._subject.path.glob("journal-*client*.jsonl"))
        }

    def _journal(self, name: str) -> list[JournalLine]:
        if name not in self._journals:
            file = self._subject.path / name
            self._journals[name] = read_journal(file) if file.is_file() else []
        return self._journals[name]

    def _messages(self, journal: str, conn: int | None, number: int) -> Iterator[_Message]:
        for line in self._clients[journal]:
            if (line["op"], line["phase"], line["n"]) == ("message", "invoke", number) and conn in (None, line["conn"]):
                yield _Message(line["conn"], number, self._ports(journal).get(line["conn"]))

    @cached_property
    def _by_digest(self) -> dict[str, list[_Message]]:
        found: dict[str, list[_Message]] = {}
        for journal, lines in self._clients.items():
            ports = self._ports(journal)
            for line in lines:
                if (line["op"], line["phase"]) == ("message", "invoke"):
                    message = _Message(line["conn"], line["n"], ports.get(line["conn"]))
                    found.setdefault(line["digest"], []).append(message)
        return found

    def _ports(self, journal: str) -> dict[int, int]:
        """A client's own port for each of its connections."""
        return {line["conn"]: _port(line["local"]) for line in self._journal(journal) if line.get("local")}

    # -- packets -------------------------------------------------------------------------------------------------------

    @cached_property
    def _carriers(self) -> dict[tuple[int, int], list[tuple[int, set[int]]]]:
        """For each message, by connection and number: (ledger id, ports) of the packets whose payload names it."""
        found: dict[tuple[int, int], list[tuple[int, set[int]]]] = {}
        for side in (self._subject.sent, self._subject.delivered):
            for index in side.columns.payload.nonzero()[0].tolist() if side else ():
                assert side is not None
                frame = side.file.frame(side.columns, index)
                ports = {int(side.columns.source_port[index]), int(side.columns.target_port[index])}
                for conn, number in _MESSAGE.findall(frame, int(side.columns.payload_at[index])):
                    found.setdefault((int(conn), int(number)), []).append((int(side.ids[index]), ports))
        return found

    def _of_message(self, message: _Message) -> Iterator[int]:
        carriers = self._carriers.get((message.conn, message.number), [])
        own = [packet for packet, ports in carriers if message.port in ports]
        # Behind a proxy the same message goes on from another port.
        yield from own or (packet for packet, _ in carriers)

    def _of_name(self, journal: str, number: int) -> Iterator[int]:
        """What asked for a name, while it was asked for: a question says the name as labels (RFC 1035, 3.1)."""
        lines = [line for line in self._journal(journal) if line["n"] == number and line["op"] in ("lookup", "resolve")]
        asked = next((line for line in lines if line["phase"] == "invoke"), None)
        side, ledger = self._subject.sent, self._subject.ledger
        if asked is None or side is None or ledger is None:
            return
        label = str(asked["name"]).partition(".")[0].lower().encode()  # resolvers may change its case (RFC 4343)
        since = self._subject.since_start(asked["t"])
        until = self._subject.since_start(max(line["t"] for line in lines))
        columns = side.columns
        dns = (columns.source_port == DNS_PORT) | (columns.target_port == DNS_PORT)
        for index in (dns & (side.time_ns >= since) & (side.time_ns <= until)).nonzero()[0].tolist():
            if bytes([len(label)]) + label in side.file.frame(columns, index).lower():
                yield int(side.ids[index])

    def _of_frame(self, journal: str, conn: int, number: int) -> Iterator[int]:
        """A frame that a server read: the message with its digest, or else what arrived just before."""
        for line in self._journal(journal):
            if (line["op"], line["phase"], line["conn"], line["n"]) == ("frame", "invoke", conn, number):
                messages = self._by_digest.get(line["digest"], [])
                for message in messages:
                    yield from self._of_message(message)
                if not messages:
                    yield from self._arrived_before(line["t"], _port(line["peer"]), to_client=False)

    def _of_answer(self, conn: int, number: int) -> Iterator[int]:
        """The packet that brought a client the `number`-th thing it read on a connection."""
        for journal, lines in self._clients.items():
            read = [
                line for line in lines
                if line["op"] == "message" and line["phase"] != "invoke" and line["conn"] == conn and line["size"]
            ]  # fmt: skip
            port = self._ports(journal).get(conn)
            if number < len(read) and port is not None:
                yield from self._arrived_before(read[number]["t"], port, to_client=True)

    def _arrived_before(self, at: int, client_port: int, *, to_client: bool) -> Iterator[int]:
        side, ledger = self._subject.delivered, self._subject.ledger
        if side is None or ledger is None:
            return
        port = side.columns.target_port if to_client else side.columns.source_port
        came = (port == client_port) & (side.columns.payload > 0) & (side.time_ns <= self._subject.since_start(at))
        found = came.nonzero()[0]
        if len(found):
            yield int(side.ids[found[side.time_ns[found].argmax()]])


def _first(kind: str, words: str) -> int | None:
    found = _NUMBER[kind].search(words)
    return None if found is None else int(found[1])


def _port(address: Any) -> int:
    """Of `10.77.0.2:20000` or `[::1]:20000`."""
    return int(str(address).rpartition(":")[2])
