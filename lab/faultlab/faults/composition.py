"""Which faults may stand together on one path."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from faultlab.errors import UsageError
from faultlab.faults.base import Fault
from faultlab.faults.duplicate import Duplicate

COPY_LIMIT = 1000
"""How many of one packet the duplicates of a path may make of it, together."""


def check_composition(faults: Sequence[Fault]) -> None:
    """UsageError where two faults of a path clash, or one lacks another that it needs.

    Two of one kind clash unless their `match` differs (netem merges all of a path into one qdisc with one of each);
    two that hold state for the whole path (`per_path`) always clash.
    """
    for number, fault in enumerate(faults):
        for other in faults[:number]:
            _check_pair(other, fault)
        _check_needs(fault, {other.kind for other in faults})
    made = prod(1 + fault.copies for fault in faults if isinstance(fault, Duplicate))
    if made > COPY_LIMIT:
        raise UsageError(f"duplicate: together up to {made} of one packet; expected {COPY_LIMIT} at most, fewer copies")


def _check_pair(one: Fault, other: Fault) -> None:
    if one.kind != other.kind:
        return
    clash = f"faults clash: {one.describe()!r} and {other.describe()!r} on one path; expected one {one.kind}"
    if one.per_path:
        raise UsageError(f"{clash}, which is for the whole path")
    if one.match == other.match:
        raise UsageError(f"{clash}, or two with different 'match'")


def _check_needs(fault: Fault, kinds: set[str]) -> None:
    if fault.needs and not fault.needs & kinds:
        raise UsageError(
            f"fault {fault.describe()!r} needs {' or '.join(sorted(fault.needs))} on the same path; add it"
        )
