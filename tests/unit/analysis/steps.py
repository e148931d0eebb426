"""Steps of a ladder written by hand."""

from __future__ import annotations

from faultlab.analysis.ladder import Arrival, Deed, Fate, Ladder, StandingFault, Step
from faultlab.faults.base import Effect

MS = 1_000_000
DROP = Deed("f1", "drop (tcp syn+ack, which 1)", Effect.DROPPED, "named packet")
LATENCY = Deed("f1", "latency 5ms", Effect.DELAYED, "fixed")


def step(
    frame: int, ms: float, what: str, sender: str = "client", *, after_ms: float | None = 0.0, **more: object
) -> Step:
    """A packet sent at `ms`, delivered `after_ms` later; None: not at all, so that it was dropped."""
    at = round(ms * MS)
    receiver = "server" if sender == "client" else "client"
    ends = "client:20000 -> server:80" if sender == "client" else "server:80 -> client:20000"
    arrivals = () if after_ms is None else (Arrival(at + round(after_ms * MS), frame, 0, what),)
    fields: dict[str, object] = {
        "fate": Fate.DROPPED if after_ms is None else Fate.DELIVERED,
        "arrivals": arrivals,
        "lost": int(after_ms is None),
        **more,
    }
    return Step(at, sender, receiver, frame, frame, f"tcp {ends}", "tcp", what, fields.pop("holds", ""), **fields)  # type: ignore[arg-type]


def ladder(*steps: Step, faults: tuple[StandingFault, ...] = (), unknown: str = "") -> Ladder:
    return Ladder("client", "server", 1_700_000_000_000_000_000, steps, faults, unknown)
