"""A network lab that proves its faults. `Lab` holds a running one; `lab.faults` has what can be put on its paths."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lab.lab import Lab

__all__ = ["Lab"]


def __getattr__(name: str) -> object:
    """`Lab` is fetched when it is asked for: the sidecars of a Compose lab import a few modules and start at once."""
    if name == "Lab":
        from lab.lab import Lab

        return Lab
    raise AttributeError(f"module 'lab' has no attribute {name!r}")
