"""The toxics of toxiproxy 2.12: what its proxies can do to a TCP stream. Data; `faultlab.engines.toxiproxy` places
them.

They are no `Fault`s: a fault acts on the packets of a path, a toxic on one direction of the streams through a proxy.
Names and meanings are toxiproxy's own (its README, "Toxics"), units are ours: `attributes` converts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from faultlab.units import Bytes, Kilobits, Milliseconds, Percent
from faultlab.validation import ScenarioModel


def toxic_words(toxic: Mapping[str, Any]) -> str:
    """As `Toxic.describe`, of a toxic as toxiproxy's API has it."""
    values = ", ".join(f"{name} {value}" for name, value in sorted((toxic["attributes"] or {}).items()))
    share = "" if toxic["toxicity"] == 1 else f", on {100 * toxic['toxicity']:g}% of connections"
    return f"{toxic['type']} {toxic['stream']}: {values}{share}"


class Toxic(ScenarioModel):
    """The base of all toxics.

    `stream` is `downstream` (server to client) or `upstream` (client to server); `toxicity_percent` the share of
    connections that it hits, by toxiproxy's own random numbers, which follow no seed.
    """

    type: str
    stream: Literal["upstream", "downstream"] = "downstream"
    toxicity_percent: Annotated[Percent, Field(gt=0, alias="toxicity")] = 100.0

    @model_validator(mode="after")
    def _can_be_said_to_toxiproxy(self) -> Toxic:
        self.attributes()
        return self

    @property
    def toxicity(self) -> float:
        """From 0 to 1, as toxiproxy takes it."""
        return self.toxicity_percent / 100

    def attributes(self) -> dict[str, int]:
        """In toxiproxy's own names and units."""
        raise NotImplementedError

    def describe(self) -> str:
        """One short phrase for people: `slicer downstream: average_size 10, delay 100, size_variation 5`."""
        return toxic_words(
            {"type": self.type, "stream": self.stream, "attributes": self.attributes(), "toxicity": self.toxicity}
        )


class LatencyToxic(Toxic):
    """Each chunk of the stream waits `latency_ms`, give or take up to `jitter_ms`, from when it arrived."""

    type: Literal["latency"] = "latency"
    latency_ms: Milliseconds
    jitter_ms: Milliseconds = 0.0

    def attributes(self) -> dict[str, int]:
        return {"latency": _whole(self.latency_ms, "ms"), "jitter": _whole(self.jitter_ms, "ms")}


class BandwidthToxic(Toxic):
    """The stream passes at `rate_kbit` at most; toxiproxy counts in kB/s, so a multiple of 8 kbit."""

    type: Literal["bandwidth"] = "bandwidth"
    rate_kbit: Annotated[Kilobits, Field(alias="rate")]

    def attributes(self) -> dict[str, int]:
        return {"rate": _whole(self.rate_kbit / 8, "kB/s")}


class SlowCloseToxic(Toxic):
    """The end of the stream is passed on only `delay_ms` after it came."""

    type: Literal["slow_close"] = "slow_close"
    delay_ms: Milliseconds

    def attributes(self) -> dict[str, int]:
        return {"delay": _whole(self.delay_ms, "ms")}


class TimeoutToxic(Toxic):
    """No data passes, and after `timeout_ms` the connection is closed; with 0 it stays open until the toxic goes."""

    type: Literal["timeout"] = "timeout"
    timeout_ms: Milliseconds

    def attributes(self) -> dict[str, int]:
        return {"timeout": _whole(self.timeout_ms, "ms")}


class ResetPeerToxic(Toxic):
    """The connection ends with a TCP RST, at once or after `timeout_ms`."""

    type: Literal["reset_peer"] = "reset_peer"
    timeout_ms: Milliseconds = 0.0

    def attributes(self) -> dict[str, int]:
        return {"timeout": _whole(self.timeout_ms, "ms")}


class SlicerToxic(Toxic):
    """The stream is cut into slices of `average_size_bytes`, give or take `size_variation_bytes`, `delay_ms` apart."""

    type: Literal["slicer"] = "slicer"
    average_size_bytes: Annotated[Bytes, Field(ge=1, alias="average_size")]
    size_variation_bytes: Annotated[Bytes, Field(alias="size_variation")] = 0
    delay_ms: Milliseconds = 0.0

    @model_validator(mode="after")
    def _varies_less_than_its_size(self) -> SlicerToxic:
        size, variation = self.average_size_bytes, self.size_variation_bytes
        if variation >= size:
            raise ValueError(f"size_variation {variation}B: expected less than average_size, {size}B")
        return self

    def attributes(self) -> dict[str, int]:
        return {
            "average_size": self.average_size_bytes,
            "size_variation": self.size_variation_bytes,
            "delay": _whole(self.delay_ms * 1000, "us"),
        }


class LimitDataToxic(Toxic):
    """The connection is closed once `limit_bytes` have passed."""

    type: Literal["limit_data"] = "limit_data"
    limit_bytes: Annotated[Bytes, Field(alias="bytes")]

    def attributes(self) -> dict[str, int]:
        return {"bytes": self.limit_bytes}


AnyToxic = Annotated[
    LatencyToxic | BandwidthToxic | SlowCloseToxic | TimeoutToxic | ResetPeerToxic | SlicerToxic | LimitDataToxic,
    Field(discriminator="type"),
]
"""Any of them, told apart by `type`."""


def _whole(value: float, unit: str) -> int:
    """toxiproxy takes whole numbers; a value that is none would be another one there."""
    if abs(value - round(value)) > 1e-6:
        raise ValueError(f"toxiproxy takes whole {unit}; expected no fraction, not {value:g}")
    return round(value)
