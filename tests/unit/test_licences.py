"""scapy is GPL-2.0-only: programs that say so import it, and import nothing of ours (docs/dependencies.md)."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("lab", "services", "dissect", "tests", "bench", "tools")
SPDX = "# SPDX-License-Identifier: GPL-2.0-only"
OURS = {"lab", "services", "tests", "bench"}


def imported(source: str) -> set[str]:
    """Top-level packages that a source imports, anywhere in it."""
    found = set()
    for step in ast.walk(ast.parse(source)):
        if isinstance(step, ast.Import):
            found |= {name.name.partition(".")[0] for name in step.names}
        elif isinstance(step, ast.ImportFrom) and step.module and not step.level:
            found.add(step.module.partition(".")[0])
    return found


def scapy_programs() -> dict[Path, str]:
    files = [file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py")]
    sources = {file: file.read_text() for file in files}
    return {file: source for file, source in sources.items() if "scapy" in imported(source)}


def test_scapy_programs_carry_its_licence() -> None:
    assert scapy_programs()
    assert [str(file) for file, source in scapy_programs().items() if source.splitlines()[0] != SPDX] == []


def test_scapy_programs_import_nothing_under_another_licence() -> None:
    others = OURS | {"docker", "pyroute2", "pytest"}
    assert [str(file) for file, source in scapy_programs().items() if imported(source) & others] == []


def test_the_licence_text_is_here() -> None:
    text = (ROOT / "LICENSES" / "GPL-2.0-only.txt").read_text()
    assert "GNU GENERAL PUBLIC LICENSE" in text
    assert "Version 2, June 1991" in text
