"""A figure as data: a list of marks in pixels, drawn twice from one source (SVG here, PNG in ``raster``).

x grows to the right, y downwards, as in SVG. Colours are names (``Ink``), so that a page can give them a light
and a dark value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Literal

Ink = Literal["ink", "muted", "faint", "rule", "paper", "band", "c1", "c2", "c3", "c4"]
Anchor = Literal["start", "middle", "end"]

MARGIN = 16
"""Pixels around a figure that stands alone."""
LIGHT: dict[str, str] = {
    "ink": "#1c2024",
    "muted": "#5d656e",
    "faint": "#a3abb3",
    "rule": "#dfe3e7",
    "paper": "#ffffff",
    "band": "#e6f0f9",
    "c1": "#0067b1",
    "c2": "#c2500a",
    "c3": "#00805c",
    "c4": "#8b4a99",
}
"""Light palette, after Okabe & Ito (distinct for colour-blind readers), darkened for text contrast on white."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """A polyline. ``dash`` is on and off in pixels."""

    points: Sequence[tuple[float, float]]
    ink: Ink = "ink"
    width: float = 1.5
    dash: tuple[float, float] | None = None
    opacity: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Dot:
    """A circle, filled or ``hollow`` (filled with paper). ``tip`` shows when a pointer rests on it."""

    x: float
    y: float
    radius: float = 4.0
    ink: Ink = "c1"
    hollow: bool = False
    opacity: float = 1.0
    tip: str = ""


@dataclass(frozen=True, kw_only=True)
class Area:
    """A filled polygon."""

    points: Sequence[tuple[float, float]]
    ink: Ink = "band"
    opacity: float = 1.0
    tip: str = ""


@dataclass(frozen=True, kw_only=True)
class Text:
    """One line of text, its baseline at ``y``."""

    x: float
    y: float
    text: str
    ink: Ink = "muted"
    size: float = 12.0
    anchor: Anchor = "start"
    bold: bool = False


Mark = Line | Dot | Area | Text


@dataclass(kw_only=True)
class Scene:
    """A figure: marks on a canvas of ``width`` × ``height`` pixels, with its name and its text alternative."""

    name: str
    title: str
    description: str
    width: float
    height: float
    marks: list[Mark] = field(default_factory=list)

    def add(self, *marks: Mark) -> None:
        """Put marks on top of those already there."""
        self.marks.extend(marks)


def box(x: float, y: float, width: float, height: float) -> list[tuple[float, float]]:
    """The corners of a rectangle."""
    return [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]


def svg(scene: Scene, *, key: str) -> str:
    """Inline SVG whose colours come from the page's classes ``s-INK`` (stroke) and ``f-INK`` (fill)."""
    return (
        f'<svg class="{escape(key)}" viewBox="0 0 {scene.width:g} {scene.height:g}" role="img" '
        f'aria-labelledby="{escape(key)}-{scene.name}-t {escape(key)}-{scene.name}-d">'
        f'<title id="{escape(key)}-{scene.name}-t">{escape(scene.title)}</title>'
        f'<desc id="{escape(key)}-{scene.name}-d">{escape(scene.description)}</desc>'
        f"{''.join(map(_tag, scene.marks))}</svg>"
    )


def standalone_svg(scene: Scene) -> str:
    """An SVG file of its own, on white, in the light palette."""
    style = "".join(f".s-{ink}{{stroke:{colour}}}.f-{ink}{{fill:{colour}}}" for ink, colour in LIGHT.items())
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{scene.width + 2 * MARGIN:g}" '
        f'height="{scene.height + 2 * MARGIN:g}" '
        f'viewBox="{-MARGIN} {-MARGIN} {scene.width + 2 * MARGIN:g} {scene.height + 2 * MARGIN:g}" role="img">'
        f"<title>{escape(scene.title)}</title><desc>{escape(scene.description)}</desc>"
        f"<style>text{{font-family:system-ui,'Segoe UI',Helvetica,Arial,sans-serif}}{style}</style>"
        f'<rect class="f-paper" x="{-MARGIN}" y="{-MARGIN}" width="100%" height="100%"/>'
        f"{''.join(map(_tag, scene.marks))}</svg>\n"
    )


def _tag(mark: Mark) -> str:
    if isinstance(mark, Line):
        dash = f' stroke-dasharray="{mark.dash[0]:g} {mark.dash[1]:g}"' if mark.dash else ""
        return (
            f'<polyline class="s-{mark.ink}" fill="none" stroke-width="{mark.width:g}" stroke-linejoin="round"'
            f'{dash}{_opacity(mark.opacity)} points="{_points(mark.points)}"/>'
        )
    if isinstance(mark, Dot):
        fill = "f-paper" if mark.hollow else f"f-{mark.ink}"
        return (
            f'<circle class="s-{mark.ink} {fill}" stroke-width="1.5" cx="{mark.x:.1f}" cy="{mark.y:.1f}" '
            f'r="{mark.radius:g}"{_opacity(mark.opacity)}{_close("circle", mark.tip)}'
        )
    if isinstance(mark, Area):
        points = _points(mark.points)
        return f'<polygon class="f-{mark.ink}"{_opacity(mark.opacity)} points="{points}"{_close("polygon", mark.tip)}'
    bold = ' font-weight="600"' if mark.bold else ""
    return (
        f'<text class="f-{mark.ink}" x="{mark.x:.1f}" y="{mark.y:.1f}" font-size="{mark.size:g}" '
        f'text-anchor="{mark.anchor}"{bold}>{escape(mark.text)}</text>'
    )


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _opacity(value: float) -> str:
    return "" if value >= 1 else f' opacity="{value:g}"'


def _close(tag: str, tip: str) -> str:
    return f"><title>{escape(tip)}</title></{tag}>" if tip else "/>"
