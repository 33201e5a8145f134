from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg

from lamsearch.smooth import kernel, noise_of_one_fold, smooth, tally, two_way, winsorise


def table(seed: int, n: int = 9, k: int = 4, *, holes: float = 0.4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    decades = np.concatenate([[-np.inf], np.sort(rng.uniform(-6, -1.5, n - 1))])
    scores = 0.9 + 0.01 * rng.standard_normal(k) + 0.005 * rng.standard_normal((n, k))
    scores[rng.random((n, k)) < holes] = np.nan
    scores[:, 0] = 0.9 + 0.005 * rng.standard_normal(n)
    return decades, scores


def dense_posterior(decades: np.ndarray, scores: np.ndarray, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """The same model written out: every score an observation, every cell effect a parameter with a vast variance."""
    n, k = scores.shape
    where = np.argwhere(np.isfinite(scores))
    design = np.zeros((len(where), n + k))
    for number, (row, cell) in enumerate(where):
        design[number, row] = design[number, n + cell] = 1.0
    prior = linalg.block_diag(sigma**2 * kernel(decades), 1e2 * np.eye(k))
    covariance = design @ prior @ design.T + sigma**2 * np.eye(len(where))
    gain = prior @ design.T @ np.linalg.inv(covariance)
    y = np.array([scores[row, cell] for row, cell in where])
    return (gain @ y)[:n], (prior - gain @ design @ prior)[:n, :n]


@pytest.mark.parametrize("seed", range(5))
def test_smoother_equals_the_dense_posterior_with_a_flat_prior_on_folds(seed: int) -> None:
    decades, scores = table(seed)
    posterior = smooth(decades, *tally(scores), 0.005)
    mean, cov = dense_posterior(decades, scores, 0.005)
    gap, spread = posterior.gap(3)
    np.testing.assert_allclose(gap, mean - mean[3], atol=1e-6)
    expected = np.sqrt(np.maximum(np.diag(cov) + cov[3, 3] - 2 * cov[:, 3], 0))
    np.testing.assert_allclose(spread, expected, atol=1e-6)


@given(shift=st.lists(st.floats(-10, 10), min_size=4, max_size=4), seed=st.integers(0, 50))
@settings(max_examples=30, deadline=None)
def test_a_constant_added_to_a_fold_changes_nothing(shift: list[float], seed: int) -> None:
    decades, scores = table(seed)
    plain = smooth(decades, *tally(scores), 0.005)
    moved = smooth(decades, *tally(scores + np.array(shift)), 0.005)
    np.testing.assert_allclose(moved.mean, plain.mean, atol=1e-9)
    np.testing.assert_allclose(moved.cells - shift, plain.cells, atol=1e-9)


def test_baseline_learns_nothing_from_its_neighbours_on_the_grid() -> None:
    prior = kernel(np.array([-np.inf, -6.0, -5.9]))
    assert prior[0, 1] == prior[0, 2] == 0
    assert prior[0, 0] == pytest.approx(prior[1, 1]) == pytest.approx(3.25)
    assert np.linalg.eigvalsh(prior).min() > 0


def test_counts_weigh_like_repeated_scores() -> None:
    decades = np.array([-5.0, -3.0])
    sums, counts = np.array([[1.8], [0.95]]), np.array([[2.0], [1.0]])
    twice = smooth(decades, sums, counts, 0.01)
    rows = smooth(np.array([-5.0, -5.0 + 1e-9, -3.0]), *tally(np.array([[0.9], [0.9], [0.95]])), 0.01)
    np.testing.assert_allclose(twice.gap(0)[0][1], rows.gap(0)[0][2], atol=1e-7)


@pytest.mark.parametrize("seed", range(6))
def test_two_way_residuals_equal_least_squares_with_dummies(seed: int) -> None:
    _, scores = table(seed, n=7, k=5)
    where = np.argwhere(np.isfinite(scores))
    design = np.zeros((len(where), 12))
    for number, (row, cell) in enumerate(where):
        design[number, row] = design[number, 7 + cell] = 1.0
    y = np.array([scores[row, cell] for row, cell in where])
    solution, _, rank, _ = np.linalg.lstsq(design, y, rcond=None)
    residual = y - design @ solution
    square, freedom = two_way(scores)
    assert freedom == len(y) - rank
    assert square == pytest.approx((residual**2).sum() / (len(y) - rank), rel=1e-9)


@pytest.mark.parametrize("scores", [np.full((3, 2), np.nan), np.array([[0.9, np.nan]]), np.array([[0.9], [0.8]])])
def test_two_way_without_residuals_says_so(scores: np.ndarray) -> None:
    assert two_way(scores) == (0.0, 0)


def test_noise_of_one_fold_ignores_a_smooth_curve_and_a_collapse() -> None:
    rng = np.random.default_rng(3)
    place = np.linspace(-6, -1.5, 400)
    values = 0.9 - 0.002 * (place + 4) ** 2 + 0.006 * rng.standard_normal(400)
    values[-8:] = 0.1
    assert noise_of_one_fold(values, floor=1e-4) == pytest.approx(0.006, rel=0.15)
    assert noise_of_one_fold(values[:2], floor=1e-3) == 5e-3
    assert noise_of_one_fold(np.full(9, 0.9), floor=1e-3) == 1e-3


def test_winsorising_lifts_collapsed_scores_and_nothing_else() -> None:
    scores = np.array([[0.95], [0.94], [0.93], [0.92], [0.10], [np.nan]])
    lifted = winsorise(scores, 0.01)
    np.testing.assert_allclose(lifted[:4], scores[:4])
    assert lifted[4, 0] == pytest.approx(0.93 - 2.5 * np.sqrt(2) * 0.01)  # the third best sets the threshold
    assert np.isnan(lifted[5, 0])
