"""The CV curve as a plotly figure, for reading values off."""

from __future__ import annotations

import math
import textwrap
from typing import Any

from plotly import graph_objects as go

from lamsearch import fates, members, numerals, wording
from lamsearch.answer import Answer, CurvePoint
from lamsearch.records import BASELINE

BLUE, ORANGE, GREY, RULE = "#0067b1", "#c2500a", "#8a939c", "#dfe3e7"
TITLE_WIDTH = 60
"""Characters of a line of the title: half of Optuna's page at 1,000 pixels."""


def figure(answer: Answer) -> go.Figure:
    """The CV curve with error bars, for reading values off: λ = 0 left of the break, λ's without all folds hollow."""
    shown = [point for point in answer.curve if point.mean is not None]
    lacking = [p for p in shown if p.status != "complete" and p.slot != BASELINE]
    groups = (
        ("measured on all folds", "circle", 0.9, [p for p in shown if p.status == "complete" and p.slot != BASELINE]),
        (fates.lacking(answer), "circle-open", 0.45, lacking),
        ("λ = 0", "diamond", 0.9, [p for p in shown if p.slot == BASELINE]),
    )
    target = go.Figure(layout={"template": None})  # the default one is 7 kB
    for name, symbol, opacity, points in filter(lambda group: group[0], groups):
        target.add_scatter(**_trace(answer, name, symbol, opacity, points))
    for low, high in members.runs(answer):
        target.add_vrect(x0=low / 1.04, x1=high * 1.04, fillcolor=BLUE, opacity=0.1, line_width=0, layer="below")
    _rule(target, answer.lam, "λ̂", {"color": BLUE}, right=False)
    if answer.lam_1se != answer.lam:
        _rule(target, answer.lam_1se, "λ₁ₛₑ", {"color": ORANGE, "dash": "dash"}, right=True)
    lams = [point.lam for point in shown if point.lam > 0]
    lines = textwrap.wrap(wording.headline(answer), TITLE_WIDTH)  # half a page wide, and plotly cuts what is longer
    target.update_layout(
        title={"text": "<br>".join(line.replace("<", "&lt;") for line in lines), "font": {"size": 14}},
        xaxis={
            "domain": [0.11, 1],
            "type": "log",
            "title": {"text": "λ"},
            "range": [math.log10(min(lams)) - 0.1, math.log10(max(lams)) + 0.1],
        },
        xaxis2={"domain": [0, 0.07], "anchor": "y", "tickvals": [0], "range": [-1, 1]},
        yaxis={
            "title": {"text": f"validation {numerals.metric_name(answer.metric)}"},
            "tickformat": _format(answer),
            "anchor": "x2",
        },
        plot_bgcolor="white",
        # Below: above the plot it grows into the title where it takes two rows.
        legend={"orientation": "h", "y": -0.2, "yanchor": "top"},
        margin={"t": 42 + 18 * len(lines), "r": 20},
    )
    target.update_xaxes(gridcolor=RULE)
    target.update_yaxes(gridcolor=RULE)
    if answer.metric != "accuracy":
        target.update_yaxes(autorange="reversed")
    return target


def _rule(target: go.Figure, lam: float, name: str, line: dict[str, str], *, right: bool) -> None:
    """A vertical line with its label. plotly.js places shapes on a log axis by value, annotations by exponent."""
    target.add_vline(x=lam, line={"width": 1.5, **line})
    target.add_annotation(
        x=math.log10(lam),
        y=1,
        yref="paper",
        text=f"{name} = {numerals.lam(lam)}",
        font={"color": line["color"]},
        showarrow=False,
        xanchor="left" if right else "right",
        yanchor="top",
    )


def _trace(answer: Answer, name: str, symbol: str, opacity: float, points: list[CurvePoint]) -> dict[str, Any]:
    sign = 1 if answer.metric == "accuracy" else -1
    bars = [
        (0.0, 0.0)
        if point.difference is None or point.difference_low is None or point.difference_high is None
        else (point.difference_high - point.difference, point.difference - point.difference_low)
        for point in points
    ]
    up, down = [bar[0] for bar in bars], [bar[1] for bar in bars]
    folds = (numerals.count(point.n_cells, "fold") for point in points)
    return {
        "name": name,
        "x": [point.lam for point in points],
        "y": [sign * (point.mean or 0.0) for point in points],
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": up if sign > 0 else down,
            "arrayminus": down if sign > 0 else up,
            "color": BLUE if name == "measured on all folds" else GREY,
            "thickness": 1,
            "width": 0,
        },
        "mode": "markers",
        "opacity": opacity,
        "marker": {"symbol": symbol, "size": 8, "color": [BLUE if point.in_range else GREY for point in points]},
        "text": [f"λ = {numerals.lam(point.lam)}, {fold}" for point, fold in zip(points, folds, strict=True)],
        "xaxis": "x2" if name == "λ = 0" else "x",
    }


def _format(answer: Answer) -> str:
    return ".1%" if answer.metric == "accuracy" else ".3f"
