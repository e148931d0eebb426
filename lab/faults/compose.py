"""Which faults may stand together on one path."""

from __future__ import annotations

from collections.abc import Sequence

from lab.errors import UsageError
from lab.faults.base import Fault


def check_composition(faults: Sequence[Fault]) -> None:
    """UsageError where two faults of a path clash, or one lacks another that it needs.

    Two of one kind clash unless their `match` differs (netem merges all of a path into one qdisc with one of each);
    two that hold state for the whole path (`per_path`) always clash.
    """
    kinds = {fault.kind for fault in faults}
    for number, fault in enumerate(faults):
        for other in faults[:number]:
            if fault.kind == other.kind and (fault.per_path or fault.match == other.match):
                raise UsageError(
                    f"faults clash: {other.describe()!r} and {fault.describe()!r} on one path; "
                    f"expected one {fault.kind}, or two with different 'match'"
                )
        if fault.needs and not fault.needs & kinds:
            raise UsageError(
                f"fault {fault.describe()!r} needs {' or '.join(sorted(fault.needs))} on the same path; add it"
            )
