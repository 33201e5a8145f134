"""The answer: a pure function of what has been measured.

Chosen λ, everything that cannot be told from it, lam_1se, the gain over λ = 0 with its verdict, edges and optimism.
The formulas live in ``pairs``, ``smooth`` and ``optimism``; this module puts them into one ``Answer``.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from lamsearch import edges, notes, optimism, pairs
from lamsearch.answer import Answer, Budget, Edge, Interval, Optimism, StudyMeta, TestScore, Verdict
from lamsearch.curve import Case, curve, grid_of, rows_of
from lamsearch.errors import NoAnswerYet
from lamsearch.race import argmax_largest
from lamsearch.records import FitKey, Parked, ScoreTable
from lamsearch.rules import Scale

TINY = 1e-9
"""A standard deviation that is rounding, and no noise."""
POWER = 0.8
"""The smallest detectable gain is one that is shown in four of five studies."""


def select(
    table: ScoreTable,
    *,
    parked: Mapping[int, Parked],
    meta: StudyMeta,
    budget: Budget,
    oof: Mapping[FitKey, NDArray[Any]] | None = None,
    positions: optimism.Positions | None = None,
    other_scores: Mapping[FitKey, float] | None = None,
    collapsed: Collection[FitKey] = (),
    test: TestScore | None = None,
    final: bool = False,
) -> Answer:
    """The answer from whatever ``table`` holds: sensible from the first scores on, final if the caller says so.

    ``oof``: score of each validation image of a fit, higher is better (1/0 correct, or −loss for log loss), in the
    order of the split's validation indices. ``positions``: those indices by (replicate, fold), needed to average an
    image over replicates; without them replicate 0 alone is resampled. ``other_scores``: the other metric's scores,
    higher is better too. ``collapsed``: fits that became NaN or never got past chance. Raises NoAnswerYet if no λ > 0
    has a score.
    """
    scale = Scale.of(meta.metric)
    rows = rows_of(table)
    grid = grid_of(rows, table.scores, n_folds=meta.n_folds, n_images=meta.n_images, scale=scale)
    chosen, rule = pairs.choose(grid)
    if chosen < 0:
        raise NoAnswerYet(f"study {meta.study!r} has no score of any λ > 0 yet; try again after the first fold fit")
    case = Case(rows=rows, grid=grid, versus=pairs.compare(grid, chosen), meta=meta)
    gain, detectable, verdict = _gain(case)
    one_se, classical = pairs.one_se(grid, case.versus), pairs.one_se_classical(grid, chosen)
    level, sem = _level(case)
    alike = case.versus.alike
    members = np.flatnonzero(alike & grid.positive)
    best = case.lam_over_m(chosen)
    unpaired = _unpaired_sd(case)
    other = _other(case, other_scores or {})
    points = curve(case, parked, collapsed)
    above = _above_chance(level.mean, sem, meta)
    # Ends mean something once every λ has had its chance, and something has been learnt at one of them, or at 0.
    told = not budget.unfinished and (above or verdict == "hurts")
    k, m = meta.n_folds, meta.m
    return Answer(
        study=meta.study,
        status="final" if final else "provisional",
        metric=meta.metric,
        m=m,
        n_folds=k,
        n_replicates=grid.scores.shape[1] // k,
        n_images=meta.n_images,
        slot=rows[chosen].slot,
        lam=best * m,
        lam_over_m=best,
        lam_carried=best * m * (k - 1) / k,
        chosen_by=rule,
        lam_1se=case.lam_over_m(one_se) * m,
        lam_1se_over_m=case.lam_over_m(one_se),
        lam_1se_classical=case.lam_over_m(classical) * m,
        lam_1se_classical_over_m=case.lam_over_m(classical),
        indistinguishable=_lams(case, alike),
        indistinguishable_partial=_lams(case, alike & ~grid.complete),
        range_low=case.lam_over_m(int(members[0])) * m,
        range_high=case.lam_over_m(int(members[-1])) * m,
        helps=verdict == "helps",
        verdict=verdict,
        matters=verdict != "not_shown" or gain is None or max(gain.high, -gain.low) >= scale.margin,
        margin=scale.margin,
        chance=meta.chance,
        above_chance=above,
        gain=gain,
        detectable_gain=detectable,
        cv=level,
        cv_sem=sem,
        corrected=_corrected(case, oof, positions),
        edges=_edges(case) if told and grid.complete[chosen] else (),  # one fold says nothing about ends
        paired_sd=case.versus.pooled_sd,
        unpaired_sd=unpaired,
        variance_ratio=(unpaired / case.versus.pooled_sd) ** 2 if unpaired and case.versus.pooled_sd > TINY else None,
        other_metric=other.metric,
        other_metric_lam=other.lam,
        other_metric_gain=other.gain.mean if other.gain else None,
        other_metric_gain_low=other.gain.low if other.gain else None,
        other_metric_gain_high=other.gain.high if other.gain else None,
        curve=points,
        budget=budget,
        test=test,
        notes=notes.notes(case, points, gain),
    )


def _gain(case: Case) -> tuple[Interval | None, float | None, Verdict]:
    """Gain of λ̂ over the baseline, the smallest gain that would have been seen, and the verdict."""
    versus, zero = case.versus, np.flatnonzero(~case.grid.positive)
    if not len(zero) or not versus.shared[zero[0]] > 0:
        return None, None, "not_shown"
    row = int(zero[0])
    gain = _over(versus, row)
    verdict: Verdict = "helps" if gain.low > 0 else "hurts" if gain.high < 0 else "not_shown"
    # A true gain d is shown if its estimate exceeds t·SE; estimates scatter around d with that SE.
    found = float(versus.t[row] + stdtrit(versus.shared[row] - 1 + pairs.PRIOR_FREEDOM, POWER))
    return gain, found * float(versus.se[row]), verdict


def _over(versus: pairs.Comparison, row: int) -> Interval:
    """Gain of the chosen λ over a row."""
    return Interval(mean=float(-versus.mean[row]), low=float(-versus.high[row]), high=float(-versus.low[row]))


def _edges(case: Case) -> tuple[Edge, ...]:
    def places(rows: NDArray[np.bool_]) -> list[float]:
        return [case.lam_over_m(int(row)) for row in np.flatnonzero(rows)]

    grid, versus = case.grid, case.versus
    return edges.edges(
        places(grid.measured & grid.positive),
        chosen=case.lam_over_m(case.chosen),
        alike=places(versus.alike),
        better=places(versus.low > 0),
        whole=places(grid.complete),
        searched=(case.meta.low, case.meta.high),
    )


def _level(case: Case) -> tuple[Interval, float]:
    """CV score of λ̂ with a 95 % interval (Nadeau & Bengio), and its plain standard error."""
    seen = case.grid.scores[case.chosen]
    seen = seen[np.isfinite(seen)]
    n = len(seen)
    sd = float(seen.std(ddof=1)) if n > 1 else max(case.versus.pooled_sd / math.sqrt(2.0), _sd_over_images(case, seen))
    wide = sd * math.sqrt(1.0 / n + 1.0 / (case.meta.n_folds - 1)) * float(stdtrit(max(n - 1, 1), 0.975))
    bounds = (0.0, 1.0) if case.meta.metric == "accuracy" else (-math.inf, 0.0)
    mean = float(seen.mean())
    interval = Interval(mean=mean, low=max(bounds[0], mean - wide), high=min(bounds[1], mean + wide))
    return interval, sd / math.sqrt(n)


def _sd_over_images(case: Case, scores: NDArray[np.float64]) -> float:
    """Of one fold nobody knows how far folds differ; its images alone let its accuracy vary by this much (binomial)."""
    if case.meta.metric != "accuracy":
        return 0.0
    n = case.meta.n_images / case.meta.n_folds
    share = min(max(float(scores[0]), 0.5 / n), 1.0 - 0.5 / n)
    return math.sqrt(share * (1.0 - share) / n)


def _above_chance(mean: float, sem: float, meta: StudyMeta) -> bool:
    """Whether a CV score is two standard errors above a constant prediction's: between folds, or over images."""
    if meta.chance is None:
        return True
    images = math.sqrt(meta.chance * (1.0 - meta.chance) / meta.n_images) if meta.metric == "accuracy" else 0.0
    return mean > meta.chance + 2.0 * max(sem, images)


def _unpaired_sd(case: Case) -> float:
    """Sd of the difference of two λ's near λ̂, were they measured on different folds: √2 · sd over cells."""
    near = case.grid.complete & (np.nan_to_num(case.versus.mean, nan=-np.inf) >= -case.grid.near)
    folds = case.grid.scores[near, : case.grid.n_folds]
    return float(np.sqrt(2.0 * folds.var(axis=1, ddof=1).mean())) if len(folds) else 0.0


def _lams(case: Case, inside: NDArray[np.bool_]) -> tuple[float, ...]:
    return tuple(case.lam_over_m(int(row)) * case.meta.m for row in np.flatnonzero(inside))


def _corrected(
    case: Case, oof: Mapping[FitKey, NDArray[Any]] | None, positions: optimism.Positions | None
) -> Optimism | None:
    """BBC-CV if every complete λ has its images, else from fold scores; None with fewer than two complete λ's."""
    full = np.flatnonzero(case.grid.complete & case.grid.positive)
    if len(full) < 2 or case.chosen not in full:
        return None
    images = optimism.image_scores([case.rows[row].slot for row in full], case.meta.n_folds, oof or {}, positions)
    if images is not None:
        return optimism.bbc_cv(images, seed=case.meta.n_images)
    return optimism.tibshirani(case.grid.scores[full, : case.meta.n_folds], int(np.searchsorted(full, case.chosen)))


class _Other(NamedTuple):
    """What the other metric would choose. ``gain``: over λ = 0, if that is complete."""

    metric: str
    lam: float | None = None
    gain: Interval | None = None


def _other(case: Case, scores: Mapping[FitKey, float]) -> _Other:
    """λ with the best mean of the other metric among complete λ's; ties go to the larger λ."""
    meta = case.meta
    metric = "log_loss" if meta.metric == "accuracy" else "accuracy"
    grid = grid_of(case.rows, scores, n_folds=meta.n_folds, n_images=meta.n_images, scale=Scale.of(metric))
    candidates = grid.complete & case.grid.complete & grid.positive
    if not candidates.any():
        return _Other(metric)
    best = argmax_largest(grid.scores[:, : meta.n_folds].mean(axis=1), candidates)
    versus = pairs.compare(grid, best)
    zero = np.flatnonzero(grid.complete & ~grid.positive)
    gain = _over(versus, int(zero[0])) if len(zero) else None
    return _Other(metric, case.lam_over_m(best) * meta.m, gain)
