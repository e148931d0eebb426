"""The faults: one small file each. This list of names is the public API; `KINDS` follows from it.

A fault is written three ways: as a Python value (`Loss(percent=10)`), in a scenario file or on the command line with
typed quantities (`loss: 10%`, `fault_from_yaml`), and as plain JSON between the lab's processes.
"""

from collections.abc import Mapping
from typing import Any

from faultlab.faults.base import Effect, Fault, Stage
from faultlab.faults.blackhole import Blackhole
from faultlab.faults.burst_loss import BurstLoss
from faultlab.faults.composition import check_composition
from faultlab.faults.corrupt import Corrupt
from faultlab.faults.cut import Cut
from faultlab.faults.drop import Drop
from faultlab.faults.duplicate import Duplicate
from faultlab.faults.flap import Flap
from faultlab.faults.latency import Latency
from faultlab.faults.loss import Loss
from faultlab.faults.match import Match
from faultlab.faults.partition import Partition
from faultlab.faults.rate import Rate
from faultlab.faults.rebind import Rebind
from faultlab.faults.reorder import Reorder
from faultlab.faults.reset import Reset

__all__ = [
    "KINDS",
    "Blackhole",
    "BurstLoss",
    "Corrupt",
    "Cut",
    "Drop",
    "Duplicate",
    "Effect",
    "Fault",
    "Flap",
    "Latency",
    "Loss",
    "Match",
    "Partition",
    "Rate",
    "Rebind",
    "Reorder",
    "Reset",
    "Stage",
    "check_composition",
    "fault_from_json",
    "fault_from_yaml",
    "fault_to_json",
]

KINDS: dict[str, type[Fault]] = {
    fault.kind: fault
    for fault in vars().copy().values()
    if isinstance(fault, type) and issubclass(fault, Fault) and fault is not Fault
}
"""Every fault by its word in scenario files and on the command line."""


def fault_from_yaml(kind: str, value: Any) -> Fault:
    """`loss`, `10%` or `loss`, `{every: 5}`. ValueError (pydantic's names the field) where it can't be meant.

    A mapping's fields are the fault's, without unit suffix where the value has the unit; `drop` takes the selectors
    themselves. `true` stands for a fault without fields, such as `partition`.
    """
    if kind not in KINDS:
        raise ValueError(f"no fault {kind!r}; the faults are {', '.join(KINDS)}")
    fault = KINDS[kind]
    if value is True or value is None:
        value = {}
    elif fault.short == "match":
        value = {"match": value}
    elif not isinstance(value, Mapping):
        if fault.short is None:
            raise ValueError(f"{value!r} says too little for {kind}; expected its fields: {', '.join(_fields(fault))}")
        value = {fault.short: value}
    return fault.model_validate(dict(value), context={"typed": True})


def _fields(fault: type[Fault]) -> list[str]:
    return [field.alias or name for name, field in fault.model_fields.items()]


def fault_to_json(fault: Fault) -> dict[str, Any]:
    """Plain data that `fault_from_json` makes the same fault of."""
    return {"kind": fault.kind, **fault.model_dump(mode="json", exclude_defaults=True)}


def fault_from_json(data: Mapping[str, Any]) -> Fault:
    fields = {name: value for name, value in data.items() if name not in ("kind", "describe")}
    return KINDS[data["kind"]].model_validate(fields)
