from collections.abc import Callable

import pytest
from faultlab_services.errors import ServiceUsageError
from faultlab_services.quantities import duration_s, share, size_bytes, size_range_bytes


@pytest.mark.parametrize(
    ("text", "seconds"), [("50ms", 0.05), ("5s", 5.0), ("1.5s", 1.5), ("200us", 0.0002), ("2min", 120.0), ("0s", 0.0)]
)
def test_duration(text: str, seconds: float) -> None:
    assert duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "size"),
    [("100", 100), ("100B", 100), ("64KiB", 65536), ("1KB", 1000), ("1.5KiB", 1536), ("8MiB", 8 << 20)],
)
def test_size(text: str, size: int) -> None:
    assert size_bytes(text) == size


def test_size_range() -> None:
    assert size_range_bytes("10B..4KiB") == (10, 4096)
    assert size_range_bytes("100B") == (100, 100)


def test_share() -> None:
    assert share("5%") == pytest.approx(0.05)
    assert share("100%") == 1.0


@pytest.mark.parametrize(
    ("parse", "text", "says"),
    [
        (duration_s, "50", "'50' has no unit: write 50ms or 50s"),
        (duration_s, "50parsecs", "units: us, ms, s, min"),
        (duration_s, "-5s", "is not a time"),
        (duration_s, "", "is not a time"),
        (size_bytes, "10GB", "units: B, KB"),
        (size_bytes, "1.5B", "whole number"),
        (size_bytes, "ten", "is not a size"),
        (size_range_bytes, "20..10", "20 is larger than 10"),
        (share, "5", "'5' has no unit: write 5%"),
        (share, "101%", "between 0% and 100%"),
        (share, "5ms", "between 0% and 100%"),
    ],
)
def test_nonsense_is_named(parse: Callable[[str], object], text: str, says: str) -> None:
    with pytest.raises(ServiceUsageError, match=says):
        parse(text)
