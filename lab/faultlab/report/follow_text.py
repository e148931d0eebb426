"""`lab inspect --follow`: a line for each thing that happens.

21:50:12.123456  client -> tcp-server      dropped  data 1..103 (102 B)   by loss every 5
"""

from __future__ import annotations

from datetime import UTC, datetime

from faultlab.analysis.happenings import Happening
from faultlab.printing import Text
from faultlab.report.quantities import duration

_PATH, _WORD, _WHAT = 26, 8, 28
_STYLES = {"dropped": "bold red", "forged": "magenta", "arrived": "dim", "sent": ""}


def line(one: Happening) -> Text:
    """When (UTC), where, what became of it, what it is, and what the faults did."""
    seconds, ns = divmod(one.time_ns, 1_000_000_000)
    clock = f"{datetime.fromtimestamp(seconds, UTC):%H:%M:%S}.{ns // 1000:06d}"
    word = _word(one)
    text = Text(f"{clock}  ", "dim")
    text.append(f"{one.sender} -> {one.receiver}".ljust(_PATH))
    text.append(f"{word:<{_WORD}} ", _STYLES[word])
    text.append(one.what.ljust(_WHAT), _STYLES[word])
    notes = ", ".join(_notes(one))
    text.append(f"  {notes}" if notes else "", "yellow")
    text.rstrip()
    return text


def _word(one: Happening) -> str:
    if one.arrived:
        return "forged" if "injected" in one.effects else "arrived"
    return "dropped" if one.dropped else "sent"


def _notes(one: Happening) -> list[str]:
    late = [f"after {duration(one.late_ns)}"] if one.late_ns else []
    copy = [f"copy {one.copy + 1}"] if one.copy else []
    # That it is delayed was said when it was sent, and how long it took is there.
    deeds = [deed.removeprefix("dropped ") for deed in one.deeds if not (one.arrived and deed.startswith("delayed "))]
    return [*late, *copy, *deeds]
