"""Times and sizes for people, to three digits."""

from __future__ import annotations


def duration(ns: int) -> str:
    """`21.2 ms`, `1.01 s`."""
    if ns < 0:
        return f"-{duration(-ns)}"
    seconds = ns / 1e9
    if seconds >= 0.9995:
        return f"{seconds:.0f} s" if seconds >= 1000 else f"{seconds:.3g} s"
    if seconds >= 0.9995e-3:
        return f"{seconds * 1e3:.3g} ms"
    return f"{seconds * 1e6:.3g} us"


def size(octets: int) -> str:
    """`6.1 kB`, `1.2 MB`."""
    if octets < 1000:
        return f"{octets} B"
    for unit, factor in (("kB", 1e3), ("MB", 1e6)):
        if octets < factor * 999.5:
            return f"{octets / factor:.3g} {unit}"
    return f"{octets / 1e9:.3g} GB"
