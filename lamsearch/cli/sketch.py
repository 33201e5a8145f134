"""The CV curve in characters, as it forms: score against log λ/m."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from lamsearch.progress import Point

MARKS = {"complete": "●", "running": "○", "dropped": "·", "failed": "×"}
_RANK = "·×○●"
"""Which mark is seen where several λ's share a place: the one that says most."""


def sketch(
    points: Sequence[Point], baseline: float | None, ends: tuple[float, float], *, width: int, height: int
) -> list[str]:
    """``height`` lines of at most ``width`` characters, and an axis; empty before the first score.

    The scale spans what is worth telling apart: a λ far below the others lies on the bottom line.
    """
    seen = [(point, point.score) for point in points if point.score is not None]
    if not seen:
        return []
    scores = [score for _, score in seen] + ([baseline] if baseline is not None else [])
    top, middle = max(scores), median(scores)
    bottom = max(min(scores), middle - 2 * (top - middle) - 1e-3)
    columns = max(8, width - len(_axis(top)) - 1)
    grid = [[" "] * columns for _ in range(height)]
    if baseline is not None:
        grid[_row(baseline, bottom, top, height)] = ["┄"] * columns
    for point, score in seen:
        row, column = _row(score, bottom, top, height), _column(point.lam_over_m, ends, columns)
        there, mark = grid[row][column], MARKS[point.state]
        if there not in _RANK or _RANK.index(mark) > _RANK.index(there):
            grid[row][column] = mark
    labels = {0: _axis(top), height - 1: _axis(bottom)}
    blank = " " * len(_axis(top))
    lines = [f"{labels.get(number, blank)} {''.join(row)}".rstrip() for number, row in enumerate(grid)]
    low, high = (f"{end:.0e}" for end in ends)
    return [*lines, f"{blank} {low}{'λ/m'.center(columns - len(low) - len(high))}{high}"]


def _axis(score: float) -> str:
    return f"{score:8.4f}"


def _row(score: float, bottom: float, top: float, height: int) -> int:
    share = (score - bottom) / (top - bottom) if top > bottom else 1.0
    return round((height - 1) * (1 - min(1.0, max(0.0, share))))


def _column(lam_over_m: float, ends: tuple[float, float], columns: int) -> int:
    low, high = (math.log(end) for end in ends)
    share = (math.log(lam_over_m) - low) / (high - low)
    return round((columns - 1) * min(1.0, max(0.0, share)))
