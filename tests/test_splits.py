"""Folds, hold-outs and label noise. Each invariant of the docstrings has a test."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lamsearch.errors import InputError
from lamsearch.splits import (
    check_folds,
    derived_seed,
    fold_seed,
    noisy_labels,
    split,
    stratified_folds,
    stratified_holdout,
)

unhurried = settings(deadline=None)  # the machine may be busy with other tests
SEEDS = st.integers(0, 2**63 - 1)
LABELS = st.lists(st.integers(0, 4), min_size=10, max_size=120).map(np.array)


FROZEN_FOLDS = [[0, 6, 8, 9, 13, 14, 19], [2, 3, 4, 5, 7, 15, 16], [1, 10, 11, 12, 17, 18]]
FROZEN_HELD = [3, 13, 16, 17, 18]
FROZEN_SEED = 9077129223678539805
FROZEN_NOISE = [0, 0, 1, 0, 2, 2, 2, 2, 2, 0, 1, 2, 0, 2, 2, 0, 1, 2, 0, 1]


def class_counts(labels: NDArray[np.int64], parts: tuple[NDArray[np.int64], ...]) -> NDArray[np.int64]:
    """(part, class)."""
    return np.array([np.bincount(labels[part], minlength=labels.max() + 1) for part in parts])


@unhurried
@given(labels=LABELS, n_folds=st.integers(2, 10), seed=SEEDS)
def test_folds_are_disjoint_covering_stratified_and_balanced(
    labels: NDArray[np.int64], n_folds: int, seed: int
) -> None:
    folds = stratified_folds(labels, n_folds, seed)
    assert len(folds) == n_folds
    assert np.array_equal(np.sort(np.concatenate(folds)), np.arange(len(labels)))
    assert all(np.array_equal(fold, np.sort(fold)) for fold in folds)
    assert np.ptp(class_counts(labels, folds), axis=0).max() <= 1
    assert np.ptp([len(fold) for fold in folds]) <= 1


@unhurried
@given(labels=LABELS, seed=SEEDS)
def test_class_counts_equal_those_of_scikit_learn(labels: NDArray[np.int64], seed: int) -> None:
    from sklearn.model_selection import StratifiedKFold

    labels = np.concatenate([labels, np.repeat(np.arange(5), 3)])  # scikit-learn wants 3 members of each class
    theirs = [fold for _, fold in StratifiedKFold(3, shuffle=True, random_state=0).split(labels, labels)]
    ours = stratified_folds(labels, 3, seed)
    assert np.array_equal(
        np.sort(class_counts(labels, ours), axis=0), np.sort(class_counts(labels, tuple(theirs)), axis=0)
    )


def test_assignment_is_frozen() -> None:
    """Changes with no library version and no edit: a resumed study must find its folds again."""
    labels = np.arange(20) % 3
    assert [fold.tolist() for fold in stratified_folds(labels, 3, 7)] == FROZEN_FOLDS
    assert stratified_holdout(labels, 0.25, 7)[1].tolist() == FROZEN_HELD
    assert fold_seed(0, 1, 2) == FROZEN_SEED
    assert noisy_labels(labels, np.arange(20), 0.3, 7).tolist() == FROZEN_NOISE


def test_a_shuffle_is_uniform() -> None:
    """Every image of a class is equally likely in every fold: 4 standard errors over 2,000 seeds."""
    labels = np.zeros(12, dtype=np.int64)
    n_seeds = 2000
    hits = np.zeros((3, 12))
    for seed in range(n_seeds):
        for fold, members in enumerate(stratified_folds(labels, 3, derived_seed("test-uniform", seed))):
            hits[fold, members] += 1
    assert np.abs(hits / n_seeds - 1 / 3).max() < 4 * np.sqrt(2 / 9 / n_seeds)


def test_seeds_differ_and_know_nothing_of_lambda() -> None:
    seeds = {fold_seed(study, replicate, fold) for study in range(5) for replicate in range(5) for fold in range(5)}
    assert len(seeds) == 125
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert len({derived_seed("a", 1, 23), derived_seed("a", 12, 3), derived_seed("b", 1, 23)}) == 3
    for function in (fold_seed, split):
        assert not {name for name in inspect.signature(function).parameters if "lam" in name or "slot" in name}


def test_folds_of_a_replicate_fit_together() -> None:
    search = np.arange(5, 65)
    labels = np.arange(70) % 4
    parts = [split(search, labels, n_folds=5, study_seed=3, replicate=1, fold=fold) for fold in range(5)]
    assert np.array_equal(np.sort(np.concatenate([part.val for part in parts])), search)
    for part in parts:
        assert np.array_equal(np.sort(np.concatenate([part.train, part.val])), search)
        assert len(part.val) == 12


def test_test_indices_are_in_no_fold() -> None:
    labels = np.arange(100) % 3
    search, test = stratified_holdout(labels, 0.2, 0)
    for fold in range(4):
        part = split(search, labels, n_folds=4, study_seed=0, replicate=0, fold=fold)
        assert not set(test) & (set(part.train) | set(part.val))


def test_replicates_and_studies_have_other_folds() -> None:
    search, labels = np.arange(60), np.arange(60) % 3
    cells = [(0, 0), (0, 1), (1, 0)]
    vals = {
        tuple(split(search, labels, n_folds=5, study_seed=seed, replicate=replicate, fold=0).val)
        for seed, replicate in cells
    }
    assert len(vals) == 3


@unhurried
@given(labels=LABELS, share=st.floats(0, 0.99), seed=SEEDS)
def test_holdout_is_exact_and_stratified(labels: NDArray[np.int64], share: float, seed: int) -> None:
    rest, held = stratified_holdout(labels, share, seed)
    assert np.array_equal(np.sort(np.concatenate([rest, held])), np.arange(len(labels)))
    assert len(held) == round(share * len(labels))
    exact = np.bincount(labels) * len(held) / len(labels)
    assert np.abs(class_counts(labels, (held,))[0] - exact).max() < 1


def test_holdout_of_a_number_of_images() -> None:
    labels = np.arange(50) % 5
    assert class_counts(labels, stratified_holdout(labels, 10, 0))[1].tolist() == [2] * 5
    assert len(stratified_holdout(labels, 50, 0)[0]) == 0
    with pytest.raises(InputError, match="cannot set 51 images apart: there are 50"):
        stratified_holdout(labels, 51, 0)


@unhurried
@given(labels=LABELS, share=st.floats(0, 0.99), seed=SEEDS)
def test_noise_changes_exactly_its_share_and_always_the_class(
    labels: NDArray[np.int64], share: float, seed: int
) -> None:
    labels = np.concatenate([labels, [0, 1]])
    train = np.arange(0, len(labels), 2)
    before = labels.copy()
    noisy = noisy_labels(labels, train, share, seed)
    changed = np.flatnonzero(noisy != labels)
    assert np.array_equal(labels, before)
    assert len(changed) == round(share * len(train))
    assert set(changed) <= set(train)
    assert noisy.min() >= 0
    assert noisy.max() <= labels.max()


def test_noise_takes_every_other_class_alike() -> None:
    labels = np.zeros(6001, dtype=np.int64)
    labels[-1] = 3
    noisy = noisy_labels(labels, np.arange(6000), 0.5, 1)
    counts = np.bincount(noisy[:6000])
    assert counts[0] == 3000
    assert np.abs(counts[1:] - 1000).max() < 4 * np.sqrt(3000 * 2 / 9)


def test_noise_needs_two_classes() -> None:
    with pytest.raises(InputError, match=r"data\.label_noise = 0\.5 needs at least 2 classes"):
        noisy_labels(np.zeros(4, dtype=np.int64), np.arange(4), 0.5, 0)


def test_too_many_folds_name_the_smallest_class() -> None:
    labels = np.array([0] * 9 + [1] * 3)
    check_folds(labels, ("cat", "dog"), 3)
    with pytest.raises(InputError, match=r"search\.folds = 4 .*'dog' has 3 .*at most 3 folds"):
        check_folds(labels, ("cat", "dog"), 4)
    with pytest.raises(InputError, match="'owl' has 0 in the search data; add images"):
        check_folds(labels, ("cat", "dog", "owl"), 2)


@pytest.mark.parametrize("n_folds", [1, 11])
def test_impossible_numbers_of_folds(n_folds: int) -> None:
    with pytest.raises(InputError, match=f"search.folds = {n_folds}: from 2 up to"):
        stratified_folds(np.zeros(10, dtype=np.int64), n_folds, 0)
