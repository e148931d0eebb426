"""Quantities: numbers with units in text, bare numbers in Python."""

from __future__ import annotations

from typing import Any

import pytest
from faultlab.units import Bytes, Kilobits, Milliseconds, Percent
from pydantic import TypeAdapter, ValidationError

DURATION, PERCENT, RATE, SIZE = map(TypeAdapter, (Milliseconds, Percent, Kilobits, Bytes))


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (DURATION, "50ms", 50),
        (DURATION, "1.5s", 1500),
        (DURATION, "250us", 0.25),
        (DURATION, " 2 min ", 120_000),
        (DURATION, "1S", 1000),
        (PERCENT, "0.1%", 0.1),
        (RATE, "2mbit", 2000),
        (RATE, "2Mbit", 2000),
        (RATE, "500bit", 0.5),
        (RATE, "1gbit", 1e6),
        (SIZE, "64KiB", 65_536),
        (SIZE, "1.5kB", 1500),
        (SIZE, "1.001kB", 1001),
        (SIZE, "100B", 100),
    ],
)
def test_text(kind: TypeAdapter[Any], text: str, value: float) -> None:
    assert kind.validate_python(text, context={"typed": True}) == value
    assert type(kind.validate_python(text)) is (int if kind is SIZE else float)


@pytest.mark.parametrize("kind", [DURATION, PERCENT, RATE, SIZE])
def test_a_bare_number_is_for_python_only(kind: TypeAdapter[Any]) -> None:
    assert kind.validate_python(5) == 5
    with pytest.raises(ValidationError, match="5 is a bare number; write its unit, such as"):
        kind.validate_python(5, context={"typed": True})


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        (DURATION, "50", "'50' has no unit; expected one of us, ms, s, min, such as 50ms"),
        (DURATION, "50mbit", "unknown unit 'mbit'"),
        (DURATION, "-5ms", "no quantity"),
        (DURATION, "ms", "no quantity"),
        (DURATION, "1e3ms", "no quantity"),
        (DURATION, "", "no quantity"),
        (DURATION, True, "expected a number with a unit"),
        (DURATION, None, "expected a number with a unit"),
        (DURATION, -1, "greater than or equal to 0"),
        (DURATION, "61min", "less than or equal to 3600000"),
        (PERCENT, "101%", "less than or equal to 100"),
        (RATE, "0kbit", "greater than 0"),
        (SIZE, "0.5B", "no whole number of bytes"),
        (SIZE, float("inf"), "no whole number of bytes"),
    ],
)
def test_what_can_t_be_meant(kind: TypeAdapter[Any], value: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        kind.validate_python(value)
