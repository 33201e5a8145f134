"""The Wilcoxon signed-rank race over folds: park a λ once it is significantly worse than the leader.

Exact for any number of folds and with ties (Wilcoxon 1945; zeros split between both signs, as in Pratt's and
Optuna's ``zsplit``). The smallest p with n folds is 2⁻ⁿ, so at p < 0.1 nothing is parked before fold 4.
"""

from __future__ import annotations

import numpy as np

from lamsearch.race import ROUNDING, Decision, Standing, argmax_largest
from lamsearch.records import BASELINE, Parked
from lamsearch.smooth import Floats

LEVEL = 0.1


def p_worse(differences: Floats) -> float:
    """One-sided p of the hypothesis that ``differences`` (n,) are centred at 0, against their being negative."""
    rounded = np.round(differences, ROUNDING)
    size = np.abs(rounded)
    midranks = ((size[:, None] > size).sum(axis=1) + (size[:, None] >= size).sum(axis=1) + 1) / 2.0
    doubled = np.round(2.0 * midranks).astype(int)
    # Zeros count half for either sign whatever their sign, so only the others are permuted.
    moving = doubled[rounded != 0]
    observed = int(doubled[rounded > 0].sum())
    ways = np.zeros(int(moving.sum()) + 1)
    ways[0] = 1.0
    for rank in moving:
        ways[rank:] += ways[: len(ways) - rank].copy()
    return float(ways[: observed + 1].sum() / ways.sum())


def judge(standing: Standing, fold: int) -> Decision:
    """After ``fold`` folds: park open rows that are worse in the mean and at p < 0.1. Never the baseline."""
    rivals = standing.open & ~standing.failed & (standing.seen >= fold)
    table = standing.scores[:, :fold]
    raw = np.where(rivals, table.mean(axis=1), -np.inf)
    best = argmax_largest(raw, rivals & standing.positive)
    keep, parked = rivals.copy(), {}
    for row in np.flatnonzero(rivals & standing.ours & standing.positive):
        p = p_worse(table[row] - table[best])
        if p < LEVEL and raw[row] < raw[best]:
            keep[row] = False
            parked[standing.slots[row]] = Parked(
                slot=standing.slots[row],
                after=fold,
                rival=standing.slots[best],
                margin=float(raw[best] - raw[row]),
                reason=f"worse than the leader, Wilcoxon p = {p:.3g}",
            )
    keep |= np.asarray(standing.slots) == BASELINE
    goal = np.where(keep & ~standing.failed, np.maximum(fold + 1, standing.seen), standing.seen)
    return Decision(need=goal, parked=parked)
