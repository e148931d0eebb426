"""Each field of each packet equals tshark's: on sample captures of other projects, and on captures of this one."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from faultlab.captures.files import CaptureFile
from faultlab.errors import UsageError

from tests.captures.tshark_fields import differences
from tests.support.capabilities import missing
from tests.support.capture_bytes import LINKS, ORDERS, pcap, pcapng
from tests.support.golden_frames import FRAMES

ROOT = Path(__file__).resolve().parent.parent.parent
SAMPLES = ROOT / ".build" / "captures"
SUFFIXES = {".pcap", ".pcapng", ".cap", ".dmp"}
ENOUGH = 500
"""So many of the samples must be readable, or this test would say little."""


@pytest.fixture(autouse=True)
def _tshark() -> None:
    if shutil.which("tshark") is None:
        missing("tshark", "not on PATH")


def test_golden_frames(tmp_path: Path) -> None:
    file = tmp_path / "some.pcap"
    for order in ORDERS:
        for data in (pcap(list(FRAMES.values()), order), pcapng(list(FRAMES.values()), order)):
            file.write_bytes(data)
            assert list(differences(file)) == []


@pytest.mark.parametrize("name", LINKS)
def test_link_types(tmp_path: Path, name: str) -> None:
    link_type, frame = LINKS[name]
    file = tmp_path / "some.pcapng"
    file.write_bytes(pcapng([frame], link_type=link_type))
    assert list(differences(file)) == []


@pytest.mark.timeout(3600)
def test_samples() -> None:
    files = [file for file in sorted(SAMPLES.rglob("*")) if file.suffix in SUFFIXES and _is_capture(file)]
    if not files:
        missing("captures", f"no sample captures in {SAMPLES.relative_to(ROOT)} (make captures)")
    assert len(files) >= ENOUGH
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # nearly all of the time is tshark's, which starts for each file
        different = [line for lines in pool.map(lambda file: list(differences(file)), files) for line in lines]
    assert different == []


def _is_capture(file: Path) -> bool:
    try:
        CaptureFile(file)
    except UsageError:
        return False
    return True
