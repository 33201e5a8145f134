"""The two-scale smoother of the CV curve, and the noise of a fold score.

Model: y(λ, cell) = α(cell) + g(λ) + ε, ε ~ N(0, σ²), flat prior on the cell effects α (so that adding a constant to
all scores of one cell changes nothing), and g a Gaussian process over log10 λ with a broad and a narrow Matérn-5/2
component. The baseline λ = 0 is no point of the log scale: its g is independent of all others.
No hyperparameter is fitted: amplitudes are in units of σ, lengths in decades.

Rows are λ's, columns are cells; absent scores are NaN.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

COMPONENTS = ((1.5, 1.0), (1.0, 0.25))
"""(amplitude in σ, length in decades) of each Matérn-5/2 component. The narrow one keeps a bump beside a cliff."""

BASELINE_VARIANCE = sum(amplitude**2 for amplitude, _ in COMPONENTS)
"""Prior variance of the baseline's g in σ²: that of any other λ."""

SPREAD_OF_SECOND_DIFFERENCE = np.sqrt(6.0) * 0.6745
"""Median |y₋ − 2y + y₊| of white noise with σ = 1: sd √(1 + 4 + 1) times the normal's third quartile."""


@dataclass(frozen=True, kw_only=True)
class Posterior:
    """``mean`` (n,) and ``cov`` (n, n) of g; ``cells`` (c,) the estimated α of each cell (NaN without scores)."""

    mean: Floats
    cov: Floats
    cells: Floats

    def gap(self, rival: int) -> tuple[Floats, Floats]:
        """Mean and sd, each (n,), of g(λ) − g(rival)."""
        diagonal = np.diagonal(self.cov)
        variance = diagonal + diagonal[rival] - 2.0 * self.cov[:, rival]
        return self.mean - self.mean[rival], np.sqrt(np.maximum(variance, 0.0))


def kernel(decades: Floats) -> Floats:
    """Prior covariance of g in σ², (n, n). ``decades``: log10 λ/m, −inf for the baseline."""
    real = np.isfinite(decades)
    place = np.where(real, decades, 0.0)
    distance = np.abs(place[:, None] - place[None, :])
    prior: Floats = np.zeros_like(distance)
    for amplitude, length in COMPONENTS:
        scaled = np.sqrt(5.0) * distance / length
        prior += amplitude**2 * (1.0 + scaled + scaled**2 / 3.0) * np.exp(-scaled)
    prior[~real] = 0.0
    prior[:, ~real] = 0.0
    np.fill_diagonal(prior, BASELINE_VARIANCE)
    return prior


def smooth(decades: Floats, sums: Floats, counts: Floats, sigma: float) -> Posterior:
    """Posterior of g.

    ``sums`` and ``counts`` (n, c): sum and number of the scores of each λ in each cell (see ``tally``). With N =
    counts, n_c its column sums and r its row sums, the flat α integrate out to the precision
    P = [diag(r) − N diag(1/n_c) Nᵀ]/σ² and h = [row sums − N (column sums / n_c)]/σ²; then S = (I + K P)⁻¹ K, μ = S h.
    """
    held = counts.sum(axis=0)
    share = counts / np.maximum(held, 1.0)
    level = sums.sum(axis=0) / np.maximum(held, 1.0)
    precision = (np.diag(counts.sum(axis=1)) - share @ counts.T) / sigma**2
    evidence = (sums - counts * level).sum(axis=1) / sigma**2
    prior = sigma**2 * kernel(decades)
    cov = np.linalg.solve(np.eye(len(decades)) + prior @ precision, prior)
    cov = (cov + cov.T) / 2.0
    mean = cov @ evidence
    cells = np.where(held > 0, level - share.T @ mean, np.nan)
    return Posterior(mean=mean, cov=cov, cells=cells)


def tally(scores: Floats) -> tuple[Floats, Floats]:
    """``sums`` and ``counts`` of a table with one score, or NaN, per λ and cell."""
    seen = np.isfinite(scores)
    return np.where(seen, scores, 0.0), seen.astype(np.float64)


def winsorise(scores: Floats, sigma: float) -> Floats:
    """Scores raised to T_c − 2.5·√2·σ, T_c = the max(3, ⌊n/4⌋)-th best of that cell (n measured rows)."""
    rank = max(3, int(np.isfinite(scores).any(axis=1).sum()) // 4)
    ordered = -np.sort(np.where(np.isfinite(scores), -scores, np.inf), axis=0)
    seen = np.isfinite(scores).sum(axis=0)
    at = np.clip(np.minimum(rank, seen) - 1, 0, None)
    threshold = np.where(seen > 0, ordered[at, np.arange(scores.shape[1])], -np.inf)
    return np.asarray(np.maximum(scores, threshold - 2.5 * np.sqrt(2.0) * sigma))


def noise_of_one_fold(values: Floats, *, floor: float) -> float:
    """σ from one fold alone: second differences of ``values`` (n,), in the order of λ. Too few: five floors."""
    if len(values) < 3:
        return 5.0 * floor
    second = np.abs(values[:-2] - 2.0 * values[1:-1] + values[2:])
    return max(floor, float(np.median(second) / SPREAD_OF_SECOND_DIFFERENCE))


def two_way(scores: Floats) -> tuple[float, int]:
    """Residual mean square of the additive model λ + cell, and its degrees of freedom (0: (0.0, 0)).

    Least squares for any pattern of absent scores: the λ effects are eliminated, the few cells solved for.
    """
    sums, counts = tally(scores)
    rows = counts.sum(axis=1)
    sums, counts, rows = sums[rows > 0], counts[rows > 0], rows[rows > 0]
    if len(rows) == 0:
        return 0.0, 0
    means = sums.sum(axis=1) / rows
    normal = np.diag(counts.sum(axis=0)) - counts.T @ (counts / rows[:, None])
    inverse, rank = np.linalg.pinv(normal, rcond=1e-9, hermitian=True), np.linalg.matrix_rank(normal, tol=1e-9)
    effects = inverse @ (sums - counts * means[:, None]).sum(axis=0)
    rest = sums - counts * effects
    residual = np.where(counts > 0, rest - (rest.sum(axis=1) / rows)[:, None], 0.0)
    freedom = int(counts.sum()) - len(rows) - int(rank)
    return (float((residual**2).sum() / freedom), freedom) if freedom > 0 else (0.0, 0)
