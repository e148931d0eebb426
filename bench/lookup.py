"""lookup against resolve: 1,000 names from a slow or lossy DNS server. `make lookup` writes docs/lookup.md.

Each row is a run whose faults were proven. While the names are found, the pool of threads gets another job every
100 ms; how long that waits is what an application that looks names up does to the rest of itself.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from faultlab.checks import Verdict
from faultlab.checks.pool import job_waits
from faultlab.evidence.run_evidence import Evidence
from faultlab.report.progress import progress
from faultlab.report.text import result_lines
from faultlab.running.batch import run_all
from faultlab.running.runner import RunOptions
from faultlab.scenario.model import Scenario, parse_scenario
from matplotlib.figure import Figure
from rich.console import Console

DOCS = Path(__file__).resolve().parent.parent / "docs"
JOURNAL = "journal-dns-client-1.jsonl"
NAMES, CONCURRENCY, SEED = 1000, 100, 1
BAD = {
    "answers take 200 ms": "{on: dns-server->client, latency: 200ms}",
    "20 % lost each way": "{on: client<->dns-server, loss: 20%}",
}
HOW = {
    "lookup, 4 threads": "how: lookup, threads: 4, timeout: 9min",
    "lookup, 32 threads": "how: lookup, threads: 32, timeout: 9min",
    "resolve, 4 threads": "how: resolve, threads: 4, timeout: 1s, retries: 4",
}
FAMILIES = ("4", "6", "both")
HEAD = """# lookup against resolve
A look-up through the system's resolver (getaddrinfo) blocks a thread of a pool until it has its answer. A resolver that
speaks DNS itself blocks none. 1,000 names, 100 at a time, from a DNS server that is slow or behind a lossy network;
meanwhile the same pool gets another job every 100 ms. From runs with a proven fault each (2 cores; seed 1):

    make lookup

![how long the names and the other jobs took](lookup.svg)

"""


@dataclass(frozen=True)
class Row:
    """`seconds` for all names, `found` of them; the median and the longest wait of the other jobs."""

    bad: str
    how: str
    family: str
    seconds: float
    found: int
    wait_ms: float
    longest_ms: float


def scenario(bad: str, how: str, family: str) -> Scenario:
    text = (
        f"about: {how}, {bad}.\ntimeout: 10min\n"
        f"workload: [dns: {{{HOW[how]}, family: {family}, count: {NAMES}, concurrency: {CONCURRENCY}, "
        f"names: [client, tcp-server, udp-server], job_every: 100ms}}]\n"
        f"faults: [{BAD[bad]}]\nchecks: [{{dns: {{all_answered: false}}}}, pool]\n"
    )
    return parse_scenario(text, "lookup")


def row(evidence: Evidence, bad: str, how: str, family: str) -> Row:
    asked = [
        line for line in evidence.journal(JOURNAL) if line["op"] in ("lookup", "resolve") and line["n"] is not None
    ]
    ends = [line for line in asked if line["phase"] in ("ok", "fail", "unknown")]
    waits = job_waits(evidence, JOURNAL)
    seconds = (max(line["t"] for line in ends) - min(line["t"] for line in asked)) / 1e9
    found = sum(line["phase"] == "ok" for line in ends)
    return Row(bad, how, family, seconds, found, median(waits), max(waits))


def table(rows: list[Row]) -> str:
    shown = ["| | | family | all names after | found | other jobs wait, median | longest |", "|" + " --- |" * 7]
    shown += [
        f"| {one.bad} | {one.how} | {one.family} | {one.seconds:.1f} s | {one.found} | {one.wait_ms:.1f} ms "
        f"| {one.longest_ms:.0f} ms |"
        for one in rows
    ]
    return "\n".join(shown) + "\n"


def plot(rows: list[Row], file: Path) -> None:
    figure = Figure(figsize=(10, 4), layout="constrained")
    names, waits = figure.subplots(1, 2, sharey=True)
    labels = [f"{one.how}\n{one.bad}" for one in rows]
    names.barh(labels, [one.seconds for one in rows], color="#4878a8")
    names.set(title="1,000 names found after", xlabel="seconds (log)", xscale="log")
    waits.barh(labels, [one.longest_ms for one in rows], color="#b85450")
    waits.set(title="another job of the pool waits, at most", xlabel="ms (log)", xscale="log")
    names.invert_yaxis()
    figure.savefig(file, metadata={"Date": None})


def main() -> None:
    wanted = [(bad, how, "4") for bad, how in product(BAD, HOW)]
    wanted += [("answers take 200 ms", "lookup, 32 threads", family) for family in FAMILIES[1:]]
    rows: dict[int, Row] = {}
    with TemporaryDirectory() as place, progress(len(wanted), Console(stderr=True)) as shown:
        options = RunOptions(seed=SEED, out=Path(place))
        for number, result in run_all([scenario(*one) for one in wanted], options, 4, shown.running):
            if result.verdict is not Verdict.PASS:
                sys.exit("\n".join(result_lines(result)))
            rows[number] = row(Evidence(Path(result.evidence)), *wanted[number])
    ordered = [rows[number] for number in range(len(wanted))]
    plot([one for one in ordered if one.family == "4"], DOCS / "lookup.svg")
    (DOCS / "lookup.md").write_text(HEAD + table(ordered) + TAIL)


TAIL = """
- **The pool is the limit.** Four threads that each wait 200 ms find 20 names a second, whatever the machine; the other
  jobs stand in the same queue. `lab run dns-lookup-blocks-the-pool` shows it in three seconds, with a check.
- **A lost question costs a thread a second**, the C library's own time-out (resolv.conf(5)); `resolve` waits as long,
  and holds up nobody.
- **IPv4, IPv6 or both.** With `both` getaddrinfo asks for A and AAAA at once (RFC 3596) and waits for the later answer;
  what it returns is in the order of RFC 6724. On a path that only delays, that costs packets and no time; where packets
  are lost, either may be the lost one.
"""

if __name__ == "__main__":
    main()
