"""The line to a Compose lab's hub: each answer belongs to its order, also after one that was given up."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest
from faultlab.errors import LabFailure
from faultlab.runtimes.compose.supervisor import Line

HUB = """
import sys
first = sys.stdin.readline()
for order in sys.stdin:
    print(first or "", order, sep="", end="", flush=True)
    first = ""
"""
"""Answers each order with itself, the first only once there is a second."""


@pytest.fixture
def hub() -> Iterator[subprocess.Popen[bytes]]:
    argv = [sys.executable, "-c", HUB]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
        yield process
        process.kill()


def test_the_answer_to_an_order_that_was_given_up_is_not_taken_for_the_next_ones(
    hub: subprocess.Popen[bytes],
) -> None:
    news, events = socket.socketpair()
    reasons = ["a container ended"]
    line = Line(hub, events, lambda: reasons.pop() if reasons and events.recv(1) else None)
    with news, events:
        news.send(b"!")
        with pytest.raises(LabFailure, match="a container ended"):
            line.ask({"do": "start"})
        assert line.ask({"do": "finish"}) == {"do": "finish"}
        assert line.ask({"do": "show"}) == {"do": "show"}
