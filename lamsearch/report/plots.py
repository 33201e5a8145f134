"""One quantity by λ: what the figures behind the curve share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from lamsearch import numerals
from lamsearch.answer import Answer
from lamsearch.records import BASELINE
from lamsearch.report.axes import Panel, ValueAxis, padded
from lamsearch.report.figures import BEST, NARROW, WIDE, lam_axis
from lamsearch.report.scene import Dot, Ink, Line, Scene, Text

Values = Mapping[int, float]
"""Slot → value."""
SERIES: tuple[Ink, ...] = ("c1", "c2", "c3", "c4", "muted", "ink")
Write = Callable[[float], str]


def scene(name: str, title: str, *, wide: bool, height: float) -> Scene:
    """An empty figure of the page's width."""
    return Scene(name=name, title=title, description="", width=WIDE if wide else NARROW, height=height)


def value_axis(panel: Panel, values: Sequence[float]) -> ValueAxis:
    """A linear axis with some air."""
    low, high = padded(values)
    return ValueAxis(panel=panel, low=low, high=high)


def plot(
    target: Scene,
    answer: Answer,
    axis: ValueAxis,
    series: Mapping[str, Values],
    *,
    label: str,
    write: Write,
    inks: Sequence[Ink] = ("c1",),
) -> None:
    """Lines by λ with λ = 0 apart, their names at the right end. λ's without all folds have smaller marks."""
    panel = axis.panel
    axis.draw(target, write)
    target.add(Text(x=panel.left - 56, y=panel.top - 20, text=label, ink="ink", bold=True))
    lams = lam_axis(answer, panel)
    lams.draw(target)
    x = lams(answer.lam)
    target.add(
        Line(points=[(x, panel.top - 2), (x, panel.bottom)], ink="c1", width=1, dash=(2, 3)),
        Text(x=x, y=panel.top - 6, text=BEST, ink="c1", anchor="middle", bold=True),
    )
    ends: list[tuple[float, str, Ink]] = []
    for (name, values), ink in zip(series.items(), inks, strict=False):
        points = sorted((p for p in answer.curve if p.slot in values), key=lambda p: p.lam)
        line = [(lams(p.lam), axis(values[p.slot])) for p in points if p.slot != BASELINE]
        if len(line) > 1:
            target.add(Line(points=line, ink=ink, width=1.75))
        for point in points:
            value = values[point.slot]
            said = f"{name} at λ = {numerals.lam(point.lam)}: {write(value)}".strip()
            radius = 2.8 if point.status == "complete" else 1.8
            target.add(Dot(x=lams(point.lam), y=axis(value), radius=radius, ink=ink, tip=said))
        if line:
            ends.append((line[-1][1], name, ink))
    _names(target, panel, ends)


def _names(target: Scene, panel: Panel, ends: list[tuple[float, str, Ink]]) -> None:
    """Series names beside their last point, pushed apart where they would overlap, and kept inside the panel."""
    places: list[float] = []
    for y, _, _ in sorted(ends):
        places.append(max(y, places[-1] + 15) if places else y)
    over = max(0.0, places[-1] - panel.bottom) if places else 0.0
    for y, (_, name, ink) in zip(places, sorted(ends), strict=True):
        target.add(Text(x=panel.right + 8, y=y - over + 4, text=name, ink=ink, bold=True))


def ends_in_words(answer: Answer, series: Mapping[str, Values], write: Write) -> str:
    """Each series at λ = 0, at λ̂ and at the largest λ: the text alternative of a plot."""
    largest = max(answer.curve, key=lambda point: point.lam)
    stops = [(BASELINE, "λ = 0"), (answer.slot, "the chosen λ"), (largest.slot, f"λ = {numerals.lam(largest.lam)}")]
    sentences = []
    for name, values in series.items():
        said = [f"{write(values[slot])} at {where}" for slot, where in stops if slot in values]
        sentences.append(f"{name}: {', '.join(said)}.")
    return " ".join(sentences)


def percents(value: float) -> str:
    """A fraction as a percentage, as short as it is exact."""
    return f"{100 * value:.4g} %"


def plain(value: float) -> str:
    """A number, four digits."""
    return f"{value:.4g}".replace("-", numerals.MINUS)
