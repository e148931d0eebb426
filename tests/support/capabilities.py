"""What a test needs of the host. A skip names the missing capability; where LAB_REQUIRE names it, the test fails."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest
from faultlab.errors import MissingCapability
from faultlab.runtimes.compose import runtime as compose

KNOWN = {
    "netns": "namespaces and TAP devices, as root or as an ordinary user",
    "wire": "the engine in user space",
    "netem": "the kernel's sch_netem",
    "toxiproxy": "the toxiproxy server (make toxiproxy)",
    "user": "root, to make an ordinary user who then runs the lab",
    "junit-xsd": "the schema of a CI viewer (make junit-xsd)",
    "redis": "Debian's redis-server, for an example",
    "tcpdump": "tcpdump (apt-get install tcpdump)",
    "tshark": "Wireshark's tshark (apt-get install tshark)",
    "chromium": "Chromium, which opens the reports (apt-get install chromium)",
    "captures": "sample captures of other projects (make captures)",
    "docker": "a Docker engine with Compose v2 and the lab's images (make images)",
}


def required() -> set[str]:
    """The capabilities that this run must have (`LAB_REQUIRE=netns,wire`). UsageError of pytest's for unknown ones."""
    names = {name for name in os.environ.get("LAB_REQUIRE", "").replace(" ", "").split(",") if name}
    unknown = sorted(names - KNOWN.keys())
    if unknown:
        raise pytest.UsageError(f"LAB_REQUIRE: unknown {', '.join(unknown)}; known are {', '.join(KNOWN)}")
    return names


def missing(capability: str, why: str) -> NoReturn:
    """Leave the test out, or fail it where this run must have the capability (`LAB_REQUIRE=netns,wire`)."""
    assert capability in KNOWN, f"{capability!r} is not in tests/support/capabilities.py"
    if capability in required():
        pytest.fail(f"LAB_REQUIRE names {capability!r}, and this host lacks it: {why}", pytrace=False)
    pytest.skip(f"needs {capability}: {why}")


def needs_compose() -> None:
    """Leave the test out where no Compose lab can be held here."""
    try:
        compose.check_host()
    except MissingCapability as error:
        missing("docker", str(error))
