"""Paired errors: which λ is chosen, which ones cannot be told from it, and the largest within one standard error.

All λ's of a cell (replicate, fold) share its split, initial weights and batch order, so differences between λ's
are measured on shared cells only. Training sets of folds overlap, so that the plain error sd/√r is too small:
Nadeau & Bengio 2003 (Inference for the generalization error) add 1/(k − 1) to 1/r. The variance of a difference is
shrunk towards that of all λ's near the chosen one, with the weight of ``PRIOR_FREEDOM`` observations: five folds tell
little about it. Where a difference's own variance is the larger one (λ's far apart, and λ = 0, may differ more than
neighbours do), that is taken. t has the freedom of both, r + 7 for r cells: an interval can be narrower than one from
the r differences alone (at most by t₁₂/t₄ = 0.78 with five folds), and ``tests/simulation`` says what that costs.

A λ that lacks cells is compared by its level: its mean over the cells that it has, less what these cells give to
everybody (the smoother's cell effects). Where two λ's have the same cells that is the plain mean difference.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from lamsearch.race import ROUNDING, Rows, argmax_largest
from lamsearch.smooth import Floats, noise_of_one_fold, smooth, tally, two_way, winsorise

PRIOR_FREEDOM = 8
SMOOTHED_FROM = 30
"""Number of λ's from which the smoother chooses instead of the raw mean."""

MAX_PLACES = 256
"""More λ's than this are smoothed in bins of log λ."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """All scores of a study. Rows by rising λ with the baseline first; columns are cells, replicate 0 first.

    ``decades`` (n,), −inf for the baseline; ``scores`` (n, c), NaN if absent; ``near``: how far behind the chosen λ
    (in score units) a λ may be to tell something about the noise there.
    """

    decades: Floats
    scores: Floats
    n_folds: int
    n_images: int
    floor: float
    near: float

    @property
    def positive(self) -> Rows:
        """Rows with λ > 0."""
        return np.isfinite(self.decades)

    @property
    def complete(self) -> Rows:
        """Rows with all k folds of replicate 0."""
        return np.asarray(np.isfinite(self.scores[:, : self.n_folds]).all(axis=1))

    @property
    def measured(self) -> Rows:
        """Rows with at least one score."""
        return np.asarray(np.isfinite(self.scores).any(axis=1))


@dataclass(frozen=True, kw_only=True)
class Curve:
    """``mean`` (n,): each row's height, up to a constant; ``cells`` (c,): each cell's effect, NaN if unmeasured.

    ``capped`` (n,): rows with a score so low that it was raised first, so that ``mean`` is not theirs.
    """

    mean: Floats
    cells: Floats
    capped: Rows


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Every row against row ``chosen``; arrays (n,), NaN where nothing is shared.

    ``mean`` is d̄ (negative: worse than the chosen λ), ``sd`` the shrunk s̃ of one difference, ``se`` (from it, or from
    the row's own sd if that is larger) and ``t`` make the interval ``low`` … ``high``; ``shared`` counts cells;
    ``pooled_sd`` is s_p. ``inside``: not shown to be worse, high ≥ 0; ``alike``: nor to be better, low ≤ 0.
    ``level``: every measured row's score as it would be on the chosen λ's cells; ``mean`` is its distance to the chosen
    λ's. ``smooth``: the smoother's curve on the same scale, in which ``capped`` rows stand too high.
    """

    chosen: int
    level: Floats
    smooth: Floats
    capped: Rows
    mean: Floats
    sd: Floats
    se: Floats
    t: Floats
    shared: Floats
    pooled_sd: float

    @property
    def low(self) -> Floats:
        """Lower ends of the intervals of d̄."""
        return self.mean - self.t * self.se

    @property
    def high(self) -> Floats:
        """Upper ends of the intervals of d̄."""
        return self.mean + self.t * self.se

    @property
    def inside(self) -> Rows:
        """Rows that are not shown to be worse than the chosen one."""
        return np.nan_to_num(self.high, nan=-np.inf) >= 0

    @property
    def alike(self) -> Rows:
        """E: rows that cannot be told from the chosen one."""
        return self.inside & (self.low <= 0)


def compare(grid: Grid, chosen: int) -> Comparison:
    """Paired differences of all rows to ``chosen``, with one error bar for everything."""
    d = grid.scores - grid.scores[chosen]
    shared = np.isfinite(d).sum(axis=1).astype(np.float64)
    cells = np.where(shared > 0, shared, np.nan)
    on_shared = np.nansum(d, axis=1) / cells
    squares = np.nansum((d - on_shared[:, None]) ** 2, axis=1)  # (r − 1) · var(d)
    pooled = 2.0 * noise_near(grid, on_shared) ** 2
    curve = smoothed(grid, max(grid.floor, float(np.sqrt(pooled / 2.0))))
    level, reference = _levels(grid, chosen, curve.cells)
    mean = np.where(shared > 0, level - level[chosen], np.nan)
    sd = np.sqrt((squares + PRIOR_FREEDOM * pooled) / (cells - 1 + PRIOR_FREEDOM))
    sd = np.maximum(sd, np.maximum(1.0, grid.n_folds / cells) / grid.n_images)  # one image of those that are shared
    own = np.sqrt(np.where(cells >= grid.n_folds, squares / np.maximum(cells - 1, 1), 0.0))
    se = np.maximum(sd, own) * np.sqrt(1.0 / cells + 1.0 / (grid.n_folds - 1))
    se[chosen] = 0.0
    t = stdtrit(np.where(shared > 0, cells - 1 + PRIOR_FREEDOM, np.nan), 0.975)
    return Comparison(
        chosen=chosen,
        level=level,
        smooth=curve.mean + reference,
        capped=curve.capped,
        mean=mean,
        sd=sd,
        se=se,
        t=t,
        shared=shared,
        pooled_sd=float(np.sqrt(pooled)),
    )


def _levels(grid: Grid, chosen: int, effects: Floats) -> tuple[Floats, float]:
    """Level of each row, (n,), NaN if unmeasured; and the mean of the ``effects`` (c,) of the chosen row's cells.

    A constant added to all scores of one cell moves all levels alike. Rows that have exactly the chosen row's cells
    get their plain mean.
    """
    seen = np.isfinite(grid.scores)
    count = np.where(seen.any(axis=1), seen.sum(axis=1), np.nan)
    reference = float(effects[seen[chosen]].mean())
    plain = np.where(seen, grid.scores, 0.0).sum(axis=1) / count
    ease = np.where(seen, np.nan_to_num(effects), 0.0).sum(axis=1) / count
    same = (seen == seen[chosen]).all(axis=1)
    return np.where(same, plain, plain - ease + reference), reference


def noise_near(grid: Grid, mean: Floats) -> float:
    """σ of one score from the λ's within ``near`` of the chosen one; from one fold alone, by second differences."""
    close = np.nan_to_num(mean, nan=-np.inf) >= -grid.near
    square, freedom = two_way(grid.scores[close])
    if freedom:
        return float(np.sqrt(square))
    fold = int(np.argmax(np.isfinite(grid.scores).sum(axis=0)))
    values = grid.scores[grid.positive & np.isfinite(grid.scores[:, fold]), fold]
    return noise_of_one_fold(values, floor=grid.floor)


def smoothed(grid: Grid, sigma: float) -> Curve:
    """The smoother's posterior of the curve."""
    capped = winsorise(grid.scores, sigma)
    sums, counts = tally(capped)
    places, row_of = _places(grid.decades)
    total, held = (_gathered(values, row_of, len(places)) for values in (sums, counts))
    posterior = smooth(places, total, held, sigma)
    return Curve(mean=posterior.mean[row_of], cells=posterior.cells, capped=np.any(capped > grid.scores, axis=1))


def choose(grid: Grid) -> tuple[int, str]:
    """Row of λ̂ and the rule that chose it. Means within half an image tie, and the larger λ wins.

    Complete λ's only; while there is none, the smoother's best among all that have a score. −1 if none has.
    """
    candidates = grid.complete & grid.positive
    if not candidates.any():
        some = grid.measured & grid.positive
        if not some.any():
            return -1, ""
        curve = smoothed(grid, max(grid.floor, noise_near(grid, np.zeros(len(some)))))
        return argmax_largest(curve.mean, some), "smoothed partial folds"
    repeated = candidates & np.isfinite(grid.scores[:, grid.n_folds :]).any(axis=1)
    if repeated.any():
        shared = np.isfinite(grid.scores[repeated]).all(axis=0)
        return _best_mean(grid, grid.scores[:, shared], repeated), "mean over folds and replicates"
    raw = _best_mean(grid, grid.scores[:, : grid.n_folds], candidates)
    if int(grid.positive.sum()) < SMOOTHED_FROM:
        return raw, "mean over folds"
    near = compare(grid, raw)
    return argmax_largest(near.smooth, candidates & near.inside), "smoothed curve"


def one_se(grid: Grid, comparison: Comparison) -> int:
    """Row of lam_1se (paired): the largest complete λ ≥ λ̂ whose mean is within s̃/√cells of λ̂'s."""
    with np.errstate(invalid="ignore"):
        close = np.round(comparison.mean + comparison.sd / np.sqrt(comparison.shared), ROUNDING) >= 0
    near = np.flatnonzero(close & grid.complete & grid.positive)
    return max(comparison.chosen, int(near[-1])) if len(near) else comparison.chosen


def one_se_classical(grid: Grid, chosen: int) -> int:
    """Row of the classical lam_1se (glmnet): the largest complete λ within the *level's* standard error of λ̂."""
    folds = grid.scores[:, : grid.n_folds]
    if not grid.complete[chosen]:
        return chosen
    bar = folds[chosen].mean() - folds[chosen].std(ddof=1) / np.sqrt(grid.n_folds)
    means = np.where(grid.complete & grid.positive, np.nan_to_num(folds, nan=-np.inf).mean(axis=1), -np.inf)
    return max(chosen, int(np.flatnonzero(np.round(means - bar, ROUNDING) >= 0)[-1]))


def _best_mean(grid: Grid, scores: Floats, among: Rows) -> int:
    means = np.where(among, np.where(among[:, None], scores, 0.0).mean(axis=1), -np.inf)
    tied = np.round(means.max() - means, ROUNDING) <= 0.5 / grid.n_images
    return int(np.flatnonzero(tied & among)[-1])


def _places(decades: Floats) -> tuple[Floats, np.ndarray]:
    """Positions to smooth over and each row's place: its own, or, with very many rows, its bin."""
    if len(decades) <= MAX_PLACES:
        return decades, np.arange(len(decades))
    real = decades[np.isfinite(decades)]
    width = (real[-1] - real[0]) / (MAX_PLACES - 2) or 1.0
    binned = np.where(np.isfinite(decades), real[0] + width * np.round((decades - real[0]) / width), -np.inf)
    return np.unique(binned, return_inverse=True)


def _gathered(values: Floats, row_of: np.ndarray, n: int) -> Floats:
    gathered = np.zeros((n, values.shape[1]))
    np.add.at(gathered, row_of, values)
    return gathered
