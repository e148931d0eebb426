"""The examples, run as their README lines say: somebody else's server, and a small one of one's own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.capabilities import missing

ROOT = Path(__file__).parents[2]


def run_example(name: str, out: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", f"examples/{name}", f"--lab-out={out}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert list(out.iterdir()) == [], "evidence of tests that passed"


def test_asyncio(needs_netns: None, tmp_path: Path) -> None:
    run_example("asyncio", tmp_path)


def test_redis(needs_netns: None, tmp_path: Path) -> None:
    if shutil.which("redis-server") is None:
        missing("redis", "no redis-server; apt-get install redis-server")
    run_example("redis", tmp_path)
