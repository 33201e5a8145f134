from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from lamsearch.records import BASELINE
from lamsearch.wilcoxon import p_worse
from tests.score_worlds import lams, play, rules, slots_at, world


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("n", [2, 4, 5, 9])
def test_p_equals_scipys_exact_test(seed: int, n: int) -> None:
    d = np.random.default_rng(seed).normal(-0.3, 1, n)
    assert p_worse(d) == pytest.approx(stats.wilcoxon(d, alternative="less", method="exact").pvalue)


def test_p_with_ties_equals_scipys_permutation_test() -> None:
    d = np.array([-2.0, -1, -1, 1, -3])
    method = stats.PermutationMethod(n_resamples=np.inf)
    assert p_worse(d) == pytest.approx(stats.wilcoxon(d, alternative="less", method=method).pvalue)


def test_smallest_p_is_two_to_the_minus_n() -> None:
    assert [p_worse(-np.ones(n)) for n in (1, 2, 3, 4)] == [0.5, 0.25, 0.125, 0.0625]
    assert p_worse(np.zeros(4)) == 1.0


def test_nothing_is_parked_before_the_fourth_fold() -> None:
    _, now = play(slots_at(lams(9)), world(9, noise=0.0005), rules("wilcoxon"))
    assert now.parked
    assert {why.after for why in now.parked.values()} == {4}
    assert BASELINE not in now.parked
