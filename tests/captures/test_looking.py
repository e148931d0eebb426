"""Whatever captures other projects have: each has its summary, its packets in words and its ladders.

None is refused for what is in it.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from faultlab.analysis.build_ladder import build_ladder, build_steps, pairs
from faultlab.analysis.conversations import Conversations
from faultlab.analysis.ladder import chosen
from faultlab.analysis.overview import overview, overview_of_file
from faultlab.analysis.paths import path_facts
from faultlab.analysis.remarks import remarks
from faultlab.analysis.subject import open_subject
from faultlab.errors import UsageError
from faultlab.report.inspect_json import packets_json, summary_json
from faultlab.report.inspect_text import overview_lines, packet_lines
from faultlab.report.ladder_text import ladder_text

from tests.support.capabilities import missing

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / ".build" / "captures"
SUFFIXES = {".pcap", ".pcapng", ".cap", ".dmp"}
ENOUGH = 800
PAIRS = 10
WIDTH = 80


def test_each_can_be_looked_at() -> None:
    files = [file for file in sorted(SAMPLES.rglob("*")) if file.suffix in SUFFIXES]
    if not files:
        missing("captures", f"no sample captures in {SAMPLES.relative_to(ROOT)} (make captures)")
    assert sum(map(_look, files)) > ENOUGH


def _look(file: Path) -> bool:
    """Whether there was anything to look at."""
    try:
        seen = overview_of_file(file)
    except UsageError:
        return False
    assert list(overview_lines(seen, None, every=True))
    assert json.dumps(summary_json(seen, None))
    subject = open_subject(file)
    if not subject.captures:
        return False
    if overview(subject) != seen:
        pytest.fail(f"{file}: in one pass it is another summary than of the whole")
    said = remarks(subject, Conversations(subject), path_facts(subject))
    steps = build_steps(subject, remarks=said)
    assert len(steps) == len(subject.main)
    assert list(packet_lines(steps))
    assert json.dumps(packets_json(subject, steps))
    for pair in pairs(subject)[:PAIRS]:
        ladder = build_ladder(subject, pair.left, pair.right, remarks=said)
        assert all(len(line.plain) <= WIDTH for line in ladder_text(ladder, chosen(ladder), WIDTH)), file
    return True
