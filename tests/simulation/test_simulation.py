"""The bounds that the shipped defaults must keep, on fresh worlds. ``pytest -m simulation``."""

from __future__ import annotations

import numpy as np
import pytest

from tests.simulation.runs import outcome, places, race, rules_for
from tests.simulation.worlds import FAMILIES, draw

pytestmark = pytest.mark.simulation
FIRST_SEED = 500_000


@pytest.mark.parametrize(("n", "worlds"), [(17, 120), (50, 50)])
def test_share_of_fits_and_regret_of_the_default_race(n: int, worlds: int) -> None:
    grid, shares, regrets = places("grid", n, 0), [], []
    for family in FAMILIES:
        for seed in range(FIRST_SEED, FIRST_SEED + worlds):
            world = draw(seed, family=family, n_slots=n, n_folds=5, shared=0.0)
            scores, truth = world.scores(grid, -1), world.truth(grid)
            full = outcome(grid, scores, rules_for("none", 5), scores.size)
            run = race(grid, scores, rules_for("paired", 5))
            shares.append(run.share)
            regrets.append(100 * (truth[full.chosen] - truth[run.chosen]))
    assert np.mean(shares) <= 0.45
    assert np.mean(regrets) - 2 * np.std(regrets) / np.sqrt(len(regrets)) <= 0.02


def test_false_helps_and_coverage() -> None:
    grid, helps, plateau, best = places("grid", 17, 0), [], [], []
    for seed in range(FIRST_SEED, FIRST_SEED + 400):
        world = draw(seed, family="null", n_slots=17, n_folds=5, shared=0.0)
        run = race(grid, world.scores(grid, -1), rules_for("paired", 5))
        helps.append(run.helps)
        plateau.append(run.versus.inside[5])
        bump = draw(seed, family="bump away", n_slots=17, n_folds=5, shared=0.0)
        found = race(grid, bump.scores(grid, -1), rules_for("paired", 5))
        best.append(found.versus.inside[1 + int(np.argmax(bump.truth(grid)[1:]))])
    # Bounds on rates, each with two standard errors of 400 worlds.
    assert np.mean(helps) <= 0.05 + 0.022
    assert np.mean(plateau) >= 0.93 - 0.026
    assert np.mean(best) >= 0.95 - 0.022
