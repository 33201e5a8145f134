from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.datasets import load_diabetes, load_digits
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lamsearch.pairs import Grid, choose, compare, one_se, one_se_classical
from tests.score_worlds import real

TABLES = ["noisy-digits-0", "noisy-digits-1", "fashion-2500-0"]


def grid(scores: np.ndarray, *, n_folds: int | None = None, n_images: int = 1000) -> Grid:
    decades = np.concatenate([[-np.inf], np.linspace(-6, -2, len(scores) - 1)])
    k = n_folds or scores.shape[1]
    return Grid(decades=decades, scores=scores, n_folds=k, n_images=n_images, floor=0.001, near=0.02)


def real_scores(name: str) -> np.ndarray:
    table = real(name)
    return np.array([[table.scores[row.slot, 0, fold] for fold in range(5)] for row in table.slots])


tables = st.integers(0, 10_000).map(
    lambda seed: 0.9 + 0.01 * np.random.default_rng(seed).standard_normal((2 + seed % 40, 2 + seed % 5))
)


@given(tables, st.lists(st.floats(-1, 1), min_size=6, max_size=6))
@settings(max_examples=100, deadline=None)
def test_answer_is_invariant_under_a_constant_per_fold(scores: np.ndarray, shift: list[float]) -> None:
    moved = scores + np.array(shift[: scores.shape[1]])
    ours, theirs = choose(grid(scores)), choose(grid(moved))
    assert ours == theirs
    a, b = compare(grid(scores), ours[0]), compare(grid(moved), ours[0])
    np.testing.assert_allclose(a.mean, b.mean, atol=1e-9)
    np.testing.assert_allclose(a.se, b.se, atol=1e-9)
    assert one_se(grid(scores), a) == one_se(grid(moved), b)


@given(tables)
@settings(max_examples=100, deadline=None)
def test_lam_1se_is_never_below_the_chosen_lambda(scores: np.ndarray) -> None:
    chosen, _ = choose(grid(scores))
    assert one_se(grid(scores), compare(grid(scores), chosen)) >= chosen
    assert one_se_classical(grid(scores), chosen) >= chosen


def test_lam_1se_takes_the_larger_lambda_that_is_slightly_worse_but_none_that_is_clearly_worse() -> None:
    rng = np.random.default_rng(0)
    behind = np.array([0.005, 0.003, 0.001, 0.0015, 0.006, 0.02])
    scores = 0.9 - behind[:, None] + 0.001 * rng.standard_normal((6, 5))
    chosen = 2
    comparison = compare(grid(scores), chosen)
    # By hand: within one paired standard error below, never above, the chosen λ's mean.
    allowed = comparison.mean >= -comparison.sd / np.sqrt(5)
    assert one_se(grid(scores), comparison) == np.flatnonzero(allowed)[-1] == 3
    equal = 0.9 - 0.0001 * np.arange(6)[:, None] + np.zeros((6, 5))
    assert one_se(grid(equal), compare(grid(equal), 1)) == 5


@given(tables, st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_a_partial_lambda_is_never_chosen(scores: np.ndarray, seed: int) -> None:
    rng = np.random.default_rng(seed)
    partial = rng.random(len(scores)) < 0.5
    partial[1] = False
    scores = np.where(partial[:, None] & (np.arange(scores.shape[1]) > 0), np.nan, scores + partial[:, None])
    chosen, _ = choose(grid(scores))
    assert not partial[chosen]
    assert not partial[one_se(grid(scores), compare(grid(scores), chosen))]


@pytest.mark.parametrize("name", TABLES)
def test_choice_on_real_tables_is_the_argmax_of_the_mean(name: str) -> None:
    scores = real_scores(name)
    assert choose(grid(scores))[0] == 1 + int(np.argmax(scores[1:].mean(axis=1)))


@pytest.mark.parametrize("name", TABLES)
def test_errors_on_real_tables_equal_an_independent_computation(name: str) -> None:
    scores = real_scores(name)
    best = 1 + int(np.argmax(scores[1:].mean(axis=1)))
    near = scores[scores.mean(axis=1) - scores[best].mean() >= -0.02]
    residual = near - near.mean(0) - near.mean(1, keepdims=True) + near.mean()
    pooled = 2 * (residual**2).sum() / ((len(near) - 1) * 4)
    d = scores[0] - scores[best]
    s2 = (4 * d.var(ddof=1) + 8 * pooled) / 12
    expected = np.sqrt(max(s2, d.var(ddof=1), 1 / 1000**2) * (1 / 5 + 1 / 4))
    found = compare(grid(scores), best)
    assert found.se[0] == pytest.approx(expected)
    low, high = stats.t.interval(0.95, 12, loc=d.mean(), scale=expected)
    assert (found.low[0], found.high[0]) == (pytest.approx(low), pytest.approx(high))
    assert found.inside[0] == (high >= 0)


def test_means_within_half_an_image_tie_and_the_larger_lambda_wins() -> None:
    scores = np.full((4, 2), 0.9)
    scores[1] += 0.0004
    assert choose(grid(scores, n_images=1000))[0] == 3
    scores[1] += 0.0004
    assert choose(grid(scores, n_images=1000))[0] == 1


def test_from_thirty_lambdas_the_smoother_chooses_and_ignores_a_lonely_spike() -> None:
    decades = np.linspace(-6, -2, 41)
    truth = np.concatenate([[0.9], 0.9 + 0.01 * np.exp(-((decades + 3) ** 2) / 0.3)])
    rng = np.random.default_rng(0)
    scores = truth[:, None] + 0.003 * rng.standard_normal((42, 5))
    scores[6] = truth[6] + 0.0115  # a far λ whose raw mean happens to be the best
    row, rule = choose(grid(scores))
    assert (rule, abs(decades[row - 1] + 3) < 0.5) == ("smoothed curve", True)
    assert choose(grid(scores[:12]))[1] == "mean over folds"


def test_replicated_lambdas_are_compared_on_shared_cells_only() -> None:
    scores = np.full((4, 4), np.nan)
    scores[:, :2] = [[0.90, 0.90], [0.93, 0.93], [0.92, 0.92], [0.80, 0.80]]
    scores[0, 2:], scores[1, 2:], scores[2, 2] = [0.9, 0.9], [0.90, 0.99], 0.95
    chosen, rule = choose(grid(scores, n_folds=2))
    assert (chosen, rule) == (2, "mean over folds and replicates")  # cell 3, where only λ₁ is, does not count
    assert compare(grid(scores, n_folds=2), chosen).shared.tolist() == [3, 3, 3, 2]


def paired_one_se(scores: np.ndarray, best: int) -> int:
    """The paired rule with each λ's own sd, for an exact comparison with published numbers."""
    d = scores - scores[best]
    return int(np.flatnonzero(d.mean(1) >= -d.std(axis=1, ddof=1) / np.sqrt(d.shape[1]))[-1])


def test_ridge_on_diabetes_reference_numbers() -> None:
    x, y = load_diabetes(return_X_y=True)
    alphas = np.logspace(-4, 2, 61)
    folds = KFold(10, shuffle=True, random_state=0)
    scores = np.array(
        [cross_val_score(Ridge(alpha=a), x, y, cv=folds, scoring="neg_mean_squared_error") for a in alphas]
    )
    table = Grid(
        decades=np.concatenate([[-np.inf], np.log10(alphas)]),
        scores=np.vstack([scores[0] - 1e4, scores]),
        n_folds=10,
        n_images=10**9,
        floor=1e-9,
        near=50.0,
    )
    best = 1 + int(np.argmax(scores.mean(axis=1)))
    assert alphas[best - 1] == pytest.approx(0.002512, rel=1e-3)
    assert alphas[one_se_classical(table, best) - 1] == pytest.approx(0.5012, rel=1e-3)
    assert alphas[paired_one_se(scores, best - 1)] == pytest.approx(0.1995, rel=1e-3)


def test_logistic_regression_on_digits_reference_numbers() -> None:
    x, y = load_digits(return_X_y=True)
    strengths = np.logspace(-4, 2, 13)
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    scores = np.array(
        [
            cross_val_score(make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=2000)), x, y, cv=folds)
            for c in strengths
        ]
    )
    # λ = 1/C rises as C falls; row 0 stands in for the baseline.
    table = grid(np.vstack([scores[-1], scores[::-1]]), n_images=len(y))
    chosen, _ = choose(table)
    assert strengths[::-1][chosen - 1] == pytest.approx(0.316, rel=1e-2)
    assert table.scores[chosen].mean() == pytest.approx(0.9727, abs=1e-4)


def test_two_images_of_one_fold_are_never_enough_to_tell_a_lambda_from_the_best() -> None:
    """A fold of 200 images: where neighbours are quiet, one fold's difference is still known to an image at best."""
    scores = np.full((11, 5), 0.9)
    scores[8:, 1:] = np.nan
    scores[8:, 0] -= np.array([1, 2, 3.5]) / 200
    versus = compare(grid(scores), 3)
    assert (-200 * versus.mean[8:]) == pytest.approx([1, 2, 3.5], abs=0.5)
    assert versus.alike.tolist() == [True] * 10 + [False]
    assert versus.sd[0] == pytest.approx(1 / 1000), "of all folds, one image of all"


def test_shrinking_never_narrows_an_interval() -> None:
    """λ = 0 may differ from λ̂ more than λ̂'s neighbours do: its interval is no narrower than its own sd has it."""
    rng = np.random.default_rng(5)
    scores = 0.9 + 0.002 * rng.standard_normal((9, 5))
    scores[0] += 0.05 * np.array([-1.0, 1.0, 0.0, 1.0, -1.0]) - 0.04
    versus = compare(grid(scores), 4)
    own = (scores[0] - scores[4]).std(ddof=1)
    assert versus.pooled_sd < own / 5
    assert versus.se[0] == pytest.approx(own * np.sqrt(1 / 5 + 1 / 4))
    quiet = (scores[6] - scores[4]).std(ddof=1)
    assert versus.se[6] >= quiet * np.sqrt(1 / 5 + 1 / 4)
