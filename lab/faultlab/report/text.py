"""Results as lines for people; coloured where they go to a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from rich.console import Console

from faultlab.checks.base import CheckResult, Verdict
from faultlab.checks.run_result import RunResult
from faultlab.printing import Text

PROOF = "fault_seen"
COLOURS = {Verdict.PASS: "green", Verdict.FAIL: "bold red", Verdict.INCONCLUSIVE: "bold yellow"}


def result_lines(result: RunResult) -> Iterator[str]:
    """What was run and its verdict; which packets prove its faults; what each check says; where to look.

    first-syn-ack-lost   netns/wire   seed 731942   PASS   1.09 s
      fault seen   dropped 1 of 25: drop (tcp syn+ack) on tcp-server->client [first: sent.pcapng frame 2 (ledger 2)]
      reliability  20/20
      evidence     runs/first-syn-ack-lost-20260101-120000
    """
    place = f"{result.runtime}/{result.engine}"
    yield f"{result.scenario}   {place}   seed {result.seed}   {result.verdict}   {result.seconds:.2f} s"
    names = [check.name.replace("_", " ") for check in result.checks]
    width = max(map(len, (*names, "evidence")))
    if result.error is not None:
        yield f"  {'error':<{width}}  {result.error}"
    for name, check in zip(names, result.checks, strict=True):
        for number, said in enumerate(_said(check)):
            yield f"  {'' if number else name:<{width}}  {said}"
    yield f"  {'evidence':<{width}}  {result.evidence}"


def _said(check: CheckResult) -> list[str]:
    """A check that passed says so in a line, and proof of a fault one for each fault; any other says all it found."""
    findings = [str(finding) for finding in check.findings]
    if check.verdict is not Verdict.PASS:
        return [f"{check.verdict}: {check.summary}", *(f"- {finding}" for finding in findings)]
    return findings if check.name == PROOF and findings else [check.summary]


def summary(results: Sequence[RunResult], seconds: float | None = None) -> str:
    """`19 scenarios: 18 PASS, 1 FAIL in 61.3 s`; what did not pass is named. `seconds` where some ran at once."""
    counts = Counter(result.verdict for result in results)
    told = ", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict if counts[verdict])
    bad = [result.scenario for result in results if result.verdict is not Verdict.PASS]
    seconds = sum(result.seconds for result in results) if seconds is None else seconds
    what = "scenario" if len(results) == 1 else "scenarios"
    return f"{len(results)} {what}: {told} in {seconds:.1f} s" + (f" (not passed: {', '.join(bad)})" if bad else "")


def show(text: str, console: Console) -> None:
    """One line, whole, whatever the terminal's width; verdicts in colour where there are colours."""
    line = Text(text)
    for verdict, colour in COLOURS.items():
        line.highlight_words([verdict.value], colour)
    console.print(line, soft_wrap=True, highlight=False)
