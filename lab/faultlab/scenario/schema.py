"""The JSON Schemas of what goes in and what comes out: scenario files, and the results of `lab run --json`.

`lab schema` prints them; docs/ has copies. They follow from the models. What no schema can say (which faults get along,
which port speaks which framing) is left to `load_scenario`.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import models_json_schema

from faultlab.checks import CHECKS
from faultlab.checks.result_json import Report
from faultlab.faults import KINDS, Fault, Match
from faultlab.scenario.model import CHOICE, WORKLOADS, FaultEntry, Scenario, ToxicEntry

Schema = dict[str, Any]
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def scenario_schema() -> Schema:
    """Draft 2020-12; its definitions are named after the Python models."""
    options = {CHECKS[name].options for name in CHOICE}
    models: list[type[BaseModel]] = [Scenario, FaultEntry, ToxicEntry, *WORKLOADS.values(), *KINDS.values(), Match]
    models += sorted(options, key=lambda model: model.__qualname__)
    references, schema = models_json_schema([(model, "validation") for model in models], by_alias=True)
    refs: dict[Any, Schema] = {model: reference for (model, _), reference in references.items()}
    defs: Schema = schema["$defs"]
    scenario, entry = defs.pop("Scenario"), defs["FaultEntry"]["properties"]
    del scenario["properties"]["source"], entry["faults"]
    entry |= {kind: _fault(fault, refs, defs) for kind, fault in KINDS.items()}
    # A kind is needed, besides `on`: two fields at least.
    defs["FaultEntry"] |= {"required": ["on"], "minProperties": 2}
    # The file's name stands in for `name`.
    scenario["required"].remove("name")
    scenario["properties"]["workload"]["items"] = {"oneOf": [_only(kind, refs[one]) for kind, one in WORKLOADS.items()]}
    scenario["properties"]["faults"]["items"] = {"anyOf": [refs[FaultEntry], refs[ToxicEntry]]}
    scenario["properties"]["checks"]["items"] = {
        "anyOf": [{"enum": list(CHOICE)}, *(_only(name, refs[CHECKS[name].options]) for name in CHOICE)]
    }
    scenario["$defs"] = dict(sorted(defs.items()))
    return {"$schema": DIALECT, **_tidy(scenario)}


def results_schema() -> Schema:
    """Draft 2020-12, of `faultlab.checks.result_json`; its `format` is the version."""
    schema = TypeAdapter(Report).json_schema(mode="serialization")
    return {"$schema": DIALECT, **schema}


def _fault(fault: type[Fault], refs: dict[type[BaseModel], Schema], defs: Schema) -> Schema:
    """The ways to write a fault: its fields, the one value that `short` names, or `true` where it needs none."""
    if fault.short == "match":
        return refs[Match]
    own = defs[fault.__name__]
    ways = [refs[fault]]
    if fault.short is not None:
        ways.append(own["properties"][_alias(fault, fault.short)])
    if not own.get("required"):
        ways.append({"const": True})
    return {"anyOf": ways}


def _alias(fault: type[Fault], field: str) -> str:
    found = fault.model_fields.get(field)
    return found.alias or field if found is not None else field


def _only(name: str, value: Schema) -> Schema:
    """A mapping with this one name."""
    return {"type": "object", "properties": {name: value}, "required": [name], "additionalProperties": False}


def _tidy(schema: Any) -> Any:
    """Without what speaks of Python: titles, docstrings (they say `delay_ms`), defaults that a file gives a unit."""
    if isinstance(schema, list):
        return [_tidy(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    foreign = {"default"} if "pattern" in schema and not isinstance(schema.get("default"), str) else set()
    foreign |= {name for name in ("title", "description") if isinstance(schema.get(name), str)}
    return {name: _tidy(one) for name, one in schema.items() if name not in foreign}
