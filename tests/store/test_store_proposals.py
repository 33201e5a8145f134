"""Which λ's are tried: functions of settings and position, and of the table for the model-based samplers."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from worlds import config

from lamsearch.config import SearchConfig
from lamsearch.records import FitKey, ScoreTable, SlotRow
from lamsearch.store.proposals import adjusted_means, cohort_sizes, propose, propose_cohort, van_der_corput


def search(**values: object) -> SearchConfig:
    return config(low=1e-5, high=1e-1, **values).search


def decades(given: SearchConfig, n: int) -> list[float]:
    return [math.log10(propose(given, position)) for position in range(n)]


def test_the_grid_begins_with_both_ends_exactly() -> None:
    assert [propose(search(), position) for position in range(2)] == [1e-5, 1e-1]
    assert decades(search(), 5)[2:] == pytest.approx([-3.0, -4.0, -2.0])


@pytest.mark.parametrize("level", [1, 2, 3, 4, 5])
def test_powers_of_two_plus_one_make_an_even_grid(level: int) -> None:
    points = sorted(decades(search(), 2**level + 1))
    assert np.diff(points) == pytest.approx(4 / 2**level)


def test_van_der_corput() -> None:
    assert [van_der_corput(n) for n in range(1, 8)] == [0.5, 0.25, 0.75, 0.125, 0.625, 0.375, 0.875]


def test_qmc_leaves_no_large_gap_and_rotates_with_the_seed() -> None:
    points = sorted(decades(search(sampler="qmc"), 32))
    assert np.diff(points).max() <= 2.1 * 4 / 32
    assert points != sorted(decades(search(sampler="qmc", seed=1), 32))


@pytest.mark.parametrize("sampler", ["grid", "qmc", "random"])
def test_lambdas_are_in_range_distinct_and_repeatable(sampler: str) -> None:
    given = search(sampler=sampler)
    points = [propose(given, position) for position in range(200)]
    assert all(1e-5 <= point <= 1e-1 for point in points)
    assert len(set(points)) == 200
    assert points[100:] == [propose(given, position) for position in range(100, 200)]


def test_cohorts_are_as_few_as_allowed_and_even() -> None:
    assert cohort_sizes(search(), 64) == [64]
    assert cohort_sizes(search(), 65) == [33, 32]
    assert cohort_sizes(search(), 100) == [50, 50]
    assert cohort_sizes(search(sampler="tpe"), 50) == [10] * 5
    assert cohort_sizes(search(), 0) == []


def test_adjusted_means_forgive_a_hard_fold() -> None:
    scores = {FitKey(slot, 0, fold): 0.9 + 0.01 * slot - 0.2 * fold for slot in (0, 1, 2) for fold in range(3)}
    for fold in (1, 2):
        del scores[FitKey(0, 0, fold)]  # dropped after the easiest fold: its plain mean is the best of all
    means = adjusted_means(scores, [0, 1, 2, 3])
    assert means[1] - means[0] == pytest.approx(0.01)
    assert means[2] - means[1] == pytest.approx(0.01)
    assert 3 not in means


def table(order: list[int]) -> ScoreTable:
    given = search(sampler="tpe", trials=24)
    slots = [SlotRow(slot=slot, cohort=0, lam_over_m=propose(given, slot)) for slot in range(12)]
    slots += [SlotRow(slot=slot, cohort=1, lam_over_m=None) for slot in range(12, 24)]
    slots.append(SlotRow(slot=-1, cohort=0, lam_over_m=0.0))
    scores = {
        FitKey(slot, 0, fold): 0.9 - 0.01 * (math.log10(propose(given, slot)) + 2) ** 2 + 0.01 * fold
        for slot in order
        for fold in range(3)
    }
    return ScoreTable(slots=tuple(slots), scores=scores)


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_model_based_proposals_do_not_depend_on_who_asks(sampler: str) -> None:
    given = search(sampler=sampler, trials=24)
    shuffled = list(range(12))
    random.Random(1).shuffle(shuffled)
    first = propose_cohort(given, 1, table(list(range(12))))
    assert first == propose_cohort(given, 1, table(shuffled))
    assert len(first) == len(set(first)) == 12
    assert all(1e-5 <= lam <= 1e-1 for lam in first)
    assert first != propose_cohort(given.model_copy(update={"seed": 5}), 1, table(shuffled))


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_model_based_proposals_look_at_results(sampler: str) -> None:
    lams = propose_cohort(search(sampler=sampler, trials=24), 1, table(list(range(12))))
    near = [abs(math.log10(lam) + 2) < 1.0 for lam in lams]  # half of the range
    assert sum(near) >= 7
