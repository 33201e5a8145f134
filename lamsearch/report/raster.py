"""Scenes as PNG, by matplotlib's Agg. Import this module only to draw: matplotlib takes half a second."""

from __future__ import annotations

from io import BytesIO

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Polygon

from lamsearch.report.scene import LIGHT, Area, Dot, Line, Mark, Scene, Text

DPI = 100
SHARPNESS = 2
"""PNG pixels per scene pixel."""
POINTS = 72 / DPI
"""matplotlib's points per scene pixel."""
ANCHORS = {"start": "left", "middle": "center", "end": "right"}


def png(scene: Scene) -> bytes:
    """The scene as a PNG of twice its size, on white."""
    figure = Figure(figsize=(scene.width / DPI, scene.height / DPI), dpi=DPI, facecolor=LIGHT["paper"])
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, scene.width), ylim=(scene.height, 0))
    axes.set_axis_off()
    for order, mark in enumerate(scene.marks):
        _draw(axes, mark, order)
    target = BytesIO()
    figure.savefig(target, format="png", dpi=DPI * SHARPNESS, metadata={"Title": scene.title, "Software": "lamsearch"})
    return target.getvalue()


def _draw(axes: Axes, mark: Mark, order: int) -> None:
    colour = LIGHT[mark.ink]
    if isinstance(mark, Line):
        x, y = zip(*mark.points, strict=True)
        line = Line2D(x, y, color=colour, linewidth=mark.width * POINTS, alpha=mark.opacity, zorder=order)
        if mark.dash:  # matplotlib counts dashes in line widths, SVG in pixels
            line.set_linestyle((0, (mark.dash[0] / mark.width, mark.dash[1] / mark.width)))
        axes.add_line(line)
    elif isinstance(mark, Dot):
        face = LIGHT["paper"] if mark.hollow else colour
        circle = Circle((mark.x, mark.y), mark.radius, facecolor=face, edgecolor=colour, linewidth=1.5 * POINTS)
        circle.set(alpha=mark.opacity, zorder=order)
        axes.add_patch(circle)
    elif isinstance(mark, Area):
        patch = Polygon(list(mark.points), closed=True, facecolor=colour, linewidth=0, alpha=mark.opacity)
        patch.set_zorder(order)
        axes.add_patch(patch)
    else:
        _write(axes, mark, order)


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
