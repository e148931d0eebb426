"""Quantities with units, as tc users type them: `50ms`, `5%`, `2mbit`, `64KiB`.

Python code gives numbers to fields whose names carry the unit (`delay_ms=50`). Scenario files and the command line
give text with the unit; there a bare number is an error that says so (pydantic context `{"typed": True}`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationInfo, WithJsonSchema

DURATIONS_MS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "min": 60e3}
RATES_KBIT = {"bit": 1e-3, "kbit": 1.0, "mbit": 1e3, "gbit": 1e6}
SIZES_BYTES = {"B": 1, "kB": 1000, "MB": 10**6, "KiB": 1024, "MiB": 2**20}
PERCENT = {"%": 1.0}


def parse_quantity(text: str, units: Mapping[str, float], example: str) -> float:
    """ValueError, in one line, where the text is no number with one of the units."""
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z%]*)\s*", text)
    if match is None:
        raise ValueError(f"{text!r} is no quantity; expected a number with a unit, such as {example}")
    number, unit = match.groups()
    if unit not in units:
        lower = {name.lower(): name for name in units}
        if unit.lower() not in lower:
            what = f"has the unknown unit {unit!r}" if unit else "has no unit"
            raise ValueError(f"{text!r} {what}; expected one of {', '.join(units)}, such as {example}")
        unit = lower[unit.lower()]
    value = float(number) * units[unit]
    if not math.isfinite(value):
        raise ValueError(f"{text!r} is too large; expected a smaller number, such as {example}")
    return value


def _quantity(units: Mapping[str, float], example: str) -> BeforeValidator:
    def validate(value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, str):
            return parse_quantity(value, units, example)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"expected a number with a unit, such as {example}")
        if info.context and info.context.get("typed"):
            raise ValueError(f"{value!r} is a bare number; write its unit, such as {example}")
        return value

    return BeforeValidator(validate)


def _text_schema(units: Mapping[str, float], example: str) -> WithJsonSchema:
    pattern = rf"^[0-9]+(\.[0-9]+)?\s*({'|'.join(units)})$"
    return WithJsonSchema({"type": "string", "pattern": pattern, "examples": [example]})


Milliseconds = Annotated[
    float, _quantity(DURATIONS_MS, "50ms"), Field(ge=0, le=3_600_000), _text_schema(DURATIONS_MS, "50ms")
]
Percent = Annotated[float, _quantity(PERCENT, "5%"), Field(ge=0, le=100), _text_schema(PERCENT, "5%")]
Kilobits = Annotated[float, _quantity(RATES_KBIT, "2mbit"), Field(gt=0, le=1e9), _text_schema(RATES_KBIT, "2mbit")]


def _whole(value: float) -> int:
    """`1.001kB` is 1001 bytes, though not quite in floating point."""
    if not math.isfinite(value) or abs(value - round(value)) > 1e-6:
        raise ValueError(f"{value!r} is no whole number of bytes")
    return round(value)


Bytes = Annotated[
    int,
    BeforeValidator(lambda value: _whole(value) if isinstance(value, float) else value),
    _quantity(SIZES_BYTES, "64KiB"),
    Field(ge=0, le=2**31),
    _text_schema(SIZES_BYTES, "64KiB"),
]

_SUFFIXES = {"_ms": "ms", "_kbit": "kbit", "_bytes": "B", "_percent": "%"}


def quantity_text(name: str, value: object) -> tuple[str, str]:
    """A field and its value for people: `jitter_ms`, 5.0 is `jitter`, `5ms`. Of a long list, the first eight."""
    if isinstance(value, tuple):
        text = ", ".join(map(_plain, value[:8])) + (" ..." if len(value) > 8 else "")
    else:
        text = _plain(value)
    for suffix, unit in _SUFFIXES.items():
        if f"_{name}".endswith(suffix):
            return name.removesuffix(suffix), text + unit
    return name, text


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.10g}" if isinstance(value, float) else str(value)
