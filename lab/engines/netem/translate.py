"""Faults as netem's options. What netem can't do is refused here, by name, before anything is started."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lab.engines.netem.options import Netem
from lab.errors import UsageError
from lab.faults import Fault, Match

NS_PER_MS = 1_000_000


def translate(path: str, faults: Sequence[Fault]) -> Netem:
    fields: dict[str, Any] = {}
    for fault in faults:
        if fault.kind not in _OPTIONS:
            raise _cannot(fault.describe(), path, "netem has no such fault")
        if fault.match != Match():
            raise _cannot(fault.describe(), path, "netem takes every packet of a path alike")
        fields |= _OPTIONS[fault.kind](fault)
    return Netem(**fields)


def _cannot(what: str, path: str, why: str) -> UsageError:
    return UsageError(f"engine netem can't do {what!r} on {path}: {why}; use --engine wire")


_OPTIONS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "latency": lambda f: {
        "delay": round(f.delay_ms * NS_PER_MS),
        "jitter": round(f.jitter_ms * NS_PER_MS),
        "distribution": f.distribution,
    },
    "loss": lambda f: {"loss": f.percent / 100},
    "duplicate": lambda f: {"duplicate": f.percent / 100},
    "reorder": lambda f: {"reorder": f.percent / 100, "gap": f.gap},
    "corrupt": lambda f: {"corrupt": f.percent / 100},
    "rate": lambda f: {"rate": round(f.rate_kbit * 125)},
    "partition": lambda f: {"loss": 1.0},
}
