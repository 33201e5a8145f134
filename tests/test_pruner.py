"""The paired race as an ordinary Optuna pruner, in a real study with made-up scores."""

from __future__ import annotations

import math

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from lamsearch.errors import InputError
from lamsearch.pruner import PairedPruner, epoch_pruner

FOLDS = 5


def score(lam: float, fold: int) -> float:
    """A bump at 1e-3 that falls to both sides, hard and easy folds that all λ's share, and a little noise."""
    decades = math.log10(lam) + 3 if lam > 0 else -3.0
    noise = np.random.default_rng([round(1e9 * lam), fold]).normal(0, 0.002)
    return float(0.95 - 0.01 * decades**2 + (0.0, -0.03, 0.02, -0.01, 0.01)[fold] + noise)


def search(pruner: PairedPruner, *, sign: float = 1.0) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize" if sign > 0 else "minimize", pruner=pruner)
    for lam in (0.0, *np.logspace(-5, -1, 17)[np.random.default_rng(1).permutation(17)]):
        study.enqueue_trial({"lam": float(lam)})

    def objective(trial: optuna.Trial) -> float:
        lam = trial.suggest_float("lam", 0.0, 0.1)
        scores: list[float] = []
        for fold in range(FOLDS):
            scores.append(sign * score(lam, fold))
            trial.report(float(np.mean(scores)), fold)
            if trial.should_prune():
                raise optuna.TrialPruned
        return float(np.mean(scores))

    study.optimize(objective, n_trials=18)
    return study


@pytest.mark.parametrize("sign", [1.0, -1.0], ids=["maximize", "minimize"])
def test_the_pruner_drops_the_hopeless_and_keeps_the_best_and_the_baseline(sign: float) -> None:
    study = search(PairedPruner(n_folds=FOLDS), sign=sign)
    pruned = [trial.params["lam"] for trial in study.trials if trial.state is TrialState.PRUNED]
    complete = [trial.params["lam"] for trial in study.trials if trial.state is TrialState.COMPLETE]
    assert len(pruned) >= 4
    assert 0.0 in complete
    assert abs(math.log10(study.best_params["lam"]) + 3) <= 0.5
    assert max(pruned) == pytest.approx(0.1)


def test_a_study_gives_the_same_verdicts_whichever_way_it_is_oriented() -> None:
    states = [[t.state for t in search(PairedPruner(n_folds=FOLDS), sign=sign).trials] for sign in (1.0, -1.0)]
    assert states[0] == states[1]


def test_bad_settings_are_refused() -> None:
    with pytest.raises(InputError, match="n_folds must be at least 2, got 1"):
        PairedPruner(n_folds=1)
    with pytest.raises(InputError, match="no epoch pruner 'paired'"):
        epoch_pruner("paired", n_epochs=3)
