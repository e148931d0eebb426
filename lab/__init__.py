"""A network lab that proves its faults. `Lab` holds a running one; `lab.faults` has what can be put on its paths."""

from lab.lab import Lab

__all__ = ["Lab"]
