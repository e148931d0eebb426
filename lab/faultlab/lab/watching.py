"""A lab looked at while it runs: moments at which its evidence is whole on disk, and where that disk is."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from faultlab.errors import LabError, UsageError
from faultlab.lab.lab import Lab
from faultlab.network.topology import Node
from faultlab.runtimes import control
from faultlab.runtimes.compose.project import HUB

Pause = Callable[[], bool]
"""Called between two moments: waits, and says whether there should be another."""


def every(seconds: float) -> Pause:
    """A pause of that long, for ever."""

    def pause() -> bool:
        time.sleep(seconds)
        return True

    return pause


def snapshots(lab: Lab, pause: Pause) -> Iterator[dict[str, Any]]:
    """What `Lab.flush` says, again and again, until the lab has ended or the pause says so.

    When the lab ends, a last moment has None for each size in `written`: all there is. UsageError where no such lab is
    up or it records nothing; LabFailure where it is up and does not answer any more.
    """
    moment = lab.flush()
    if not moment["written"]:
        raise UsageError(f"lab {lab.name!r} records nothing, so there is nothing to look at")
    yield moment
    while pause():
        try:
            moment = lab.flush()
        except LabError:
            yield {**moment, "written": dict.fromkeys(moment["written"])}
            if lab.ends_by_itself():
                return
            raise
        yield moment


def lab_of(what: Path) -> Lab:
    """The lab that runs with this name, or with its evidence in this folder. UsageError where there is none."""
    names = control.running()
    if str(what) in names:
        return Lab(str(what))
    for lab in map(Lab, names):
        if _evidence_of(lab) == what.resolve():
            return lab
    raise UsageError(f"{what}: no lab of this name or with this evidence is up (up: {', '.join(names) or 'none'})")


def _evidence_of(lab: Lab) -> Path | None:
    """None of a lab that is still coming up, or going down."""
    try:
        return lab.evidence
    except LabError:
        return None


def nodes(facts: dict[str, Any]) -> tuple[Node, ...]:
    """The lab's nodes in its own order, from its status."""
    return tuple(Node(name, node["mac"], node["ipv4"], node["ipv6"]) for name, node in facts["nodes"].items())


def beside_evidence(lab: Lab, facts: dict[str, Any], words: Sequence[str]) -> None:
    """A Compose lab's evidence is in its hub until the lab is down: then run `lab` with these words there, and end."""
    if facts["runtime"] == "compose" and not (Path(facts["evidence"]) / "ledger.bin").exists():
        _in_hub(lab, words)


def _in_hub(lab: Lab, words: Sequence[str]) -> NoReturn:
    status = lab.exec(HUB, ["lab", *words]).returncode
    sys.exit(0 if status and lab.ends_by_itself() else status)  # the hub ends before its commands do
