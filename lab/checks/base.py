"""What a check is, and what it may say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from lab.evidence.evidence import Evidence

FINDINGS_SHOWN = 20


class Verdict(StrEnum):
    """PASS and FAIL are proven; INCONCLUSIVE is all else, and never as good as PASS."""

    PASS = "PASS"
    INCONCLUSIVE = "INCONCLUSIVE"
    FAIL = "FAIL"


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """FAIL > INCONCLUSIVE > PASS; nothing judged is INCONCLUSIVE."""
    ranked = sorted(verdicts, key=list(Verdict).index)
    return ranked[-1] if ranked else Verdict.INCONCLUSIVE


@dataclass(frozen=True)
class Finding:
    """One thing that was seen, and where to look: `sent.pcapng frame 12 (ledger 345)`, `journal-x.jsonl: message 3`."""

    text: str
    where: str = ""

    def __str__(self) -> str:
        return f"{self.text} [{self.where}]" if self.where else self.text


@dataclass(frozen=True)
class CheckResult:
    """A check's word: a verdict, one line, and the findings behind it."""

    name: str
    verdict: Verdict
    summary: str
    findings: tuple[Finding, ...] = ()


class Options(BaseModel):
    """The base of a check's options: in scenario files without `_ms` or `_kbit`, for there the value has the unit."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        populate_by_name=True,
        allow_inf_nan=False,
        alias_generator=lambda name: name.removesuffix("_ms").removesuffix("_kbit"),
    )


class NoOptions(Options):
    """For a check that takes none."""


AnyOptions = TypeVar("AnyOptions", bound=Options)


@dataclass(frozen=True)
class Check(Generic[AnyOptions]):
    """A pure function from evidence to a result, with the model of its options."""

    name: str
    options: type[AnyOptions]
    judge: Callable[[Evidence, AnyOptions], CheckResult]

    def run(self, evidence: Evidence, options: Mapping[str, Any]) -> CheckResult:
        return self.judge(evidence, self.options.model_validate(dict(options)))


def conclude(
    name: str, good: str, wrong: Sequence[Finding] = (), unclear: Sequence[Finding] = (), notes: Sequence[Finding] = ()
) -> CheckResult:
    """FAIL where anything is wrong, else INCONCLUSIVE where anything is unclear, else PASS; `good` is its summary."""
    if wrong:
        return CheckResult(name, Verdict.FAIL, _count(wrong, "wrong"), (*wrong[:FINDINGS_SHOWN],))
    if unclear:
        return CheckResult(name, Verdict.INCONCLUSIVE, _count(unclear, "unclear"), (*unclear[:FINDINGS_SHOWN],))
    return CheckResult(name, Verdict.PASS, good, tuple(notes))


def _count(findings: Sequence[Finding], word: str) -> str:
    first = findings[0].text
    return first if len(findings) == 1 else f"{first}, and {len(findings) - 1} more {word}"
