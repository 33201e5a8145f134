"""The CV curve as a plotly figure, for reading values off."""

from __future__ import annotations

from typing import Any

from plotly import graph_objects as go

from lamsearch import wording
from lamsearch.records import BASELINE, Answer, CurvePoint

BLUE, ORANGE, GREY = "#0067b1", "#c2500a", "#8a939c"


def figure(answer: Answer) -> go.Figure:
    """The CV curve with paired error bars, for reading values off: λ = 0 left of the break, dropped λ's hollow."""
    shown = [point for point in answer.curve if point.mean is not None]
    groups = (
        ("measured on all folds", "circle", 0.9, [p for p in shown if p.status == "complete" and p.slot != BASELINE]),
        ("dropped early", "circle-open", 0.45, [p for p in shown if p.status != "complete" and p.slot != BASELINE]),
        ("λ = 0", "diamond", 0.9, [p for p in shown if p.slot == BASELINE]),
    )
    low, high = wording.measured_range(answer)
    target = go.Figure(layout={"template": None})  # the default one is 7 kB
    for name, symbol, opacity, points in groups:
        target.add_scatter(**_trace(answer, name, symbol, opacity, points))
    target.add_vrect(x0=low, x1=high, fillcolor=BLUE, opacity=0.1, line_width=0, layer="below")
    target.add_vline(x=answer.lam, line={"color": BLUE}, annotation={"text": f"λ̂ {wording.lam(answer.lam)}"})
    if answer.lam_1se != answer.lam:
        label = {"text": f"1se {wording.lam(answer.lam_1se)}", "y": 0.92}
        target.add_vline(x=answer.lam_1se, line={"color": ORANGE, "dash": "dash"}, annotation=label)
    target.update_layout(
        title={"text": wording.headline(answer).replace("<", "&lt;")},
        xaxis={"domain": [0.12, 1], "type": "log", "title": {"text": "λ"}},
        xaxis2={"domain": [0, 0.07], "anchor": "y", "tickvals": [0], "ticktext": ["0"], "range": [-1, 1]},
        yaxis={"title": {"text": f"validation {wording.metric_name(answer.metric)}"}, "tickformat": _format(answer)},
        legend={"orientation": "h", "y": -0.2},
    )
    if answer.metric != "accuracy":
        target.update_yaxes(autorange="reversed")
    return target


def _trace(answer: Answer, name: str, symbol: str, opacity: float, points: list[CurvePoint]) -> dict[str, Any]:
    sign = 1 if answer.metric == "accuracy" else -1
    bars = [
        (0.0, 0.0)
        if point.difference is None or point.difference_low is None or point.difference_high is None
        else (point.difference_high - point.difference, point.difference - point.difference_low)
        for point in points
    ]
    up, down = [bar[0] for bar in bars], [bar[1] for bar in bars]
    folds = (wording.count(point.n_cells, "fold") for point in points)
    return {
        "name": name,
        "x": [point.lam for point in points],
        "y": [sign * (point.mean or 0.0) for point in points],
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": up if sign > 0 else down,
            "arrayminus": down if sign > 0 else up,
            "thickness": 1,
            "width": 0,
        },
        "mode": "markers",
        "opacity": opacity,
        "marker": {"symbol": symbol, "size": 8, "color": [BLUE if point.in_range else GREY for point in points]},
        "text": [f"λ = {wording.lam(point.lam)}, {fold}" for point, fold in zip(points, folds, strict=True)],
        "xaxis": "x2" if name == "λ = 0" else "x",
    }


def _format(answer: Answer) -> str:
    return ".1%" if answer.metric == "accuracy" else ".3f"
