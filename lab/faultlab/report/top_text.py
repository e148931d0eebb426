"""`lab top`: what each path carries just now, as a table for a terminal, as plain lines, and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import RenderableType
from rich.table import Table

from faultlab.analysis.counts import Counts, Lately
from faultlab.printing import Text

UNKNOWN = "?"
"""For a rate before there is one."""
UNTIL_DOWN = "{} known once the lab is down: engine netem keeps no ledger meanwhile"
_TOLD = {
    "packets": "packets",
    "connections": "connections",
    "delayed": "delayed",
    "dropped": "dropped",
    "duplicated": "duplicated",
    "reordered": "reordered",
    "changed": "changed",
    "forged": "forged",
    "retransmissions": "sent again",
}
_EVENTS = tuple(_TOLD)[2:]


@dataclass(frozen=True)
class View:
    """A lab at one moment. `faults` are in words, for each path that has some; `paths` are counts since the start;
    `toxics` are in words, for each proxy that has some."""

    name: str
    runtime: str
    engine: str
    seed: int
    faults: Mapping[str, tuple[str, ...]]
    paths: Mapping[str, Counts]
    lately: Lately
    toxics: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def shown(self) -> list[str]:
        """Paths with traffic or faults, by name."""
        return sorted({*self.paths, *self.faults})

    @property
    def unknown(self) -> list[str]:
        """The counts that nobody knows while the lab runs, in words."""
        return [
            word for field, word in _TOLD.items() if any(getattr(one, field) is None for one in self.paths.values())
        ]

    def rate(self, path: str, field: str) -> float | None:
        """Of a count, in each second of the last; None where nothing is known."""
        count = getattr(self.lately.paths.get(path, Counts()), field)
        return None if count is None or not self.lately.seconds else count / self.lately.seconds


def live_table(view: View) -> Table:
    """A row for each path: what is on it, and of each event how many since the start, and in the last second."""
    title = f"lab {view.name}   {view.runtime}/{view.engine}   seed {view.seed}"
    out = Table(box=None, pad_edge=False, title=title, title_justify="left", caption_justify="left")
    out.add_column("path", no_wrap=True)
    for heading in ("packets/s", "bytes/s", "waiting"):
        out.add_column(heading, justify="right", no_wrap=True)
    out.add_column("so far, +in the last second", overflow="fold")
    for path in view.shown:
        waiting = view.paths.get(path, Counts()).waiting
        rates = _number(view.rate(path, "packets")), _scaled(view.rate(path, "size"))
        out.add_row(path, *rates, str(waiting), _told(view, path))
    for proxy, toxics in view.toxics.items():
        out.add_row(proxy, "", "", "", Text("; ".join(toxics), "yellow"))
    if unknown := view.unknown:
        out.caption = UNTIL_DOWN.format(", ".join(unknown))
    return out


def log_lines(view: View) -> Iterator[str]:
    """A line for each path that carried something lately; for logs, which keep every line."""
    for path in view.shown:
        lately = view.lately.paths.get(path)
        if lately is None or not (lately.packets or lately.delivered or lately.dropped):
            continue
        rates = f"{_number(view.rate(path, 'packets'))} packets/s {_scaled(view.rate(path, 'size'))}B/s"
        told = [f"{count} {_TOLD[field]}" for field in _EVENTS if (count := getattr(lately, field))]
        faults = view.faults.get(path, ())
        yield f"{path}  {', '.join([rates, *told])}" + (f"  [{'; '.join(faults)}]" if faults else "")


def as_json(view: View) -> dict[str, Any]:
    """`total` counts since the lab came up, `lately` in the last `lately_seconds`; null is not known yet."""
    return {
        "name": view.name,
        "runtime": view.runtime,
        "engine": view.engine,
        "seed": view.seed,
        "lately_seconds": round(view.lately.seconds, 3),
        "paths": {
            path: {
                "faults": list(view.faults.get(path, ())),
                "total": asdict(view.paths.get(path, Counts())),
                "lately": asdict(view.lately.paths.get(path, Counts())),
            }
            for path in view.shown
        },
        "toxics": {proxy: list(toxics) for proxy, toxics in view.toxics.items()},
    }


def _told(view: View, path: str) -> RenderableType:
    """`loss 5%`, and below it `120 packets, 1 connections, 6 dropped +2`."""
    counts, lately = view.paths.get(path, Counts()), view.lately.paths.get(path, Counts())
    told = [_event(field, getattr(counts, field), getattr(lately, field)) for field in _TOLD if getattr(counts, field)]
    faults = Text("; ".join(view.faults.get(path, ())), "yellow")
    return Text("\n").join(part for part in (faults, Text(", ").join(told)) if part)


def _event(field: str, count: int, lately: int | None) -> Text:
    text = Text(f"{count} {_TOLD[field]}")
    if lately and field in _EVENTS:
        text.append(f" +{lately}", "bold red" if field == "dropped" else "bold yellow")
    return text


def _number(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.0f}"


def _scaled(value: float | None) -> str:
    """In powers of a thousand, two or more digits: 950, 12k, 3400k, 12M."""
    if value is None:
        return UNKNOWN
    for unit in ("", "k", "M"):
        if value < 10_000:
            return f"{value:.0f}{unit}"
        value /= 1000
    return f"{value:.0f}G"
