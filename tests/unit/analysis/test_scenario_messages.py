"""Where messages lie in streams, by the scenario's framing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from faultlab.analysis.messages import Message
from faultlab.analysis.scenario_messages import messages_of
from faultlab.analysis.subject import open_subject

from tests.support.virtual_wire import ACK, SYN, tcp
from tests.unit.checks.histories import record

SCENARIO = """
about: A line each.
server: {{command: [server], port: 9000}}
workload:
  - tcp: {{to: "server:9000", framing: {framing}, messages: 2}}
checks: [reliability]
"""


def streams(folder: Path, port: int, *payloads: bytes) -> list[list[Message]]:
    """Messages of the one direction there is, of segments one after the other; the second again, as TCP may."""
    at, frames = 1001, [tcp(flags=SYN, seq=1000, to=port)]
    for payload in payloads:
        frames.append(tcp(payload, ACK, seq=at, to=port))
        at += len(payload)
    record(folder, [*frames, *frames[2:3]])
    return [list(found) for found in messages_of(open_subject(folder)).values()]


def test_length_prefixed_messages_over_segments(tmp_path: Path) -> None:
    assert streams(tmp_path, 8082, b"\0\5hel", b"lo\0", b"\2hi\0") == [
        [Message(0, 0, 2, 7, 7), Message(1, 7, 9, 11, 11)]
    ]


def test_lines_end_with_their_newline(tmp_path: Path) -> None:
    assert streams(tmp_path, 8081, b"one\ntw", b"o\n") == [[Message(0, 0, 0, 3, 4), Message(1, 4, 4, 7, 8)]]


def test_a_segment_that_comes_late_is_put_in_its_place(tmp_path: Path) -> None:
    begin, late, end = (
        tcp(text, ACK, seq=seq, to=8081) for seq, text in ((1001, b"one\n"), (1005, b"tw"), (1007, b"o\n"))
    )
    record(tmp_path, [tcp(flags=SYN, seq=1000, to=8081), begin, end, late])
    assert list(messages_of(open_subject(tmp_path)).values()) == [[Message(0, 0, 0, 3, 4), Message(1, 4, 4, 7, 8)]]


def test_a_raw_stream_has_no_messages(tmp_path: Path) -> None:
    assert streams(tmp_path, 8080, b"one\n", b"two\n") == []


@pytest.mark.parametrize(("framing", "body"), [("length4", 4), ("varint", 1)])
def test_a_port_of_the_users_own_has_the_framing_of_its_workload(tmp_path: Path, framing: str, body: int) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"scenario": SCENARIO.format(framing=framing), "name": "mine"}))
    prefix = (5).to_bytes(body, "big")
    assert streams(tmp_path, 9000, prefix + b"hello", b"") == [[Message(0, 0, body, body + 5, body + 5)]]


def test_what_breaks_the_framing_ends_the_messages(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"scenario": SCENARIO.format(framing="length4"), "name": "mine"}))
    assert streams(tmp_path, 9000, b"\0\0\0\1a\xff\xff\xff\xff") == [[Message(0, 0, 4, 5, 5)]]


def test_of_a_capture_from_elsewhere_no_framing_is_known(tmp_path: Path) -> None:
    streams(tmp_path, 8082, b"\0\5hello")
    assert messages_of(open_subject(tmp_path / "sent.pcapng")) == {}
