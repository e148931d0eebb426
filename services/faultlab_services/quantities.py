"""Quantities as a person types them: `50ms`, `64KiB`, `5%`.

Every function raises `ServiceUsageError` with one line that says what was written and what was expected.
"""

import re

from faultlab_services.errors import ServiceUsageError

_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0}
_BYTES = {"": 1, "B": 1, "KB": 1000, "MB": 1000**2, "KiB": 1024, "MiB": 1024**2}
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z%]*)")


def _split(text: str, expected: str) -> tuple[str, str]:
    match = _QUANTITY.fullmatch(text.strip())
    if match is None:
        raise ServiceUsageError(f"{text!r} is not {expected}")
    return match[1], match[2]


def duration_s(text: str) -> float:
    """Seconds in `50ms`, `5s`, `200us` or `1min`. A bare number has no meaning and is refused."""
    expected = "a time: write it like 50ms or 5s"
    number, unit = _split(text, expected)
    if not unit:
        raise ServiceUsageError(f"{text!r} has no unit: write {number}ms or {number}s")
    if unit not in _SECONDS:
        raise ServiceUsageError(f"{text!r} is not {expected} (units: {', '.join(_SECONDS)})")
    return float(number) * _SECONDS[unit]


def size_bytes(text: str) -> int:
    """Bytes in `100B`, `64KiB`, `1MB` or the bare number of bytes `100`."""
    expected = "a size: write it like 100B or 64KiB"
    number, unit = _split(text, expected)
    if unit not in _BYTES:
        raise ServiceUsageError(f"{text!r} is not {expected} (units: {', '.join(filter(None, _BYTES))})")
    size = float(number) * _BYTES[unit]
    if not size.is_integer():
        raise ServiceUsageError(f"{text!r} is not a whole number of bytes")
    return int(size)


def size_range_bytes(text: str) -> tuple[int, int]:
    """Smallest and largest size in bytes of `10B..4KiB`; `100B` alone is both."""
    first, dots, last = text.partition("..")
    smallest = size_bytes(first)
    largest = size_bytes(last) if dots else smallest
    if smallest > largest:
        raise ServiceUsageError(f"{text!r} is not a range: {first} is larger than {last}")
    return smallest, largest


def share(text: str) -> float:
    """The share, 0 to 1, in `0%` to `100%`."""
    number, unit = _split(text, "a percentage: write it like 5%")
    if not unit:
        raise ServiceUsageError(f"{text!r} has no unit: write {number}%")
    if unit != "%" or float(number) > 100:
        raise ServiceUsageError(f"{text!r} is not a percentage between 0% and 100%")
    return float(number) / 100
