"""An engine's process and the supervisor: answers, refusals, and the other one gone."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from faultlab.engines.worker import Worker, obey
from faultlab.errors import LabFailure, UsageError


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        theirs.send(b'{"ready": true}')
        yield ours, theirs


def test_an_order_gets_its_answer(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    worker = Worker("wire", ours)
    theirs.send(b'{"t": 5}')
    assert worker.ask({"do": "show"}) == {"t": 5}
    assert json.loads(theirs.recv(100)) == {"do": "show"}


def test_a_refusal_is_the_user_s_mistake(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    worker = Worker("wire", ours)
    theirs.send(b'{"error": "faults clash", "kind": "UsageError"}')
    with pytest.raises(UsageError, match="faults clash"):
        worker.ask({"do": "set"})


def test_a_process_that_is_gone_is_the_lab_s_failure(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    worker = Worker("wire", ours)
    theirs.close()
    with pytest.raises(LabFailure, match="the wire is gone"):
        worker.ask({"do": "show"})


def test_a_process_that_ends_before_it_is_ready_is_the_lab_s_failure() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        theirs.close()
        with pytest.raises(LabFailure, match="the wire ended"):
            Worker("wire", ours)


def test_a_process_that_ends_with_an_order_unread_is_the_lab_s_failure() -> None:
    """The kernel resets the connection then, instead of closing it (unix(7)): it came as the lab went down."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        ours.send(b'{"do": "flush"}')
        theirs.close()
        with pytest.raises(LabFailure, match="the wire ended"):
            Worker("wire", ours)


def test_silence_has_a_limit(ends: tuple[socket.socket, socket.socket]) -> None:
    worker = Worker("wire", ends[0])
    with pytest.raises(LabFailure, match=r"no answer within 0\.01 s"):
        worker.ask({"do": "show"}, seconds=0.01)


def test_a_late_answer_does_not_pass_for_the_next_one(ends: tuple[socket.socket, socket.socket]) -> None:
    """The process learns that it is no longer listened to, and ends: so does its lab."""
    ours, theirs = ends
    worker = Worker("wire", ours)
    with pytest.raises(LabFailure, match="no answer"):
        worker.ask({"do": "show"}, seconds=0.01)
    theirs.recv(100)
    with pytest.raises(BrokenPipeError):
        theirs.send(b'{"t": 5}')
    with pytest.raises(LabFailure, match="the wire is gone"):
        worker.ask({"do": "show"})


def in_order(order: Mapping[str, Any]) -> dict[str, object]:
    if order["do"] == "set":
        raise UsageError("faults clash")
    return {"t": 5}


def test_the_process_answers_and_refuses(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    Worker("wire", ours)
    refusal = b'{"error": "faults clash", "kind": "UsageError"}'
    for order, answer in ((b'{"do": "show"}', b'{"t": 5}'), (b'{"do": "set"}', refusal)):
        ours.send(order)
        assert obey(theirs, in_order)
        assert ours.recv(100) == answer


def test_the_process_stops_when_the_supervisor_is_gone(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    Worker("wire", ours)
    ours.close()
    assert not obey(theirs, in_order)
