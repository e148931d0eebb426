"""The checks: pure functions from evidence to a verdict, one file each. `CHECKS` is the list of them.

Your own is ten lines: a function (Evidence, options) -> CheckResult, and a `Check` that names it.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from faultlab.checks import (
    delay,
    dns,
    fault_seen,
    finished,
    framing,
    handshake,
    healed,
    ledger,
    ordering,
    pool,
    rate,
    reliability,
    reported,
    retransmissions,
    succeeds,
    udp_accounting,
)
from faultlab.checks.base import Check, CheckResult, Finding, Verdict, conclude, worst
from faultlab.errors import UsageError
from faultlab.evidence.run_evidence import Evidence

__all__ = ["CHECKS", "Check", "CheckResult", "Finding", "Verdict", "run_check", "worst"]

CHECKS: dict[str, Check[Any]] = {
    module.CHECK.name: module.CHECK
    for module in (
        reliability,
        ordering,
        framing,
        udp_accounting,
        dns,
        reported,
        handshake,
        retransmissions,
        delay,
        rate,
        healed,
        pool,
        succeeds,
        fault_seen,
        finished,
        ledger,
    )
}
"""Every check by its name in scenario files."""


def run_check(name: str, options: Mapping[str, Any], evidence: Evidence) -> CheckResult:
    """Judge the evidence. What keeps a check from judging is INCONCLUSIVE, with the reason. UsageError: no such one."""
    if name not in CHECKS:
        raise UsageError(f"no check {name!r}; the checks are {', '.join(CHECKS)}")
    try:
        return CHECKS[name].run(evidence, options)
    except ValidationError as error:
        raise UsageError(f"check {name}: {error.errors()[0]['msg']}") from error
    except Exception as error:  # noqa: BLE001 - whatever breaks a check, the run proves nothing: that is its verdict
        return conclude(name, "", unclear=[Finding(f"the check could not judge: {type(error).__name__}: {error}")])
