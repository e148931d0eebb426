"""Which engines join nodes, by name."""

from __future__ import annotations

from lab.engines.netem.engine import NetemEngine
from lab.engines.wire.engine import WireEngine
from lab.errors import UsageError
from lab.runtimes.base import LinkEngine

LINK_ENGINES: dict[str, type[LinkEngine]] = {engine.name: engine for engine in (WireEngine, NetemEngine)}


def link_engine(name: str) -> LinkEngine:
    if name not in LINK_ENGINES:
        raise UsageError(f"no engine {name!r}; the engines are {', '.join(LINK_ENGINES)}")
    return LINK_ENGINES[name]()
