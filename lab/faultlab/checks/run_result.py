"""What a run has to say: the one thing that all reports are made of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from faultlab.checks.base import CheckResult, Verdict, worst

EXIT_CODES = {Verdict.PASS: 0, Verdict.FAIL: 1, Verdict.INCONCLUSIVE: 3}


@dataclass(frozen=True)
class RunResult:
    """One run of one scenario.

    `runtime` and `engine` are those really used; `evidence` is the folder of captures, ledger and journals; `error`
    says why there is no verdict by checks, where the lab itself went wrong; `digests` are the SHA-256 of the files
    that were judged, by name.
    """

    scenario: str
    about: str
    runtime: str
    engine: str
    seed: int
    verdict: Verdict
    seconds: float
    checks: tuple[CheckResult, ...]
    evidence: str
    error: str | None = None
    digests: dict[str, str] = field(default_factory=dict, hash=False)


def worst_of(results: Iterable[RunResult]) -> Verdict:
    """FAIL > INCONCLUSIVE > PASS; no run at all is INCONCLUSIVE."""
    return worst(result.verdict for result in results)
