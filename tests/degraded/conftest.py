"""Fixtures of the suite on real networks."""

from __future__ import annotations

import pytest

from lab.errors import MissingCapability
from lab.runtimes import netns
from tests.capabilities import missing


@pytest.fixture(scope="session")
def needs_netns() -> None:
    """This host can hold a netns lab, or the test is left out, saying why."""
    try:
        netns.check_host()
    except MissingCapability as error:
        missing("netns", str(error))
