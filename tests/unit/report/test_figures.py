"""Plots: bounded, true to their points, and taken by Plotly."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest
from faultlab.report.figures import (
    CURVE_POINTS,
    MOST_POINTS,
    Delays,
    FaultSpan,
    Points,
    Way,
    cdf_figure,
    cumulative,
    sequence_figure,
    thinned,
    times_figure,
)
from faultlab.report.page import Figure
from plotly.graph_objects import Figure as PlotlyFigure  # type: ignore[import-untyped]

NONE = Points.of([], [])
TWICE = Way(
    "client->server", "bytes", Points.of([0, 1], [0, 100]), Points.of([1], [100]), Points.of([2], [100]),
    Points.of([0.5, 2.5], [100, 200]),
)  # fmt: skip
SLOW = Delays("client->server", np.array([0.0, 1.0, 2.0]), np.array([5.1, 5.2, 9.0]), np.array([5.0, 5.0, 5.0]))


def taken_by_plotly(figure: Figure) -> dict[str, Any]:
    """What Plotly's own validators make of it, the style sheet's colours being some colour."""
    text = re.sub(r"var\(--[\w-]+\)", "#123456", json.dumps({"data": figure.traces, "layout": figure.layout}))
    return dict(PlotlyFigure(json.loads(text)).to_plotly_json())


def names(figure: Figure) -> list[str]:
    return [trace["name"] for trace in figure.traces]


def test_sequence_marks_what_was_lost_and_what_was_sent_again() -> None:
    figure = sequence_figure("1", "client:1 to server:80", [TWICE])
    assert names(figure) == ["acknowledged", "sent", "sent again", "lost"]
    assert [(trace["x"], trace["y"]) for trace in figure.traces[2:]] == [([2.0], [100.0]), ([1.0], [100.0])]
    assert figure.says == "client->server: 2 sent, 1 lost, 1 sent again"
    assert len(taken_by_plotly(figure)["data"]) == 4


def test_each_direction_has_a_plot_of_its_own_and_one_legend() -> None:
    figure = sequence_figure("1", "x", [TWICE, TWICE])
    assert [trace["yaxis"] for trace in figure.traces] == ["y"] * 4 + ["y2"] * 4
    assert [trace["showlegend"] for trace in figure.traces] == [True] * 4 + [False] * 4
    upper, lower = figure.layout["yaxis"]["domain"], figure.layout["yaxis2"]["domain"]
    assert 0 <= lower[0] < lower[1] < upper[0] < upper[1] <= 1
    taken_by_plotly(figure)


def test_times_shade_the_faults() -> None:
    figure = times_figure([SLOW], [("client", Points.of([1], [10]))], [FaultSpan("loss 10%", 0.5, 1.5)])
    (shape,) = figure.layout["shapes"]
    assert (shape["x0"], shape["x1"]) == (0.5, 1.5)
    assert names(figure) == ["one way, client->server", "round trip, client"]
    assert "p50 5.20 ms" in figure.says and "loss 10% from 0.50 s to 1.50 s" in figure.says
    assert "round trips from client: 1, p50 10.00 ms" in figure.says
    taken_by_plotly(figure)


def test_distribution_of_asked_and_measured() -> None:
    figure = cdf_figure([SLOW])
    asked, measured = figure.traces
    assert (asked["line"]["dash"], measured["line"]["dash"]) == ("dash", "solid")
    assert (measured["x"], measured["y"]) == ([5.1, 5.1, 5.2, 9.0], [0.0, 0.3333, 0.6667, 1.0])
    assert figure.says == "client->server: p50 5.00 ms asked, 5.20 ms measured"
    taken_by_plotly(figure)


def test_without_a_ledger_nothing_was_asked() -> None:
    figure = cdf_figure([Delays("a->b", np.array([0.0]), np.array([1.0]), None)])
    assert names(figure) == ["measured, a->b"]


@pytest.mark.parametrize("count", [0, 1, MOST_POINTS, MOST_POINTS + 1, 1_000_000])
def test_thinned_keeps_ends_and_extremes(count: int) -> None:
    values = np.random.default_rng(1).normal(size=count)
    points = thinned(Points.of(np.arange(count), values))
    assert len(points) == min(count, len(points)) <= MOST_POINTS
    if count:
        assert {points.seconds[0], points.seconds[-1]} == {0, count - 1}
        assert (points.values.min(), points.values.max()) == (values.min(), values.max())


def test_what_is_left_out_is_said() -> None:
    many = np.arange(MOST_POINTS + 100.0)
    figure = sequence_figure("1", "x", [Way("a->b", "bytes", Points.of(many, many), NONE, NONE, NONE)])
    assert figure.says.endswith(f". {len(many) - len(figure.traces[0]['x'])} points are not drawn, evenly chosen")
    assert len(figure.traces[0]["x"]) >= MOST_POINTS - 2


def test_a_long_distribution_keeps_its_shape() -> None:
    values = np.random.default_rng(2).exponential(size=100_000)
    curve = cumulative(values)
    assert len(curve) <= CURVE_POINTS + 1
    assert (curve.seconds[0], curve.seconds[-1], curve.values[-1]) == (values.min(), values.max(), 1.0)
    shares = [float(np.mean(values <= x)) for x in curve.seconds[1:]]
    assert shares == pytest.approx(curve.values[1:])
