"""The faults: one small file each. This list of names is the public API; `KINDS` follows from it."""

from lab.faults.base import Effect, Fault, Stage
from lab.faults.compose import check_composition
from lab.faults.drop import Drop
from lab.faults.loss import Loss
from lab.faults.match import Match

__all__ = [
    "KINDS",
    "Drop",
    "Effect",
    "Fault",
    "Loss",
    "Match",
    "Stage",
    "check_composition",
]

KINDS: dict[str, type[Fault]] = {
    fault.kind: fault
    for fault in vars().values()
    if isinstance(fault, type) and issubclass(fault, Fault) and fault is not Fault
}
"""Every fault by its word in scenario files and on the command line."""
