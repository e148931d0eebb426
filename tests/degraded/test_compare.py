"""`lab compare`, by its own command: TCP keeps everything and makes it wait, UDP loses it and makes nothing wait."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def test_tcp_against_udp(needs_netns: None, tmp_path: Path) -> None:
    """Of 400 messages a tenth is lost (none: 0.9^400 < 1e-18)."""
    command = [sys.executable, "-m", "faultlab", "compare", "--loss", "0%", "--loss", "10%", "--json", "--seed", "1"]
    done = subprocess.run([*command, "--out", str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = {(row["protocol"], row["loss_percent"]): row for row in json.loads(done.stdout)}
    assert {key: row["delivered"] == 1 for key, row in rows.items()} == {
        ("tcp", 0): True, ("udp", 0): True, ("tcp", 10): True, ("udp", 10): False,
    }  # fmt: skip
    assert all(row["round_trips"] >= 1 for key, row in rows.items() if key[0] == "tcp")
    assert rows["udp", 10]["round_trips"] == 0
    assert rows["tcp", 0]["cost"] > rows["udp", 0]["cost"] > 1
    # A lost segment is sent again after a round trip at least (20 ms), and what is behind it waits for that.
    assert rows["tcp", 10]["behind_a_loss_ms"] >= 20
