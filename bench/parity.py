"""Which scenario holds where: `make parity` runs each on each runtime and engine and writes docs/parity.md.

python -m bench.parity                                    the whole table; netem in a guest where it is not here
python -m bench.parity --cells FILE RUNTIME/ENGINE...     only these columns, as JSON
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from faultlab.scenario.model import Scenario, load_scenario, shipped

ROOT = Path(__file__).resolve().parent.parent
HERE = ("netns/wire", "compose/wire")
KERNEL = ("netns/netem", "compose/netem")
COLUMNS = ("netns/wire", "netns/netem", "compose/wire", "compose/netem", "toxiproxy")
SEED = 7
RUN_SECONDS = 300
Cells = dict[str, dict[str, str]]
"""Scenario -> column -> what to show."""


def run(name: str, place: str) -> str:
    """The verdict of one run, or why it can't be."""
    runtime, _, engine = place.partition("/")
    with TemporaryDirectory() as folder:
        argv = [sys.executable, "-m", "faultlab", "run", name, "--json", "--out", folder, "--seed", str(SEED)]
        done = subprocess.run(
            [*argv, "--runtime", runtime, "--engine", engine], capture_output=True, text=True, timeout=RUN_SECONDS
        )
        if done.returncode in (2, 4):
            words = done.stderr.strip().splitlines()[-1].removeprefix("lab: ").partition("; expected")[0]
            return f"can't: {words}"
        (result,) = json.loads(done.stdout)["results"]
        return str(result["verdict"])


def cells(places: list[str]) -> Cells:
    found: Cells = {}
    for name in shipped():
        for place in places:
            found.setdefault(name, {})[place] = run(name, place)
            print(f"{name} {place}: {found[name][place]}", file=sys.stderr, flush=True)
    return found


def on_toxiproxy(scenario: Scenario, on_netns: str) -> str:
    """toxiproxy is an engine of streams: it has a scenario's toxics, and none of its packet faults."""
    if scenario.toxics():
        return on_netns
    if any(workload.kind != "tcp" for workload in scenario.workloads):
        return "can't: toxiproxy carries TCP alone"
    kinds = ", ".join(sorted({placed.fault.kind for placed in scenario.placed()}))
    return f"can't: {kinds} is done to packets, toxics to streams"


def in_the_guest() -> Cells:
    file = ROOT / ".build" / "parity.json"
    file.unlink(missing_ok=True)
    argv = [str(ROOT / "tools" / "netem"), sys.executable, "-m", "bench.parity", "--cells", str(file), *KERNEL]
    subprocess.run(argv, check=True, cwd=ROOT, stdin=subprocess.DEVNULL)
    found: Cells = json.loads(file.read_text())
    return found


def page(found: Cells) -> str:
    """The table; a reason stands once, below it."""
    reasons: dict[str, int] = {}
    lines = [f"| scenario | {' | '.join(COLUMNS)} |", f"| --- |{' --- |' * len(COLUMNS)}"]
    for name, row in found.items():
        shown = []
        for column in COLUMNS:
            word, _, reason = row[column].partition(": ")
            shown.append(f"can't ({reasons.setdefault(_general(reason, name), len(reasons) + 1)})" if reason else word)
        lines.append(f"| {name} | {' | '.join(shown)} |")
    notes = [f"{number}. {reason}" for reason, number in reasons.items()]
    return "\n".join([HEAD, *lines, "", *notes, ""])


def _general(reason: str, name: str) -> str:
    return reason.replace(f"scenario {name!r} ", "the scenario ")


HEAD = f"""# Which scenario holds where

Made by `make parity` (seed {SEED}); do not edit. Columns are runtime/engine; the last is toxiproxy as the engine.
Where the machine's own kernel has no netem, the netem columns are runs in a User-Mode Linux guest on the same machine.
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.parity")
    parser.add_argument("--cells", type=Path, metavar="FILE")
    parser.add_argument("places", nargs="*")
    options = parser.parse_args()
    if options.cells is not None:
        options.cells.write_text(json.dumps(cells(options.places)))
        return 0
    found = cells(list(HERE))
    for name, row in in_the_guest().items():
        found[name] |= row
    for name, path in shipped().items():
        found[name]["toxiproxy"] = on_toxiproxy(load_scenario(path), found[name]["netns/wire"])
    (ROOT / "docs" / "parity.md").write_text(page(found))
    bad = [f"{name} {place}" for name, row in found.items() for place in COLUMNS if not _good(row[place])]
    print("\n".join(bad) or "every cell holds", file=sys.stderr)
    return 1 if bad else 0


def _good(cell: str) -> bool:
    return cell == "PASS" or cell.startswith("can't: ")


if __name__ == "__main__":
    sys.exit(main())
