"""Reports: one self-contained HTML page, each figure as PNG and SVG, and the fold scores as CSV.

Reads a ``Dossier`` and nothing else: no database, no training, no statistics of its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from lamsearch.answer import Answer, Dossier
from lamsearch.report import course, evidence, figures, page, tables
from lamsearch.report.averages import by_slot
from lamsearch.report.scene import Scene, standalone_svg

__all__ = ["curve_png", "write_report"]


def write_report(dossier: Dossier, out: Path) -> list[Path]:
    """Write report.html, folds.csv, and NAME.png and NAME.svg of each figure into ``out``; the paths, in that order.

    Every file is replaced whole, so that a reader never sees half a report. Raises OSError.
    """
    from lamsearch.report import raster  # noqa: PLC0415 (matplotlib: 0.5 s, for the PNGs only)

    out.mkdir(parents=True, exist_ok=True)
    written = [
        _replace(out / "report.html", page.html(dossier).encode()),
        _replace(out / "folds.csv", tables.folds_csv(dossier.answer, dossier.results).encode()),
    ]
    for scene in _scenes(dossier):
        written.append(_replace(out / f"{scene.name}.png", raster.png(scene)))
        written.append(_replace(out / f"{scene.name}.svg", standalone_svg(scene).encode()))
    return written


def curve_png(answer: Answer, path: Path) -> Path:
    """The CV curve alone."""
    from lamsearch.report import raster  # noqa: PLC0415 (as above)

    return _replace(path, raster.png(figures.curve(answer)))


def _scenes(dossier: Dossier) -> Iterator[Scene]:
    answer, averages = dossier.answer, by_slot(dossier.results)
    yield figures.curve(answer)
    yield evidence.overfitting(answer, averages)
    yield evidence.weights(answer, averages)
    yield evidence.gradients(answer, averages)
    yield course.learning(answer, averages)
    yield course.budget(answer)


def _replace(path: Path, content: bytes) -> Path:
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    draft.write_bytes(content)
    draft.replace(path)
    return path
