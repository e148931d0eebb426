"""What a check is, and what it may say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from faultlab.evidence.gaps import Gaps, Took
from faultlab.evidence.run_evidence import Evidence
from faultlab.units import Milliseconds

FINDINGS_SHOWN = 20
KERNEL_WORDS = {
    "UdpRcvbufErrors": "the socket's receive buffer was full",
    "UdpMemErrors": "UDP had used up its memory",
    "UdpInCsumErrors": "wrong checksum",
    "TcpInCsumErrors": "wrong checksum",
    "TcpExtListenOverflows": "the listen queue was full",
    "TcpExtTCPBacklogDrop": "the socket's backlog was full",
    "TcpExtTCPReqQFullDrop": "the queue of half-open connections was full",
    "TcpExtTCPRcvQDrop": "the socket's receive buffer was full",
    "TcpExtTCPOFODrop": "the out-of-order queue was full",
    "TcpExtRcvPruned": "the socket's receive buffer was full",
    "IpInDiscards": "no room",
    "IpReasmFails": "fragments that did not all come",
}
"""What the kernel's counters of drops mean (nstat(8); Documentation/networking/snmp_counter.rst)."""


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


class CheckOptions(BaseModel):
    """The base of a check's options: in scenario files without `_ms` or `_kbit`, for there the value has the unit."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        populate_by_name=True,
        allow_inf_nan=False,
        alias_generator=lambda name: name.removesuffix("_ms").removesuffix("_kbit"),
    )


class Bounds(CheckOptions):
    """Of a time: the least and the most."""

    at_least_ms: Milliseconds = 0.0
    at_most_ms: Milliseconds = 3_600_000.0


class NoOptions(CheckOptions):
    """For a check that takes none."""


AnyOptions = TypeVar("AnyOptions", bound=CheckOptions)


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


def judge_time(name: str, text: str, took: Took, bounds: Bounds, gaps: Gaps, where: str = "") -> CheckResult:
    """A time against its bounds: INCONCLUSIVE where what the wire did not see decides. `text` has the time in words."""
    fair, least, most = (ns / 1e6 for ns in took)
    if bounds.at_least_ms <= least and most <= bounds.at_most_ms:
        return conclude(name, text)
    text = f"{text}, expected {bounds.at_least_ms:g} ms to {bounds.at_most_ms:.7g} ms"
    if fair > bounds.at_most_ms or most < bounds.at_least_ms:
        return conclude(name, "", [Finding(text, where)])
    return conclude(name, "", unclear=[Finding(f"{text}; {gaps.in_words()}", where or "ledger.bin")])


def took_in_words(took: Took, digits: int) -> str:
    """In ms; both bounds where the wire's gaps make them differ."""
    low, high = (f"{ns / 1e6:.{digits}f}" for ns in (took.least, took.most))
    return f"{low} ms" if low == high else f"{low} to {high} ms"


def kernel_drops(evidence: Evidence, node: str | None = None) -> str:
    """`; the kernel of udp-server dropped, after delivery, 136 (UdpRcvbufErrors: ...)`, of one node or all; or nothing.

    So that nobody looks for it on the wire. To go behind a sentence about what did not come.
    """
    dropped = evidence.end.get("dropped_by_kernel", {})
    return "".join(
        f"; the kernel of {name} dropped, after delivery, "
        + ", ".join(f"{count} ({counter}: {KERNEL_WORDS[counter]})" for counter, count in counts.items())
        for name, counts in dropped.items()
        if node in (None, name)
    )


def _count(findings: Sequence[Finding], word: str) -> str:
    first = findings[0].text
    return first if len(findings) == 1 else f"{first}, and {len(findings) - 1} more {word}"
