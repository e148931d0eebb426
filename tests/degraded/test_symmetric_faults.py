"""Faults on both ways that stop the talk: what the first way does leaves the other nothing to hit, and that is told."""

from __future__ import annotations

import pytest

from tests.degraded.judge import Judge

PARTITION = """
    workload:
      - tcp: {to: "tcp-server:8082", framing: length2, messages: 40, pace: 50ms}
    faults:
      - {on: client<->tcp-server, at: 500ms, for: 500ms, partition: true}
    checks: [reliability, ordering, framing, healed]
    """
RESET = """
    workload:
      - tcp: {to: "tcp-server:8082", framing: length2, messages: 20}
    faults:
      - {on: client<->tcp-server, reset: 3}
    checks: [reported]
    """


@pytest.mark.parametrize("text", [PARTITION, RESET], ids=["partition", "reset"])
def test_both_ways(text: str, judge: Judge) -> None:
    """Of the partition either way may be hit alone, as it falls into the talk; of the reset, that of the client."""
    said = judge(text).said("fault_seen")
    assert said in ("all 2 left their mark", "1 of 2 left their mark, 1 had nothing to hit")
    assert text is not RESET or said.startswith("1 of 2")
