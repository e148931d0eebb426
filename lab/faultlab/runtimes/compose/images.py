"""Which sources a Compose lab's images were built of: `make images` labels them, and `lab up` compares.

    python -m faultlab.runtimes.compose.images        prints this checkout's

The hub and the plugs are this very package; one of another version might do another thing than was asked for.
"""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path

ROOT = Path(__file__).resolve().parents[4]
LABEL = "fault-lab.source"
NAMES = ("fault-lab/node", "fault-lab/sidecar", "fault-lab/toxiproxy")


def source() -> str:
    """A digest of every Python file of `lab` and `services`."""
    digest = blake2b(digest_size=12)
    for file in sorted(one for package in ("lab", "services") for one in (ROOT / package).rglob("*.py")):
        digest.update(f"{file.relative_to(ROOT)}\0".encode() + file.read_bytes() + b"\0")
    return digest.hexdigest()


if __name__ == "__main__":
    print(source())
