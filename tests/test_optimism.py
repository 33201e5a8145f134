from __future__ import annotations

import numpy as np
import pytest

from lamsearch.optimism import bbc_cv, image_scores, tibshirani
from lamsearch.records import FitKey


def slow_bbc(images: np.ndarray, seed: int, n: int) -> list[float]:
    """The algorithm as the paper writes it: draw, choose, score outside."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(n // 50):
        for drawn in rng.integers(0, images.shape[1], size=(50, images.shape[1])):
            left = np.setdiff1d(np.arange(images.shape[1]), drawn)
            means = images[:, drawn].mean(axis=1).round(9)
            best = max(range(len(images)), key=lambda row: (means[row], row))
            found.append(images[best, left].mean())
    return found


def test_bootstrap_equals_the_plain_loop() -> None:
    images = (np.random.default_rng(0).random((6, 80)) < 0.8).astype(float)
    fast = bbc_cv(images, seed=4, n_bootstraps=100)
    slow = slow_bbc(images, 4, 100)
    assert fast.mean == pytest.approx(np.mean(slow))
    assert (fast.low, fast.high) == pytest.approx(tuple(np.quantile(slow, [0.025, 0.975])))


def test_without_a_choice_there_is_no_optimism_to_correct() -> None:
    images = (np.random.default_rng(1).random((1, 2000)) < 0.7).astype(float)
    assert bbc_cv(images, seed=0).mean == pytest.approx(images.mean(), abs=0.002)


def test_pure_chance_is_seen_through() -> None:
    images = (np.random.default_rng(2).random((40, 500)) < 0.1).astype(float)
    best = images.mean(axis=1).max()
    found = bbc_cv(images, seed=0)
    assert best > 0.12
    assert found.low is not None
    assert found.high is not None
    assert found.low < 0.1 < found.high
    assert found.mean < best


def test_tibshirani_correction_is_the_mean_shortfall_against_each_folds_best() -> None:
    folds = np.array([[0.9, 0.8, 0.7], [0.8, 0.9, 0.8]])
    assert tibshirani(folds, 1).mean == pytest.approx(2.5 / 3 - 0.1 / 3)


def test_images_are_averaged_over_replicates_by_position() -> None:
    oof = {
        FitKey(0, 0, 0): np.array([1, 0]),
        FitKey(0, 0, 1): np.array([1, 1]),
        FitKey(0, 1, 0): np.array([0, 0]),
        FitKey(0, 1, 1): np.array([1, 0]),
    }
    where = {(0, 0): np.array([3, 5]), (0, 1): np.array([7, 9]), (1, 0): np.array([3, 9]), (1, 1): np.array([5, 7])}
    assert image_scores([0], 2, oof, where).tolist() == [[0.5, 0.5, 0.5, 0.5]]
    assert image_scores([0], 2, oof, None).tolist() == [[1, 0, 1, 1]]
    assert image_scores([0, 1], 2, oof, where) is None
