"""Findings as the checks write them, and the packets that they mean."""

from __future__ import annotations

from pathlib import Path

import pytest
from faultlab.analysis.pointers import Pointers
from faultlab.analysis.subject import open_subject

from tests.support.virtual_wire import udp
from tests.unit.checks.histories import MS, TcpHistory, digest, line, record, write_journal

MESSAGES = tuple(b"msg-0-%d-filler" % number for number in range(5))
JOURNAL = "journal-tcp-client-1.jsonl"
FIRST_MESSAGE = 3
"""The ledger's number of the packet with message 0: a SYN and a SYN-ACK come before it."""


@pytest.fixture
def pointers(tmp_path: Path) -> Pointers:
    TcpHistory(sent=MESSAGES, received=MESSAGES, on_wire=MESSAGES, answers=dict(enumerate(MESSAGES))).write(tmp_path)
    return Pointers(open_subject(tmp_path))


@pytest.mark.parametrize(
    ("text", "where", "packets"),
    [
        ("dropped 1 of 25", "first: sent.pcapng frame 2 (ledger 2)", (2,)),
        ("at another time", "delivered.pcapng frame 4", (4,)),
        ("no such frame", "delivered.pcapng frame 400", ()),
        ("some of its copies are unaccounted for", "ledger 5", (5,)),
        ("message 1 never came back", f"{JOURNAL}: connection 0", (FIRST_MESSAGE + 1,)),
        ("message 4 came after message 2", f"{JOURNAL}: connection 0", (FIRST_MESSAGE + 2, FIRST_MESSAGE + 4)),
        ("message 3: no answer", JOURNAL, (FIRST_MESSAGE + 3,)),
        ("message 1 never came back", f"{JOURNAL}: connection 7", ()),
        (f"a datagram (digest {digest(MESSAGES[2])}) received 2 times", "sent.pcapng", (FIRST_MESSAGE + 2,)),
        ("equals none that was sent", "journal-tcp-server.jsonl: connection 0, frame 3", (FIRST_MESSAGE + 3,)),
        ("no message arrived", "", ()),
        ("the capture was cut short", "sent.pcapng", ()),
        ("message 1", "journal-of-nobody.jsonl: connection 0", ()),
    ],
)
def test_which_packets_are_meant(pointers: Pointers, text: str, where: str, packets: tuple[int, ...]) -> None:
    assert pointers.packets(text, where) == packets


def test_a_frame_that_nobody_sent_is_in_the_packet_that_came_before_it(tmp_path: Path) -> None:
    record(tmp_path, [udp(b"msg-0-0-", port=20_000), udp(b"msg-0-1-", port=20_000)])
    peer = {"peer": "10.77.0.2:20000"}
    lines = [line("frame", "invoke", n=0, data=b"other", t=1 * MS, **peer)]
    lines += [line("frame", "invoke", n=1, data=b"bytes", t=2 * MS, **peer)]
    write_journal(tmp_path, "journal-server.jsonl", lines)
    found = Pointers(open_subject(tmp_path))
    where = "journal-server.jsonl: connection 0, frame"
    assert [found.packets("equals none", f"{where} {number}") for number in (0, 1)] == [(1,), (2,)]


def test_a_name_is_in_the_queries_while_it_was_asked_for(tmp_path: Path) -> None:
    query = b"\0\1\1\0\0\1\0\0\0\0\0\0\x06client\x03lab\0\0\1\0\1"
    other = query.replace(b"client", b"server")
    record(tmp_path, [udp(payload, port=20_000, to=53) for payload in (query, other, query, query)])
    lines = [
        line("resolve", "invoke", n=0, t=1 * MS, name="client"),
        line("resolve", "unknown", n=0, t=3 * MS),
        line("resolve", "invoke", n=1, t=4 * MS, name="client"),
        line("resolve", "ok", n=1, t=5 * MS),
    ]
    write_journal(tmp_path, "journal-dns-client-1.jsonl", lines)
    found = Pointers(open_subject(tmp_path))
    where = "journal-dns-client-1.jsonl: name"
    assert found.packets("client has no answer (timeout)", f"{where} 0") == (1, 3)
    assert found.packets("client has no address", f"{where} 1") == (4,)
