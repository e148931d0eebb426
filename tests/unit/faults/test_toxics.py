"""Toxics say to toxiproxy what the file said to us, in its own units."""

from __future__ import annotations

from typing import Any

import pytest
from faultlab.faults.toxics import AnyToxic, SlicerToxic, Toxic
from pydantic import TypeAdapter, ValidationError

ADAPTER: TypeAdapter[Any] = TypeAdapter(AnyToxic)

SAID = [
    ({"type": "latency", "latency": "1.5s", "jitter": "20ms"}, {"latency": 1500, "jitter": 20}),
    ({"type": "bandwidth", "rate": "1mbit"}, {"rate": 125}),
    ({"type": "slow_close", "delay": "2s"}, {"delay": 2000}),
    ({"type": "timeout", "timeout": "0ms"}, {"timeout": 0}),
    ({"type": "reset_peer"}, {"timeout": 0}),
    (
        {"type": "slicer", "average_size": "1KiB", "size_variation": "3B", "delay": "1.5ms"},
        {"average_size": 1024, "size_variation": 3, "delay": 1500},
    ),
    ({"type": "limit_data", "bytes": "1kB"}, {"bytes": 1000}),
]


def typed(fields: dict[str, Any]) -> Toxic:
    found: Toxic = ADAPTER.validate_python(fields, context={"typed": True})
    return found


@pytest.mark.parametrize(("fields", "attributes"), SAID, ids=lambda one: one.get("type"))
def test_attributes_are_in_toxiproxys_units(fields: dict[str, Any], attributes: dict[str, int]) -> None:
    toxic = typed(fields)
    assert (toxic.type, toxic.stream, toxic.toxicity) == (fields["type"], "downstream", 1.0)
    assert toxic.attributes() == attributes
    assert all(type(value) is int for value in toxic.attributes().values())


def test_stream_and_toxicity() -> None:
    toxic = typed({"type": "reset_peer", "stream": "upstream", "toxicity": "25%"})
    assert (toxic.stream, toxic.toxicity) == ("upstream", 0.25)
    assert toxic.describe() == "reset_peer upstream: timeout 0, on 25% of connections"


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"type": "latency"}, "Field required"),
        ({"type": "latency", "latency": 5}, "bare number"),
        ({"type": "latency", "latency": "0.5ms"}, "whole ms"),
        ({"type": "bandwidth", "rate": "4kbit"}, "whole kB/s"),
        ({"type": "bandwidth", "rate": "0kbit"}, "greater than 0"),
        ({"type": "slicer", "average_size": "0B"}, "greater than or equal to 1"),
        ({"type": "slicer", "average_size": "5B", "size_variation": "5B"}, "less than average_size"),
        ({"type": "slicer", "average_size": "5B", "delay": "0.0001ms"}, "whole us"),
        ({"type": "reset_peer", "toxicity": "0%"}, "greater than 0"),
        ({"type": "reset_peer", "stream": "up"}, "'upstream' or 'downstream'"),
    ],
    ids=str,
)
def test_what_toxiproxy_could_not_be_told_is_refused(fields: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        typed(fields)


def test_python_gives_numbers() -> None:
    assert SlicerToxic(average_size_bytes=3, delay_ms=0.2).attributes()["delay"] == 200
