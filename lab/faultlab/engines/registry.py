"""Which engines join nodes, by name."""

from __future__ import annotations

from faultlab.engines.interface import LinkEngine
from faultlab.engines.netem.engine import NetemEngine
from faultlab.engines.wire.engine import WireEngine
from faultlab.errors import UsageError

LINK_ENGINES: dict[str, type[LinkEngine]] = {engine.name: engine for engine in (WireEngine, NetemEngine)}


def link_engine(name: str) -> LinkEngine:
    if name not in LINK_ENGINES:
        raise UsageError(f"no engine {name!r}; the engines are {', '.join(LINK_ENGINES)}")
    return LINK_ENGINES[name]()
