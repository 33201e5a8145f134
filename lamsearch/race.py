"""One decision of the race over folds: from what has been seen, how many folds each λ is to have next.

A *standing* is all that a decision may look at. Rows are λ's by rising λ with the baseline first, so that nothing
depends on slot numbers or on the order of arrival. Decisions use finished folds only.
Sources: Krueger, Panknin & Braun 2015 (CVST); Bergman, Purucker & Hutter 2024; Birattari et al. 2002 (F-race).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamsearch.records import BASELINE, Parked
from lamsearch.smooth import Floats, Posterior, noise_of_one_fold, smooth, tally, two_way, winsorise

Rows = NDArray[np.bool_]
Counts = NDArray[np.int64]

KEEP = (1 / 6, 1 / 9)
"""Share of the cohort's λ's that go on after fold 1, and after each later fold (protected ones included)."""

CANDIDATES = (2, 1)
"""Large λ's kept because they may become lam_1se, after fold 1, and after each later fold."""

SECOND_LOOKS = (0.0, 1 / 20)
"""Share of the cohort's λ's that, although parked, get one more fold, after fold 1, and after each later fold."""

CANNOT_WIN = "unlikely to beat the leader by as much as matters"
NO_ROOM = "behind others that are as promising"
BASIS = "on the smoothed curve"

ROUNDING = 9
"""Decimals of a comparison: sums in another order must not decide."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """``slots`` (n,); ``decades`` (n,), −inf for the baseline; ``scores`` (n, k), NaN if unseen.

    ``open``: rows scheduled further up to now. ``ours``: rows of the present cohort (and the baseline), which cost
    something; the others are complete λ's of earlier cohorts. ``failed`` rows get no more folds.
    """

    slots: tuple[int, ...]
    decades: Floats
    scores: Floats
    open: Rows
    ours: Rows
    failed: Rows

    @property
    def n_folds(self) -> int:
        """k."""
        return int(self.scores.shape[1])

    @property
    def seen(self) -> Counts:
        """Folds measured, (n,): always the first so many."""
        return np.asarray(np.isfinite(self.scores).sum(axis=1), dtype=np.int64)

    @property
    def positive(self) -> Rows:
        """Rows with λ > 0."""
        return np.isfinite(self.decades)


@dataclass(frozen=True, kw_only=True)
class Decision:
    """``need`` (n,): folds that each row is to have before the next decision; ``parked``: why the others rest."""

    need: Counts
    parked: Mapping[int, Parked]


@dataclass(frozen=True, kw_only=True)
class View:
    """What the scores of a standing say: ``sigma``, the smoother's ``posterior``, the leaders (rows, or None).

    ``gap`` and ``spread`` (n,) are mean and sd of g − g(``best``); ``raw`` (n,) means over the first ``fold`` folds.
    """

    sigma: float
    posterior: Posterior
    best: int
    gap: Floats
    spread: Floats
    raw: Floats


def argmax_largest(values: Floats, among: Rows) -> int:
    """Row of the greatest of ``values`` ``among`` rows; ties go to the larger λ. −1 if there is none."""
    if not among.any():
        return -1
    masked = np.where(among, np.round(values, ROUNDING), -np.inf)
    return len(masked) - 1 - int(np.argmax(masked[::-1]))


def noise(standing: Standing, fold: int, rivals: Rows, *, floor: float) -> float:
    """σ of one score after ``fold`` folds: second differences after the first, two-way residuals of the better half."""
    if fold < 2:
        seen = np.isfinite(standing.scores[:, 0]) & standing.positive
        return noise_of_one_fold(standing.scores[seen, 0], floor=floor)
    table = standing.scores[rivals, :fold]
    if len(table) >= 4:
        order = np.lexsort((-np.arange(len(table)), -np.round(table.mean(axis=1), ROUNDING)))
        table = table[order[: (len(table) + 1) // 2]]
    square, freedom = two_way(table)
    return max(floor, float(np.sqrt(square))) if freedom else 5.0 * floor


def look(standing: Standing, fold: int, rivals: Rows, *, floor: float) -> View:
    """Noise, smoother and leader after ``fold`` folds. ``rivals``: rows that have all of them."""
    sigma = noise(standing, fold, rivals, floor=floor)
    sums, counts = tally(winsorise(standing.scores, sigma))
    posterior = smooth(standing.decades, sums, counts, sigma)
    best = argmax_largest(posterior.mean, rivals & standing.positive)
    gap, spread = posterior.gap(best)
    raw = np.where(rivals, standing.scores[:, :fold].mean(axis=1), -np.inf)
    return View(sigma=sigma, posterior=posterior, best=best, gap=gap, spread=spread, raw=raw)


def judge(standing: Standing, fold: int, *, tau: float, floor: float) -> Decision:
    """The decision after fold ``fold`` (1 … k − 1): which open rows go on to the next, and why the others do not."""
    rivals = standing.open & ~standing.failed & (standing.seen >= fold)
    if not (rivals & standing.positive).any():
        return _go_on(standing, rivals, fold)
    view = look(standing, fold, rivals, floor=floor)
    keep = _protected(standing, view, rivals, fold)
    hope = np.round(view.gap + view.spread, ROUNDING)
    by_hope = [int(row) for row in np.lexsort((-np.arange(len(hope)), -hope))]
    mine = standing.ours & standing.positive
    room = _share(KEEP, fold, mine) - int((keep & mine).sum())
    hopeful = [row for row in by_hope if rivals[row] and mine[row] and not keep[row] and hope[row] >= tau]
    keep[hopeful[: max(room, 0)]] = True
    goal = need(standing, keep, fold + 1)
    # One or two bad folds may have parked the best λ: look again at those that still might win.
    again = [row for row in by_hope if _may_resume(standing, row) and not keep[row] and hope[row] >= 0]
    again = again[: _share(SECOND_LOOKS, fold, mine)]
    goal[again] = standing.seen[again] + 1
    parked = {}
    for row in np.flatnonzero(standing.open & mine & ~standing.failed & (goal <= standing.seen)):
        reason = NO_ROOM if hope[row] >= tau else CANNOT_WIN
        parked[standing.slots[row]] = evidence(standing, view, int(row), reason)
    return Decision(need=goal, parked=parked)


def last_look(standing: Standing, *, floor: float) -> Decision:
    """After the last fold: complete the smoother's best λ, and the largest λ that is as good as it within its error."""
    k = standing.n_folds
    alive = ~standing.failed & (standing.seen > 0)
    full = alive & (standing.seen == k)
    if not (alive & standing.positive).any():
        return _go_on(standing, full, k - 1)
    rivals = full if (full & standing.positive).any() else alive & (standing.seen == standing.seen[alive].max())
    fold = int(standing.seen[rivals].min())
    view = look(standing, fold, rivals, floor=floor)
    best = argmax_largest(view.posterior.mean, alive & standing.positive)
    gap, _ = view.posterior.gap(best)
    near = alive & standing.positive & (np.round(gap, ROUNDING) >= -view.sigma * np.sqrt(2.0 / k))
    keep = full.copy()
    keep[[best, int(np.flatnonzero(near)[-1])]] = True
    return Decision(need=need(standing, keep, k), parked={})


def _protected(standing: Standing, view: View, rivals: Rows, fold: int) -> Rows:
    """Rows that no quota may touch: the baseline, the leaders, and the largest candidates for lam_1se.

    Leaders: the smoother's and the raw mean's best of the open rows; from fold 2 on also a parked row that the
    smoother now puts first.
    """
    candidates = rivals & standing.positive
    raw_best = argmax_largest(view.raw, candidates)
    keep = rivals & ~standing.positive
    keep[[view.best, raw_best]] = True
    near_smooth = np.round(view.gap + view.spread / 2.0, ROUNDING) >= -view.sigma * np.sqrt(2.0 / standing.n_folds)
    near_raw = np.round(view.raw - view.raw[raw_best], ROUNDING) >= -view.sigma * np.sqrt(2.0 / fold)
    large = candidates & (near_smooth | near_raw)
    large[: min(view.best, raw_best)] = False
    keep[np.flatnonzero(large)[-CANDIDATES[min(fold, len(CANDIDATES)) - 1] :]] = True
    anywhere = argmax_largest(view.posterior.mean, np.array([_may_resume(standing, row) for row in range(len(keep))]))
    if fold > 1 and anywhere >= 0:
        keep[anywhere] = True
    return keep


def _may_resume(standing: Standing, row: int) -> bool:
    possible = standing.ours[row] and standing.positive[row] and not standing.failed[row]
    return bool(possible and 0 < standing.seen[row] < standing.n_folds)


def _share(shares: tuple[float, ...], fold: int, mine: Rows) -> int:
    """Number of rows that a share of the cohort stands for after ``fold`` folds."""
    return int(np.ceil(np.round(shares[min(fold, len(shares)) - 1] * mine.sum(), ROUNDING)))


def evidence(standing: Standing, view: View, row: int, reason: str) -> Parked:
    """Why ``row`` is parked: how far behind which λ, after how many folds."""
    return Parked(
        slot=standing.slots[row],
        after=int(standing.seen[row]),
        rival=standing.slots[view.best],
        margin=float(-view.gap[row]),
        reason=reason,
        basis=BASIS,
    )


def _go_on(standing: Standing, keep: Rows, fold: int) -> Decision:
    return Decision(need=need(standing, keep, fold + 1), parked={})


def need(standing: Standing, keep: Rows, fold: int) -> Counts:
    """Folds that each row is to have: ``fold`` for those of ``keep`` and the baseline, what it has for the others."""
    wanted = keep | (np.asarray(standing.slots) == BASELINE)
    return np.where(wanted & ~standing.failed, np.maximum(fold, standing.seen), standing.seen)
