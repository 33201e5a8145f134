"""When to stop early: nothing that is still to come can change the answer by more than a tolerance."""

from __future__ import annotations

import numpy as np

from lamsearch.race import Decision, Standing, evidence, look, need
from lamsearch.records import BASELINE
from lamsearch.smooth import Floats

REASON = "the answer can no longer change by more than the tolerance"

FIRST_FOLD = 3
"""A race is not called sure before so many folds: with one or two the noise itself is hardly known."""

FOLD_SDS, COHORT_SDS = 2.5, 2.0
"""Posterior sds that a λ is allowed to be better than it looks, within a race and between cohorts.

Within a race every λ that was measured counts, the parked ones too. (Two sds from fold 1 on over the open ones alone:
8 to 11 % of the answers fell behind the full table's by more than the tolerance, where the plain race has 2 to 4 %.)
"""


def sure(standing: Standing, fold: int, tolerance: float, floor: float) -> Decision | None:
    """The end of the race after ``fold`` folds, if no λ can beat the leader by more than ``tolerance``."""
    rivals = standing.open & ~standing.failed & (standing.seen >= fold)
    if fold < FIRST_FOLD or not (rivals & standing.positive).any():
        return None
    view = look(standing, fold, rivals, floor=floor)
    measured = standing.positive & ~standing.failed & (standing.seen > 0)
    if np.any((view.gap + FOLD_SDS * view.spread)[measured] > tolerance):
        return None
    keep = np.zeros(len(rivals), dtype=bool)
    keep[view.best] = True
    rest = np.flatnonzero(rivals & standing.ours & standing.positive & ~keep)
    parked = {standing.slots[row]: evidence(standing, view, int(row), REASON) for row in rest}
    return Decision(need=need(standing, keep, standing.n_folds), parked=parked)


def nothing_to_find(standing: Standing, decades: Floats, tolerance: float, floor: float) -> bool:
    """True if no λ that might still come, at ``decades``, can beat the leader by more than ``tolerance``."""
    full = standing.seen == standing.n_folds
    if not (full & standing.positive).any():
        return False
    seen = np.flatnonzero(standing.seen > 0)
    joined = Standing(
        slots=(*(standing.slots[row] for row in seen), *(BASELINE - 1 - number for number in range(len(decades)))),
        decades=np.concatenate([standing.decades[seen], decades]),
        scores=np.vstack([standing.scores[seen], np.full((len(decades), standing.n_folds), np.nan)]),
        **{name: np.zeros(len(seen) + len(decades), dtype=bool) for name in ("open", "ours", "failed")},
    )
    rivals = np.concatenate([full[seen], np.zeros(len(decades), dtype=bool)])
    view = look(joined, standing.n_folds, rivals, floor=floor)
    return bool(np.all((view.gap + COHORT_SDS * view.spread)[len(seen) :] <= tolerance))
