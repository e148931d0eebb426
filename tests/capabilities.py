"""What a test needs of the host. A skip names the missing capability; where LAB_REQUIRE names it, the test fails."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def missing(capability: str, why: str) -> NoReturn:
    """Leave the test out, or fail it where this run must have the capability (`LAB_REQUIRE=netns,wire`)."""
    required = os.environ.get("LAB_REQUIRE", "").replace(" ", "").split(",")
    if capability in required:
        pytest.fail(f"LAB_REQUIRE names {capability!r}, and this host lacks it: {why}", pytrace=False)
    pytest.skip(f"needs {capability}: {why}")
