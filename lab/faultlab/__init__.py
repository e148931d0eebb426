"""A network lab that proves its faults. `Lab` holds a running one; `faultlab.faults` has what paths can bear."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from faultlab.lab.lab import Lab

__all__ = ["Lab"]


def __getattr__(name: str) -> object:
    """`Lab` is fetched when it is asked for: the sidecars of a Compose lab import a few modules and start at once."""
    if name == "Lab":
        from faultlab.lab.lab import Lab

        return Lab
    raise AttributeError(f"module 'faultlab' has no attribute {name!r}")
