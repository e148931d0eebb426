"""Pool: how long jobs that have nothing to do with names waited for a thread, while names were looked up."""

from __future__ import annotations

from collections.abc import Iterator

from faultlab.checks.base import Bounds, Check, CheckResult, Finding, Verdict, conclude, judge_time
from faultlab.evidence.gaps import Took
from faultlab.evidence.run_evidence import Evidence


class PoolOptions(Bounds):
    """Bounds for the longest wait of any."""


def judge(evidence: Evidence, options: PoolOptions) -> CheckResult:
    """A job that still waited when all names were found has waited that long at least, as its client says then."""
    unclear = [
        Finding(f"the journal ends while {count} jobs wait", workload.client_journal)
        for workload in evidence.of_kind("dns")
        if (count := _unended(evidence, workload.client_journal))
    ]
    jobs = [job for workload in evidence.of_kind("dns") for job in _jobs(evidence, workload.client_journal)]
    if not jobs:
        return conclude("pool", "", unclear=[Finding("no job was given to the pool; expected job_every")])
    offset = int(evidence.ledger.run["epoch_offset"])
    waits = [evidence.gaps.took(None, begun + offset, ended + offset) for begun, ended in jobs]
    longest = Took(*map(max, zip(*waits, strict=True)))
    text = f"longest wait {longest.most / 1e6:.0f} ms of {len(jobs)} jobs"
    journal = evidence.of_kind("dns")[0].client_journal
    result = judge_time("pool", text, longest, options, evidence.gaps, journal)
    return conclude("pool", "", unclear=unclear) if unclear and result.verdict == Verdict.PASS else result


def _unended(evidence: Evidence, journal: str) -> int:
    jobs = [line["phase"] for line in evidence.journal(journal) if line["op"] == "job"]
    return 2 * jobs.count("invoke") - len(jobs)


def job_waits(evidence: Evidence, journal: str) -> list[float]:
    """In ms, in the order in which the jobs were given."""
    return [(ended - begun) / 1e6 for begun, ended in _jobs(evidence, journal)]


def _jobs(evidence: Evidence, journal: str) -> Iterator[tuple[int, int]]:
    """When each job was given, and done."""
    begun: dict[int, int] = {}
    ended: dict[int, int] = {}
    for line in evidence.journal(journal):
        if line["op"] == "job":
            (begun if line["phase"] == "invoke" else ended)[line["n"]] = line["t"]
    return ((begun[n], ended[n]) for n in sorted(ended))


CHECK = Check("pool", PoolOptions, judge)
