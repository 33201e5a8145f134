"""The CV curve: which λ, against what, and how sure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from lamsearch import fates, members, numerals, others, wording
from lamsearch.answer import Answer, CurvePoint
from lamsearch.records import BASELINE
from lamsearch.report.axes import LamAxis, Panel, ValueAxis, padded
from lamsearch.report.scene import Area, Dot, Ink, Line, Scene, Text, box

WIDE, NARROW = 860.0, 358.0
"""Widths of a figure in pixels: on a desk, and on a phone."""
DIGIT = 11.0
"""Pixels per λ from which a digit fits into its circle without touching the next one."""
BEST, ONE_SE = "λ\u0302", "λ₁ₛₑ"
ROWS = (40.0, 60.0)
"""Baselines of the two rows of labels above the plot."""


def curve(answer: Answer, *, wide: bool = True) -> Scene:
    """Mean score by λ with paired error bars, λ = 0 beyond an axis break, E shaded, λ̂ and lam_1se as lines."""
    scene = Scene(
        name="curve",
        title=f"{numerals.metric_name(answer.metric)} in cross-validation by λ",
        description=describe_curve(answer),
        width=WIDE if wide else NARROW,
        height=440 if wide else 446,
    )
    panel = Panel(left=56, right=scene.width - 14, top=72, bottom=scene.height - (84 if wide else 122))
    axis = lam_axis(answer, panel)
    shown = [point for point in answer.curve if point.mean is not None]
    value = ValueAxis(panel=panel, low=(ends := _window(answer, shown))[0], high=ends[1])
    room = (panel.right - axis.start) / max(1, len(shown))
    _shade_range(scene, answer, axis, pad=min(7.0, room / 2))
    value.draw(scene, lambda score: _tick(answer.metric, score), about=6)
    scene.add(Text(x=0, y=16, text=_axis_name(answer.metric), ink="ink", bold=True))
    axis.draw(scene, f"λ   (λ/m = λ / {answer.m:,})" if wide else "λ")
    level = value(answer.cv.mean)
    scene.add(Line(points=[(panel.left, level), (panel.right, level)], ink="c1", width=1, dash=(2, 3)))
    _rules(scene, answer, axis)
    for piece in _smooth(answer):
        line = [(axis(lam), value(score)) for lam, score in piece]
        scene.add(Line(points=line, ink="c1", width=1.5, opacity=0.45))
    ordered = sorted(shown, key=lambda p: (p.slot == answer.slot, p.status == "complete", p.in_range))
    for point in ordered:
        _error_bar(scene, answer, point, axis, value, room=room)
    for point in ordered:
        _point(scene, answer, point, axis, value, room=room)
    _legend(scene, panel, fates.lacking(answer), digits=room > DIGIT)
    return scene


def _legend(scene: Scene, panel: Panel, lacking: str, *, digits: bool) -> None:
    """What the marks mean, below the axis, in as many lines as it takes."""
    x, y = 56.0, panel.bottom + 62
    marks: list[tuple[str, Callable[[Scene, float, float], None]]] = [("measured on all folds", _whole_mark)]
    if lacking:
        marks.append((f"{lacking}, here with 2 folds", _few_mark) if digits else (lacking, _dot_mark))
    for text, draw in [*marks, (f"blue, shaded: cannot be told from {BEST}", _range_mark)]:
        if x + 26 + 6.4 * len(text) > scene.width and x > 56:
            x, y = 56.0, y + 19
        draw(scene, x, y)
        scene.add(Text(x=x + 26, y=y, text=text))
        x += 26 + 6.4 * len(text) + 18


def _whole_mark(scene: Scene, x: float, y: float) -> None:
    scene.add(Dot(x=x + 4, y=y - 4, radius=3.75, ink="muted"), Dot(x=x + 15, y=y - 4, radius=3.75, ink="c1"))


def _dot_mark(scene: Scene, x: float, y: float) -> None:
    scene.add(Dot(x=x + 4, y=y - 4, radius=3, ink="faint", hollow=True))
    scene.add(Dot(x=x + 15, y=y - 4, radius=3, ink="c1", hollow=True))


def _few_mark(scene: Scene, x: float, y: float) -> None:
    scene.add(Dot(x=x + 4, y=y - 4, radius=5.5, ink="faint", hollow=True))
    scene.add(Dot(x=x + 17, y=y - 4, radius=5.5, ink="c1", hollow=True))
    for at in (x + 4, x + 17):
        scene.add(Text(x=at, y=y - 0.8, text="2", size=9, anchor="middle"))


def _range_mark(scene: Scene, x: float, y: float) -> None:
    scene.add(Area(points=box(x, y - 11, 20, 13), ink="band"))
    scene.add(Line(points=[(x + 10, y - 12), (x + 10, y + 3)], ink="c1", width=1.25))


def _smooth(answer: Answer) -> list[list[tuple[float, float]]]:
    """The smoothed curve in pieces, (λ, score): it is broken at measured λ's that it leaves out."""
    pieces: list[list[tuple[float, float]]] = [[]]
    for point in _by_lam(answer):
        if point.slot == BASELINE or point.mean is None:
            continue
        if point.smooth is None:
            pieces.append([])
        else:
            pieces[-1].append((point.lam, point.smooth))
    return [piece for piece in pieces if len(piece) > 1]


def lam_axis(answer: Answer, panel: Panel) -> LamAxis:
    """The λ axis that all figures of an answer share."""
    lams = [point.lam for point in answer.curve if point.lam > 0 and math.isfinite(point.lam)]
    edge = (max(lams) / min(lams)) ** 0.02 if lams else 1.0
    zero = any(point.slot == BASELINE for point in answer.curve)
    return LamAxis(panel=panel, low=min(lams, default=1.0) / edge, high=max(lams, default=1.0) * edge, zero=zero)


def describe_curve(answer: Answer) -> str:
    """The curve in words, for readers who do not see it."""
    text = (
        f"{wording.headline(answer)} At λ = {numerals.lam(answer.lam)} the score is "
        f"{numerals.level(answer.metric, answer.cv.mean)}. {others.how_sure(answer)} "
        f"Largest λ within one standard error: {numerals.lam(answer.lam_1se)}."
    )
    return text if answer.gain is None else f"{text} Gain over λ = 0: {wording.gain(answer)}."


def tip(answer: Answer, point: CurvePoint) -> str:
    """One point in words."""
    parts = [
        f"λ = {numerals.lam(point.lam)}",
        f"λ/m = {numerals.lam(point.lam_over_m)}",
        numerals.level(answer.metric, point.mean),
    ]
    if point.slot == answer.slot:
        parts.append("chosen")
    elif point.difference is not None:
        parts.append(f"{numerals.change(answer.metric, point.difference)} against the chosen λ")
    folds = numerals.count(point.n_cells, "fold")
    return ", ".join([*parts, f"dropped after {folds}" if point.status == "pruned" else folds])


def _by_lam(answer: Answer) -> list[CurvePoint]:
    return sorted(answer.curve, key=lambda point: point.lam)


def _window(answer: Answer, shown: Sequence[CurvePoint]) -> tuple[float, float]:
    """The range of scores worth showing: what decides, not the depth of a collapse."""
    means = [point.mean for point in shown if point.mean is not None]
    bars = [end for point in shown if point.status == "complete" for end in _bar(point)]
    widths = [high - low for low, high in (_bar(point) for point in shown if point.status == "complete")]
    reach = 4 * max([*widths, 0.0]) or 0.02
    floor = min([answer.cv.mean - reach, *(end for end in bars if end > answer.cv.mean - 2 * reach)])
    return padded([value for value in (*means, *bars, answer.cv.mean) if value >= floor])


def _bar(point: CurvePoint) -> tuple[float, float]:
    if point.mean is None or point.difference is None or point.difference_low is None or point.difference_high is None:
        return (point.mean or 0.0, point.mean or 0.0)
    return (
        point.mean + point.difference_low - point.difference,
        point.mean + point.difference_high - point.difference,
    )


def _shade_range(scene: Scene, answer: Answer, axis: LamAxis, *, pad: float) -> None:
    panel = axis.panel
    for low, high in members.runs(answer):
        left, right = axis(max(low, axis.low)) - pad, axis(min(high, axis.high)) + pad
        scene.add(Area(points=box(left, panel.top, right - left, panel.bottom - panel.top), ink="band"))
    if members.zero_in_range(answer):
        width = axis.start - panel.left - 22
        scene.add(Area(points=box(panel.left, panel.top, width, panel.bottom - panel.top), ink="band"))


def _rules(scene: Scene, answer: Answer, axis: LamAxis) -> None:
    """λ̂ and lam_1se with labels above the plot: λ̂'s to the left, lam_1se's to the right, each where it has room."""
    if answer.lam_1se == answer.lam:
        _rule(scene, axis, answer.lam, f"{BEST} = {ONE_SE} = {numerals.lam(answer.lam)}", row=1, right=True)
        return
    label = f"{ONE_SE} = {numerals.lam(answer.lam_1se)}"
    fits = axis(answer.lam_1se) + _length(label) < axis.panel.right
    _rule(scene, axis, answer.lam_1se, label, row=1 if fits else 0, right=fits, ink="c2", dash=(6, 4))
    _rule(scene, axis, answer.lam, f"{BEST} = {numerals.lam(answer.lam)}", row=0 if fits else 1, right=False)


def _rule(
    scene: Scene,
    axis: LamAxis,
    lam: float,
    label: str,
    *,
    row: int,
    right: bool,
    ink: Ink = "c1",
    dash: tuple[float, float] | None = None,
) -> None:
    x, y = axis(lam), ROWS[row]
    right = (right and x + _length(label) < axis.panel.right) or x - _length(label) < 0
    scene.add(
        Line(points=[(x, y - 9), (x, axis.panel.bottom)], ink=ink, width=1.25, dash=dash),
        Text(
            x=x + (6 if right else -6), y=y, text=label, ink=ink, anchor="start" if right else "end", bold=True, size=13
        ),
    )


def _length(label: str) -> float:
    return 8.0 * len(label) + 6


def _ink(answer: Answer, point: CurvePoint) -> Ink:
    return "c1" if point.in_range or point.slot == answer.slot else "muted"


def _error_bar(
    scene: Scene, answer: Answer, point: CurvePoint, axis: LamAxis, value: ValueAxis, *, room: float
) -> None:
    """``room``: pixels between λ's; where they crowd, bars are fainter, and those of worse dropped λ's are left out."""
    low, high = _bar(point)
    complete = point.status == "complete"
    shown = complete or room > 20 or (point.in_range and room > 8)
    if point.mean is None or point.mean < value.low or high <= low or not shown:
        return
    opacity = (0.8 if room > 4 else 0.25) if complete else 0.25
    x = axis(point.lam)
    line = [(x, value(low)), (x, value(high))]
    scene.add(Line(points=line, ink=_ink(answer, point), width=1.25, opacity=opacity))


def _point(scene: Scene, answer: Answer, point: CurvePoint, axis: LamAxis, value: ValueAxis, *, room: float) -> None:
    assert point.mean is not None
    x, y = axis(point.lam), value(point.mean)
    said = tip(answer, point)
    chosen = point.slot == answer.slot
    if point.mean < value.low:
        scene.add(Area(points=[(x - 5, y - 9), (x + 5, y - 9), (x, y)], ink="faint", tip=said))
        return
    if point.status == "complete":
        if chosen:  # seen among many
            scene.add(Dot(x=x, y=y, radius=7.5, ink="paper"))
        small = 3.75 if room > 4 else 2.5
        scene.add(Dot(x=x, y=y, radius=6 if chosen else small, ink=_ink(answer, point), tip=said))
        return
    ring: Ink = "c1" if point.in_range else "faint"
    scene.add(Dot(x=x, y=y, radius=5.5 if room > DIGIT else 3, ink=ring, hollow=True, opacity=0.8, tip=said))
    if room > DIGIT:
        scene.add(Text(x=x, y=y + 3.2, text=str(point.n_cells), ink="muted", size=9, anchor="middle"))


def _tick(metric: str, score: float) -> str:
    return f"{100 * score:.4g} %" if metric == "accuracy" else f"{0 - score:.4g}".replace("-", numerals.MINUS)


def _axis_name(metric: str) -> str:
    return "validation accuracy" if metric == "accuracy" else "validation log loss (less is better: up)"
