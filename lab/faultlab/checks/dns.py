"""DNS: every name asked for has the lab's own addresses, whatever the network did to the questions."""

from __future__ import annotations

from ipaddress import ip_address

from faultlab.checks.base import Check, CheckOptions, CheckResult, Finding, conclude
from faultlab.evidence.run_evidence import Evidence


class DnsOptions(CheckOptions):
    """all_answered: whether every name must have been found; otherwise those without an answer are only counted."""

    all_answered: bool = True


def judge(evidence: Evidence, options: DnsOptions) -> CheckResult:
    """A wrong address fails; a name that was not found fails where the lab has it; no answer in time is unknown."""
    wrong: list[Finding] = []
    unclear: list[Finding] = []
    known = {node["name"]: {node["ipv4"], node["ipv6"]} for node in evidence.ledger.run["nodes"]}
    asked = answered = 0
    for workload in evidence.of_kind("dns"):
        names: dict[int, str] = {}
        ended: set[int] = set()
        for line in evidence.operations(workload):
            where = f"{workload.client_journal}: name {line['n']}"
            if line["phase"] == "invoke":
                names[line["n"]] = line["name"]
                asked += 1
            elif line["phase"] in ("ok", "fail", "unknown"):
                ended.add(line["n"])
            if line["phase"] == "ok":
                answered += 1
                # Names that differ in case are one (RFC 4343).
                expected = known.get(names[line["n"]].lower().rstrip(".").removesuffix(".lab"), set())
                got = {str(ip_address(one)) for one in line["addresses"]}
                if not got:
                    wrong.append(Finding(f"{names[line['n']]} has no address", where))
                elif not got <= {str(ip_address(one)) for one in expected}:
                    wrong.append(Finding(f"{names[line['n']]} has the wrong addresses {', '.join(sorted(got))}", where))
            elif line["phase"] in ("fail", "unknown") and options.all_answered:
                kind = wrong if line["phase"] == "fail" else unclear
                kind.append(Finding(f"{names[line['n']]} has no answer ({line['why']})", where))
        if options.all_answered:
            lost = [name for n, name in names.items() if n not in ended]
            unclear += [Finding(f"{name} has no outcome", workload.client_journal) for name in lost]
    if not asked:
        unclear.append(Finding("no name was asked for"))
    return conclude("dns", f"{answered}/{asked} names", wrong, unclear)


CHECK = Check("dns", DnsOptions, judge)
