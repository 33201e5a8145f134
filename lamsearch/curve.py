"""The CV curve: every λ's level, paired difference to the chosen λ, and what became of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lamsearch import pairs
from lamsearch.answer import CurvePoint, PointStatus, StudyMeta
from lamsearch.records import FitKey, Parked, ScoreTable, SlotRow
from lamsearch.rules import Scale


@dataclass(frozen=True, kw_only=True)
class Case:
    """``rows``: slots with a known λ, rising, the baseline first; the same rows as in ``grid`` and ``pairs``."""

    rows: tuple[SlotRow, ...]
    grid: pairs.Grid
    versus: pairs.Comparison
    meta: StudyMeta

    @property
    def chosen(self) -> int:
        """Row of λ̂."""
        return self.versus.chosen

    def lam_over_m(self, row: int) -> float:
        """λ/m of a row, 0 for the baseline."""
        return 0.0 if self.rows[row].is_baseline else float(self.rows[row].lam_over_m or 0.0)


def rows_of(table: ScoreTable) -> tuple[SlotRow, ...]:
    """Slots with a known λ, rising, the baseline first."""
    return tuple(sorted((row for row in table.slots if row.is_baseline or row.lam_over_m is not None), key=_place))


def _place(row: SlotRow) -> tuple[float, int]:
    return (-1.0 if row.is_baseline else float(row.lam_over_m or 0.0), row.slot)


def grid_of(
    rows: Sequence[SlotRow], scores: Mapping[FitKey, float], *, n_folds: int, n_images: int, scale: Scale
) -> pairs.Grid:
    """The scores of ``rows`` in all cells, replicate 0 first."""
    replicates = 1 + max((key.replicate for key in scores), default=0)
    row_of = {row.slot: number for number, row in enumerate(rows)}
    matrix = np.full((len(rows), replicates * n_folds), np.nan)
    for key, score in scores.items():
        if key.slot in row_of:
            matrix[row_of[key.slot], key.replicate * n_folds + key.fold] = score
    return pairs.Grid(
        decades=np.array([-np.inf if row.is_baseline else np.log10(row.lam_over_m or np.nan) for row in rows]),
        scores=matrix,
        n_folds=n_folds,
        n_images=n_images,
        floor=scale.floor,
        near=scale.near,
    )


def curve(case: Case, parked: Mapping[int, Parked], collapsed: Collection[FitKey] = ()) -> tuple[CurvePoint, ...]:
    """One point per λ, rising, the baseline first. ``parked``: why a λ got no further folds."""
    fallen = Counter(key.slot for key in collapsed)
    grid, versus = case.grid, case.versus
    cells = np.isfinite(grid.scores).sum(axis=1)
    points = []
    for number, row in enumerate(case.rows):
        seen = grid.scores[number][np.isfinite(grid.scores[number])]
        status: PointStatus = "running" if len(seen) else "waiting"
        if grid.complete[number]:
            status = "complete"
        elif row.failed is not None:
            status = "failed"
        elif row.slot in parked or row.stopped is not None:
            status = "pruned"
        points.append(
            CurvePoint(
                slot=row.slot,
                lam=case.lam_over_m(number) * case.meta.m,
                lam_over_m=case.lam_over_m(number),
                status=status,
                n_cells=int(cells[number]),
                mean=_known(versus.level[number]),
                sem=float(seen.std(ddof=1) / np.sqrt(len(seen))) if len(seen) > 1 else None,
                smooth=_known(versus.smooth[number]) if len(seen) and _drawn(case, number) else None,
                difference=_known(versus.mean[number]),
                se=_known(versus.se[number]),
                difference_low=_known(versus.low[number]),
                difference_high=_known(versus.high[number]),
                in_range=bool(versus.alike[number]),
                parked=parked.get(row.slot),
                failed=row.failed,
                collapsed=fallen[row.slot],
            )
        )
    return tuple(points)


def _drawn(case: Case, row: int) -> bool:
    """The smoothed curve is of λ > 0, and says nothing where very low scores were capped."""
    return not case.rows[row].is_baseline and not case.versus.capped[row]


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
