"""Scenarios written in a test: run, held to their verdict, and shown whole where they are not what was expected."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from faultlab.checks import Verdict
from faultlab.checks.run_result import RunResult
from faultlab.evidence.journal import JournalLine
from faultlab.evidence.run_evidence import Evidence
from faultlab.report.text import result_lines


@dataclass(frozen=True)
class Judged:
    """A run that was what the test expected of it."""

    result: RunResult

    def said(self, check: str) -> str:
        """A check's summary."""
        return next(one.summary for one in self.result.checks if one.name == check)

    def journal(self, name: str) -> list[JournalLine]:
        return Evidence(Path(self.result.evidence)).journal(f"journal-{name}.jsonl")

    def arrivals(self, op: str, server: str) -> list[JournalLine]:
        """What the server's application got, in its order: `frame`, `chunk` or `datagram`."""
        return [line for line in self.journal(server) if line["op"] == op and line["phase"] == "invoke"]

    def sent(self, client: str) -> list[JournalLine]:
        """What the client's application sent, in its order."""
        return [line for line in self.journal(client) if line["op"] == "message" and line["phase"] == "invoke"]


Judge = Callable[..., Judged]


def told(result: RunResult, expected: Verdict) -> str:
    return "\n".join((f"expected {expected}:", *result_lines(result)))
