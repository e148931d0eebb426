"""Pages and comments that hold together: tables are tables, names in them exist, the Makefile says what to do next."""

from __future__ import annotations

import os
import re
import subprocess
from importlib import import_module
from pathlib import Path

import pytest
import yaml
from faultlab.runtimes.compose.project import COMPOSE_FILE

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SOURCES = sorted((ROOT / "lab").rglob("*.py"))


def rows(text: str) -> list[list[str]]:
    """The tables of a page, each as its lines; what stands in code blocks is none."""
    tables: list[list[str]] = []
    before, in_code = "", False
    for line in text.splitlines():
        in_code ^= line.startswith("```")
        if line.startswith("|") and not in_code:
            if not before.startswith("|"):
                tables.append([])
            tables[-1].append(line)
        before = line
    return tables


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_row_belongs_to_a_table(page: Path) -> None:
    """A row that follows an empty line begins another table, which has no head, so it is shown as text."""
    for table in rows(page.read_text()):
        assert len(table) > 2 and re.fullmatch(r"(\| ?:?---+:? ?)+\|", table[1]), table[0][:100]
        cells = {len(re.findall(r"(?<!\\)\|", line)) for line in table}
        assert len(cells) == 1, f"rows of {cells} cells in the table of {table[0][:100]}"


def exists(name: str) -> bool:
    """Whether a dotted name is a module, or something in one."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = import_module(".".join(parts[:length]))
        except ImportError:
            continue
        for part in parts[length:]:
            annotations = getattr(found, "__annotations__", {})
            if not hasattr(found, part) and part not in annotations:
                return False
            found = getattr(found, part, None)
        return True
    return False


@pytest.mark.parametrize("file", [*PAGES, *SOURCES], ids=lambda file: str(file.relative_to(ROOT)))
def test_what_is_referred_to_is_there(file: Path) -> None:
    names = re.findall(r"`((?:lab|services)(?:\.[A-Za-z_]+)+)`", file.read_text())
    held = {"lab.exec", "lab.popen"}  # of a variable, in an example
    assert [name for name in names if not name.endswith(".py") and name not in held and not exists(name)] == []


def test_evidence_is_not_in_git() -> None:
    """docs/compose.md copies it into ./evidence, and a run leaves its own in ./runs."""
    assert {"runs/", "evidence/"} <= set((ROOT / ".gitignore").read_text().split())


def test_the_compose_project_has_a_name_of_its_own() -> None:
    """Without one it would be called after its folder: compose, as many are."""
    assert yaml.safe_load(COMPOSE_FILE.read_text())["name"] == "fault-lab"


def test_images_that_cannot_be_built_say_how_else(tmp_path: Path) -> None:
    """Where no registry answers, the base images can be made; the builder's own words name a registry only."""
    for name, program in {"docker": "echo 'failed to resolve source metadata' >&2; exit 1", "python": "exit 0"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{program}\n")
        (tmp_path / name).chmod(0o755)
    command = ["make", "-s", "-o", ".venv/.installed", "images", f"BIN={tmp_path}"]
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "images: not built; where no registry answers: tools/docker/base fault-lab/base;" in done.stderr


def test_how_to_get_an_engine_and_images_without_a_registry_is_said() -> None:
    page = (ROOT / "docs" / "compose.md").read_text()
    said = {
        name
        for name in re.findall(r"^ *tools/docker/(\w+)", page, re.MULTILINE)
        if (ROOT / "tools/docker" / name).exists()
    }
    assert {"install", "start", "base"} <= said


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_leads_to_one(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)", page.read_text())
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not missing


def test_the_map_names_every_page() -> None:
    named = set(re.findall(r"\]\(([a-z-]+\.md)\)", (ROOT / "docs" / "index.md").read_text()))
    assert named == {page.name for page in PAGES} - {"README.md", "index.md"}
