"""Plots of a run, as Plotly takes them. Colours are names of the style sheet's, so that they follow the theme.

Pure: arrays in, plain values out. A trace never has more than `MOST_POINTS` points; what was left out is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from faultlab.report.page import Figure

MOST_POINTS = 5000
CURVE_POINTS = 500
COLOURS = ("var(--one)", "var(--two)", "var(--three)", "var(--four)", "var(--five)", "var(--six)")
Floats = NDArray[np.float64]
PlotTrace = dict[str, Any]


@dataclass(frozen=True)
class Points:
    """Some points: times in seconds since the run's first packet, and a value at each."""

    seconds: Floats
    values: Floats

    @classmethod
    def of(cls, seconds: ArrayLike, values: ArrayLike) -> Points:
        return cls(np.asarray(seconds, np.float64), np.asarray(values, np.float64))

    def __len__(self) -> int:
        return len(self.seconds)


@dataclass(frozen=True)
class Way:
    """One direction of a flow, `client->tcp-server`: where each packet stands in the stream when it was sent.

    `lost` were dropped on the way, `again` sent again (TCP), `acked` is what the other end had acknowledged. `unit`
    is what `values` count: bytes of the stream, or packets.
    """

    path: str
    unit: str
    sent: Points
    lost: Points
    again: Points
    acked: Points


@dataclass(frozen=True)
class FaultSpan:
    """A fault, from when to when it stood, in seconds since the first packet."""

    told: str
    from_s: float
    to_s: float


@dataclass(frozen=True)
class Delays:
    """A path's packets that arrived: when each was sent, how long it took, and how long the faults were to hold it.

    `asked_ms` is None where no ledger says.
    """

    path: str
    seconds: Floats
    measured_ms: Floats
    asked_ms: Floats | None


def sequence_figure(number: str, flow: str, ways: Sequence[Way]) -> Figure:
    """Where the stream stood when (as tcptrace's time-sequence graph), a plot for each direction above the other."""
    traces: list[PlotTrace] = []
    layout: dict[str, Any] = {"xaxis": {"title": {"text": "seconds"}}, "annotations": []}
    left_out = 0
    for row, way in enumerate(ways):
        axis = "y" if row == 0 else f"y{row + 1}"
        top = 1 - row / len(ways)
        layout["annotations"].append(_name(way.path, top))
        layout["yaxis" if row == 0 else f"yaxis{row + 1}"] = {
            "domain": [max(0.0, top - 1 / len(ways) + (0.05 if row + 1 < len(ways) else 0)), top - 0.1],
            "title": {"text": way.unit},
            "rangemode": "tozero",
        }
        marks = (
            ("acknowledged", way.acked, {"mode": "lines", "line": {"shape": "hv", "width": 1, "color": "var(--soft)"}}),
            ("sent", way.sent, _dots("var(--one)", 4)),
            ("sent again", way.again, _dots("var(--again)", 9, "diamond-open", 2)),
            ("lost", way.lost, _dots("var(--fail)", 9, "x-thin", 2.5)),
        )
        for name, points, look in marks:
            if len(points):
                shown = thinned(points)
                left_out += len(points) - len(shown)
                known = any(trace["name"] == name for trace in traces)
                traces.append(_trace(name, shown, look) | {"yaxis": axis, "legendgroup": name, "showlegend": not known})
    if len(ways) > 1:
        layout["xaxis"]["anchor"] = f"y{len(ways)}"
    says = "; ".join(
        f"{way.path}: {len(way.sent)} sent, {len(way.lost)} lost, {len(way.again)} sent again" for way in ways
    )
    return Figure(f"sequence-{number}", f"Sequence over time: {flow}", says + _thinned(left_out), traces, layout)


def times_figure(paths: Sequence[Delays], rtts: Sequence[tuple[str, Points]], windows: Sequence[FaultSpan]) -> Figure:
    """One-way delay of each path and round trips by node against time; while a fault stood, the ground is shaded."""
    traces: list[PlotTrace] = []
    left_out = 0
    for index, path in enumerate(paths):
        points = Points(path.seconds, path.measured_ms)
        shown = thinned(points)
        left_out += len(points) - len(shown)
        traces.append(_trace(f"one way, {path.path}", shown, _dots(_colour(index), 5)))
    for index, (node, points) in enumerate(rtts, start=len(paths)):
        shown = thinned(points)
        left_out += len(points) - len(shown)
        traces.append(_trace(f"round trip, {node}", shown, _dots(_colour(index), 6, "circle-open", 1.5)))
    layout = {
        "xaxis": {"title": {"text": "seconds"}},
        "yaxis": {"title": {"text": "ms"}, "rangemode": "tozero"},
        "shapes": [_shade(window) for window in windows],
    }
    says = "; ".join([*map(_delays_in_words, paths), *map(_trips_in_words, rtts)])
    stood = "; ".join(f"{one.told} from {one.from_s:.2f} s to {one.to_s:.2f} s" for one in windows[:6])
    shaded = f". Shaded: {stood}" + ("; and more" if len(windows) > 6 else "") if windows else ""
    title = "Round trips and one-way delay over time" if rtts else "One-way delay over time"
    return Figure("times", title, says + shaded + _thinned(left_out), traces, layout)


def cdf_figure(paths: Sequence[Delays]) -> Figure:
    """For each path, the share of its packets that took so long or less: as asked (dashed) and as measured."""
    traces: list[PlotTrace] = []
    for index, path in enumerate(paths):
        for name, values, dash in (("asked", path.asked_ms, "dash"), ("measured", path.measured_ms, "solid")):
            if values is None:
                continue
            look = {"mode": "lines", "line": {"shape": "hv", "width": 2, "color": _colour(index), "dash": dash}}
            traces.append(_trace(f"{name}, {path.path}", cumulative(values), look))
    layout = {
        "xaxis": {"title": {"text": "ms"}, "rangemode": "tozero"},
        "yaxis": {"title": {"text": "share of packets"}, "tickformat": ".0%", "range": [0, 1.02]},
    }
    return Figure("cdf", "Delay, asked and measured", "; ".join(map(_asked_in_words, paths)), traces, layout)


# -- points ------------------------------------------------------------------------------------------------------------


def thinned(points: Points, most: int = MOST_POINTS) -> Points:
    """At most so many of them, evenly chosen; the first, the last, the lowest and the highest are among them."""
    if len(points) <= most:
        return points
    even = np.linspace(0, len(points) - 1, most - 2).astype(np.int64)
    kept = np.unique(np.concatenate((even, [np.argmin(points.values), np.argmax(points.values)])))
    return Points(points.seconds[kept], points.values[kept])


def cumulative(values: Floats, most: int = CURVE_POINTS) -> Points:
    """The empirical distribution: x a value, y the share of values not above it. Many are thinned to quantiles."""
    ordered = np.sort(values)
    kept = np.unique(np.linspace(0, len(ordered) - 1, min(most, len(ordered))).astype(np.int64))
    return Points(np.concatenate((ordered[:1], ordered[kept])), np.concatenate(([0.0], (kept + 1) / len(ordered))))


def _trace(name: str, points: Points, look: dict[str, Any]) -> PlotTrace:
    x, y = np.round(points.seconds, 6).tolist(), np.round(points.values, 4).tolist()
    return {"type": "scatter", "name": name, "x": x, "y": y, **look}


def _dots(colour: str, size: int, symbol: str = "circle", line: float = 0) -> dict[str, Any]:
    marker: dict[str, Any] = {"color": colour, "size": size, "symbol": symbol}
    if line:
        marker["line"] = {"width": line, "color": colour}
    return {"mode": "markers", "marker": marker}


def _name(path: str, top: float) -> dict[str, Any]:
    """A direction's name above its own plot."""
    return {
        "text": path, "xref": "paper", "yref": "paper", "x": 0, "y": top, "xanchor": "left", "yanchor": "top",
        "showarrow": False, "font": {"color": "var(--soft)"},
    }  # fmt: skip


def _shade(window: FaultSpan) -> dict[str, Any]:
    return {
        "type": "rect", "xref": "x", "yref": "paper", "x0": window.from_s, "x1": window.to_s, "y0": 0, "y1": 1,
        "fillcolor": "var(--stands)", "opacity": 0.35, "line": {"width": 0}, "layer": "below",
    }  # fmt: skip


def _colour(index: int) -> str:
    return COLOURS[index % len(COLOURS)]


# -- words -------------------------------------------------------------------------------------------------------------


def _delays_in_words(path: Delays) -> str:
    middle, high = np.percentile(path.measured_ms, (50, 99))
    return f"{path.path}: {len(path.seconds)} packets, p50 {middle:.2f} ms, p99 {high:.2f} ms"


def _trips_in_words(trip: tuple[str, Points]) -> str:
    node, points = trip
    middle, high = np.percentile(points.values, (50, 99))
    return f"round trips from {node}: {len(points)}, p50 {middle:.2f} ms, p99 {high:.2f} ms"


def _asked_in_words(path: Delays) -> str:
    asked = f"{np.percentile(path.asked_ms, 50):.2f} ms asked, " if path.asked_ms is not None else ""
    return f"{path.path}: p50 {asked}{np.percentile(path.measured_ms, 50):.2f} ms measured"


def _thinned(left_out: int) -> str:
    return f". {left_out} points are not drawn, evenly chosen" if left_out else ""
