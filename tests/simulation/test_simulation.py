"""The bounds that the shipped defaults must keep, on fresh worlds. ``pytest -m simulation``."""

from __future__ import annotations

import numpy as np
import pytest

from lamsearch.config import SearchConfig
from lamsearch.rules import EPOCH_PRUNERS
from tests.simulation import epochs
from tests.simulation.runs import outcome, places, race, rules_for
from tests.simulation.worlds import FAMILIES, draw

pytestmark = pytest.mark.simulation
FIRST_SEED = 500_000


@pytest.mark.parametrize(("n", "worlds"), [(17, 120), (SearchConfig().trials, 60), (50, 50)])
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


@pytest.mark.parametrize(("n", "worlds"), [(17, 400), (SearchConfig().trials, 300)])
def test_false_helps_and_coverage(n: int, worlds: int) -> None:
    grid, helps, plateau, best = places("grid", n, 0), [], [], []
    fixed = 1 + int(np.argmin(np.abs(grid[1:] + 5.0)))
    for seed in range(FIRST_SEED, FIRST_SEED + worlds):
        world = draw(seed, family="null", n_slots=n, n_folds=5, shared=0.0)
        run = race(grid, world.scores(grid, -1), rules_for("paired", 5))
        helps.append(run.helps)
        plateau.append(run.versus.inside[fixed])
        bump = draw(seed, family="bump away", n_slots=n, n_folds=5, shared=0.0)
        found = race(grid, bump.scores(grid, -1), rules_for("paired", 5))
        best.append(found.versus.inside[1 + int(np.argmax(bump.truth(grid)[1:]))])
    # Bounds on rates, each with two standard errors.
    assert np.mean(helps) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / worlds)
    assert np.mean(plateau) >= 0.93 - 2 * np.sqrt(0.93 * 0.07 / worlds)
    assert np.mean(best) >= 0.95 - 2 * np.sqrt(0.95 * 0.05 / worlds)


def test_until_sure_stays_within_its_tolerance_and_claims_no_more() -> None:
    grid, sure, worse, helps, saved = places("grid", 17, 0), rules_for("paired", 5, until="sure"), [], [], []
    for family in FAMILIES:
        for seed in range(FIRST_SEED, FIRST_SEED + 60):
            world = draw(seed, family=family, n_slots=17, n_folds=5, shared=0.0)
            scores, truth = world.scores(grid, -1), world.truth(grid)
            full = outcome(grid, scores, rules_for("none", 5), scores.size)
            run = race(grid, scores, sure)
            worse.append(truth[full.chosen] - truth[run.chosen] > sure.scale.tolerance)
            saved.append(race(grid, scores, rules_for("paired", 5)).fits - run.fits)
            helps += [run.helps] if family == "null" else []
    assert np.mean(worse) <= 0.05
    assert np.mean(helps) <= 0.05 + 0.056
    assert min(saved) >= 0
    assert np.mean(saved) > 0


def test_automatic_replicates_claim_no_more_and_keep_the_best_in_range() -> None:
    grid, helps, best = places("grid", 17, 0), [], []
    for seed in range(FIRST_SEED, FIRST_SEED + 150):
        for family, seen in (("null", helps), ("bump away", best)):
            world = draw(seed, family=family, n_slots=17, n_folds=5, replicates=21, shared=0.0)
            run = race(grid, world.scores(grid, -1), rules_for("paired", 5, n_replicates=0))
            seen.append(run.helps if family == "null" else run.versus.inside[1 + np.argmax(world.truth(grid)[1:])])
            assert run.fits <= len(grid) * 5
    assert np.mean(helps) <= 0.05 + 0.036
    assert np.mean(best) >= 0.95 - 0.036


@pytest.mark.parametrize("pruner", sorted(EPOCH_PRUNERS))
def test_epoch_pruners_save_epochs_and_are_the_same_in_every_run(pruner: str) -> None:
    rules, shares = rules_for(pruner, 5), []
    for seed in range(FIRST_SEED, FIRST_SEED + 4):
        world = draw(seed, family="bump away", n_slots=17, n_folds=5, shared=0.0)
        runs = [epochs.study(world, "qmc", 17, seed, rules) for _ in range(2)]
        assert runs[0].fits == runs[1].fits
        np.testing.assert_array_equal(runs[0].scores, runs[1].scores)
        assert np.isfinite(runs[0].scores[0]).all()
        shares.append(runs[0].share)
    assert 0.1 < np.mean(shares) < 0.8
