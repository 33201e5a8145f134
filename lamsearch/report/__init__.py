"""Reports: one self-contained HTML page, each figure as PNG and SVG, and the fold scores as CSV.

Reads a ``Dossier`` and nothing else: no database, no training, no statistics of its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from lamsearch.answer import Answer, Dossier
from lamsearch.report import course, evidence, figures, page, tables
from lamsearch.report.averages import Averages, by_slot
from lamsearch.report.scene import Scene, standalone_svg

__all__ = ["N_FILES", "curve_png", "write_report"]

FIGURES: tuple[Callable[[Answer, Mapping[int, Averages]], Scene], ...] = (
    lambda answer, _: figures.curve(answer),
    evidence.overfitting,
    evidence.weights,
    evidence.gradients,
    course.learning,
    lambda answer, _: course.budget(answer),
)
N_FILES = 2 + 2 * len(FIGURES)


def write_report(dossier: Dossier, out: Path, *, wrote: Callable[[Path], None] = lambda path: None) -> list[Path]:
    """Write report.html, folds.csv, and NAME.png and NAME.svg of each figure into ``out``; the paths, in that order.

    ``wrote`` is told each file as soon as it is there; there are ``N_FILES``. Every file is replaced whole, so that a
    reader never sees half a report. Raises OSError.
    """
    from lamsearch.report import raster  # noqa: PLC0415 (matplotlib: 0.5 s, for the PNGs only)

    out.mkdir(parents=True, exist_ok=True)
    written = []
    for name, content in _files(dossier, raster.png):
        written.append(_replace(out / name, content))
        wrote(written[-1])
    return written


def curve_png(answer: Answer, path: Path) -> Path:
    """The CV curve alone."""
    from lamsearch.report import raster  # noqa: PLC0415 (as above)

    return _replace(path, raster.png(figures.curve(answer)))


def _files(dossier: Dossier, png: Callable[[Scene], bytes]) -> Iterator[tuple[str, bytes]]:
    yield "report.html", page.html(dossier).encode()
    yield "folds.csv", tables.folds_csv(dossier.answer, dossier.results, dossier.trials).encode()
    averages = by_slot(dossier.results)
    for draw in FIGURES:
        scene = draw(dossier.answer, averages)
        yield f"{scene.name}.png", png(scene)
        yield f"{scene.name}.svg", standalone_svg(scene).encode()


def _replace(path: Path, content: bytes) -> Path:
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    draft.write_bytes(content)
    draft.replace(path)
    return path
