"""Pool: how long jobs that have nothing to do with names waited for a thread, while names were looked up."""

from __future__ import annotations

from lab.checks.base import Check, CheckResult, Finding, Options, conclude
from lab.evidence.evidence import Evidence
from lab.units import Milliseconds


class PoolOptions(Options):
    """Bounds for the longest wait of any."""

    at_least_ms: Milliseconds = 0.0
    at_most_ms: Milliseconds = 3_600_000.0


def judge(evidence: Evidence, options: PoolOptions) -> CheckResult:
    """A job that still waited when all names were found has waited that long at least, as its client says then."""
    unclear = [
        Finding(f"the journal ends while {count} jobs wait", workload.client_journal)
        for workload in evidence.of_kind("dns")
        if (count := _unended(evidence, workload.client_journal))
    ]
    waits = [wait for workload in evidence.of_kind("dns") for wait in job_waits(evidence, workload.client_journal)]
    if not waits:
        return conclude("pool", "", unclear=[Finding("no job was given to the pool; expected job_every")])
    longest = max(waits)
    text = f"longest wait {longest:.0f} ms of {len(waits)} jobs"
    if options.at_least_ms <= longest <= options.at_most_ms:
        return conclude("pool", text, unclear=unclear)
    expected = f"expected {options.at_least_ms:g} ms to {options.at_most_ms:.7g} ms"
    return conclude("pool", "", [Finding(f"{text}, {expected}", evidence.of_kind("dns")[0].client_journal)])


def _unended(evidence: Evidence, journal: str) -> int:
    jobs = [line["phase"] for line in evidence.journal(journal) if line["op"] == "job"]
    return 2 * jobs.count("invoke") - len(jobs)


def job_waits(evidence: Evidence, journal: str) -> list[float]:
    """In ms, in the order in which the jobs were given."""
    begun: dict[int, int] = {}
    waits: dict[int, float] = {}
    for line in evidence.journal(journal):
        if line["op"] == "job" and line["phase"] == "invoke":
            begun[line["n"]] = line["t"]
        elif line["op"] == "job":
            waits[line["n"]] = (line["t"] - begun[line["n"]]) / 1e6
    return [waits[n] for n in sorted(waits)]


CHECK = Check("pool", PoolOptions, judge)
