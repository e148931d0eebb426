"""Packets that no kernel of the lab made reach the real servers; one with a broken checksum gets no answer."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from lab.lab import Lab

PROBES = Path(__file__).parent / "probes"


def probe(lab: Lab, kind: str, node: str) -> object:
    target = lab.status()["nodes"][node]
    argv = ["python", str(PROBES / "datagrams.py"), kind, target["ipv4"], target["mac"], "eth0"]
    done = lab.exec("client", argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["answer"]


# In a Compose lab the client has no right to make packets; there a sidecar of it does (tests/compose/test_stack.py).
@pytest.mark.parametrize("runtime", ["netns"], indirect=True)
@pytest.mark.parametrize(
    ("kind", "answer"), [("udp", "Message Received"), ("udp-bad-checksum", None), ("ping", "made by hand")]
)
def test_an_answer_only_to_a_whole_packet(lab: Lab, kind: str, answer: str | None) -> None:
    assert probe(lab, kind, "udp-server") == answer
