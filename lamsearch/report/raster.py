"""Scenes as PNG, by matplotlib's Agg. Import this module only to draw: matplotlib takes half a second."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from io import BytesIO
from itertools import groupby

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import Collection, LineCollection, PatchCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from lamsearch.report.scene import LIGHT, MARGIN, Area, Dot, Line, Mark, Scene, Text

DPI = 100
SHARPNESS = 2
"""PNG pixels per scene pixel."""
POINTS = 72 / DPI
"""matplotlib's points per scene pixel."""
ANCHORS = {"start": "left", "middle": "center", "end": "right"}


def png(scene: Scene) -> bytes:
    """The scene as a PNG of twice its size, with a margin, on white."""
    width, height = scene.width + 2 * MARGIN, scene.height + 2 * MARGIN
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor=LIGHT["paper"])
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(-MARGIN, scene.width + MARGIN), ylim=(scene.height + MARGIN, -MARGIN))
    axes.set_axis_off()
    for order, (_, marks) in enumerate(groupby(scene.marks, _style)):
        _draw(axes, list(marks), order)
    target = BytesIO()
    figure.savefig(target, format="png", dpi=DPI * SHARPNESS, metadata={"Title": scene.title, "Software": "lamsearch"})
    return target.getvalue()


def _style(mark: Mark) -> Hashable:
    """Neighbours of one style are drawn at once: an artist for every mark would take milliseconds each."""
    if isinstance(mark, Line):
        return ("line", mark.ink, mark.width, mark.dash, mark.opacity)
    if isinstance(mark, Dot):
        return ("dot", mark.ink, mark.hollow, mark.opacity)
    return ("area", mark.ink, mark.opacity) if isinstance(mark, Area) else "text"


def _draw(axes: Axes, marks: Sequence[Mark], order: int) -> None:
    """Marks of one style."""
    first = marks[0]
    colour = LIGHT[first.ink]
    if isinstance(first, Text):
        for mark in marks:
            assert isinstance(mark, Text)
            _write(axes, mark, order)
        return
    found: Collection
    if isinstance(first, Line):
        lines = [mark.points for mark in marks if isinstance(mark, Line)]
        # matplotlib counts dashes in line widths, SVG in pixels
        dash = (0, tuple(length / first.width for length in first.dash)) if first.dash else "solid"
        width = first.width * POINTS
        found = LineCollection(lines, colors=colour, linewidths=width, linestyles=[dash])
    elif isinstance(first, Dot):
        circles = [Circle((mark.x, mark.y), mark.radius) for mark in marks if isinstance(mark, Dot)]
        face = LIGHT["paper"] if first.hollow else colour
        width = 1.5 * POINTS
        found = PatchCollection(circles, facecolors=face, edgecolors=colour, linewidths=width)
    else:
        polygons = [list(mark.points) for mark in marks if isinstance(mark, Area)]
        found = PolyCollection(polygons, facecolors=colour, linewidths=0)
    found.set(alpha=first.opacity, zorder=order)
    axes.add_collection(found)


def _write(axes: Axes, mark: Text, order: int) -> None:
    axes.text(
        mark.x,
        mark.y,
        mark.text,
        parse_math=False,
        fontfamily="DejaVu Sans",  # comes with matplotlib: the same picture everywhere
        fontsize=mark.size * POINTS * 0.93,  # it runs wider than what browsers use
        color=LIGHT[mark.ink],
        ha=ANCHORS[mark.anchor],
        va="baseline",
        fontweight="bold" if mark.bold else "normal",
        zorder=order,
    )
