"""After the race: what to measure again with new folds, and what to finish when time is up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lamsearch import pairs
from lamsearch.cohort import Runner
from lamsearch.records import BASELINE, FitKey
from lamsearch.rules import Rules

MAX_FINALISTS = 4
"""λ's that are measured again, beside the baseline."""


def grid_of(
    runners: Sequence[Runner], scores: Mapping[FitKey, float], rules: Rules, *, replicates: int = 0
) -> pairs.Grid:
    """The table of ``runners`` (rising, baseline first), with ``replicates`` further sets of folds from ``scores``."""
    table = np.full((len(runners), rules.n_folds * (1 + replicates)), np.nan)
    for row, runner in enumerate(runners):
        table[row, : len(runner.scores)] = runner.scores
        for replicate in range(1, replicates + 1):
            for fold in range(rules.n_folds):
                score = scores.get(FitKey(runner.slot, replicate, fold), np.nan)
                table[row, replicate * rules.n_folds + fold] = score
    return pairs.Grid(
        decades=np.array([runner.decade for runner in runners]),
        scores=table,
        n_folds=rules.n_folds,
        n_images=rules.n_images,
        floor=rules.scale.floor,
        near=rules.scale.near,
    )


def finalists(runners: Sequence[Runner], rules: Rules) -> tuple[Runner, ...]:
    """The baseline, λ̂, lam_1se, and the best other complete members of E, rising. Empty without a complete λ."""
    grid = grid_of(runners, {}, rules)
    if not (grid.complete & grid.positive).any():
        return ()
    chosen, _ = pairs.choose(grid)
    comparison = pairs.compare(grid, chosen)
    picked = {chosen, pairs.one_se(grid, comparison)}
    members = np.flatnonzero(comparison.inside & grid.complete & grid.positive)
    for row in sorted(members, key=lambda row: (-round(float(comparison.mean[row]), 9), -row)):
        if len(picked) < MAX_FINALISTS:
            picked.add(int(row))
    return tuple(r for row, r in enumerate(runners) if row in picked or r.slot == BASELINE)


def replicate_fits(runners: Sequence[Runner], replicate: int, rules: Rules) -> tuple[FitKey, ...]:
    """All fits of one more replicate, fold by fold."""
    return tuple(FitKey(runner.slot, replicate, fold) for fold in range(rules.n_folds) for runner in runners)


def settled(runners: Sequence[Runner], scores: Mapping[FitKey, float], replicate: int, rules: Rules) -> bool:
    """True once the verdict stands: the gain's interval excludes 0, or even its upper end does not matter."""
    grid = grid_of(runners, scores, rules, replicates=replicate)
    if grid.positive.all():
        return True
    chosen, _ = pairs.choose(grid)
    comparison = pairs.compare(grid, chosen)
    low, high = -comparison.high[0], -comparison.low[0]
    return bool(low > 0 or high < 0 or high < rules.scale.margin)


def closing_fits(runners: Sequence[Runner], rules: Rules) -> list[tuple[int, range]]:
    """When time is up: (slot, folds) still needed so that the baseline and one good λ have all folds.

    ``runners`` with all their scores. A complete λ that is within one standard error of the smoother's best will do;
    otherwise the one with most folds among those that are. Nothing measured: nothing to finish.
    """
    grid = grid_of(runners, {}, rules)
    rows = grid.measured & grid.positive
    if not rows.any():
        return []
    level = np.array([np.mean(runner.scores) if runner.scores else np.nan for runner in runners])
    sigma = max(rules.scale.floor, pairs.noise_near(grid, level - level[rows].max()))
    curve = pairs.smoothed(grid, sigma).mean
    behind = curve - curve[rows].max()
    good = [int(row) for row in np.flatnonzero(rows & (behind >= -sigma * np.sqrt(2.0 / rules.n_folds)))]
    pick = max(good, key=lambda row: (len(runners[row].scores), round(float(curve[row]), 9), row))
    ends = [runners[pick], *(runner for runner in runners if runner.slot == BASELINE)]
    return [(runner.slot, range(len(runner.scores), rules.n_folds)) for runner in ends[::-1]]
