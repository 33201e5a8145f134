from __future__ import annotations

from collections.abc import Callable
from statistics import mean

import optuna
import pytest

from lamsearch.errors import InputError
from lamsearch.pruner import PairedPruner, epoch_pruner
from lamsearch.records import BASELINE, FitKey
from tests.score_worlds import lams, world

SCORES = world(17, noise=0.003, bump=0.01)
LADDER = lams(17)
optuna.logging.set_verbosity(optuna.logging.ERROR)


def objective(*, sign: float = 1.0, raw: bool = False, first_step: int = 0) -> Callable[[optuna.Trial], float]:
    def run(trial: optuna.Trial) -> float:
        lam = trial.suggest_float("lam", 0.0, 1.0)
        slot = LADDER.index(lam) if lam else BASELINE
        scores: list[float] = []
        for fold in range(5):
            scores.append(sign * SCORES[FitKey(slot, 0, fold)])
            trial.report(scores[-1] if raw else mean(scores), fold + first_step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return mean(scores)

    return run


def study(direction: str = "maximize", *, with_baseline: bool = True, **more: object) -> optuna.Study:
    found = optuna.create_study(direction=direction, pruner=PairedPruner(n_folds=5, **more))  # type: ignore[arg-type]
    for lam in ([0.0] if with_baseline else []) + [LADDER[(5 * number) % 17] for number in range(17)]:
        found.enqueue_trial({"lam": lam})
    return found


def outcome(found: optuna.Study) -> list[tuple[str, int]]:
    return [(trial.state.name, len(trial.intermediate_values)) for trial in found.trials]


def test_it_saves_folds_and_keeps_a_good_lambda() -> None:
    found = study()
    found.optimize(objective(), n_trials=18)
    pruned = [trial for trial in found.trials if trial.state.name == "PRUNED"]
    assert len(pruned) >= 6
    complete = [trial for trial in found.trials if trial.state.name == "COMPLETE" and trial.params["lam"]]
    truth = {lam: mean(SCORES[FitKey(slot, 0, fold)] for fold in range(5)) for slot, lam in enumerate(LADDER)}
    assert max(truth[trial.params["lam"]] for trial in complete) >= max(truth.values()) - 0.002


def test_the_baseline_is_never_pruned() -> None:
    found = study()
    found.optimize(objective(), n_trials=18)
    assert next(trial for trial in found.trials if trial.params["lam"] == 0).state.name == "COMPLETE"


@pytest.mark.parametrize(
    ("direction", "more", "how"),
    [
        ("minimize", {}, {"sign": -1.0}),
        ("maximize", {"values": "fold_score"}, {"raw": True}),
        ("maximize", {}, {"first_step": 1}),
    ],
    ids=["negated", "raw fold scores", "steps from 1"],
)
def test_direction_and_way_of_reporting_do_not_matter(direction: str, more: dict, how: dict) -> None:
    plain, other = study(), study(direction, **more)
    plain.optimize(objective(), n_trials=18)
    other.optimize(objective(**how), n_trials=18)
    assert outcome(other) == outcome(plain)


def test_the_first_trials_are_left_alone() -> None:
    found = study(with_baseline=False, n_startup_trials=17)
    found.optimize(objective(), n_trials=17)
    assert all(trial.state.name == "COMPLETE" for trial in found.trials)


@pytest.mark.parametrize("name", ["median", "percentile", "halving", "hyperband"])
def test_epoch_pruners_are_optunas_own_and_stop_a_hopeless_curve(name: str) -> None:
    found = optuna.create_study(direction="maximize", pruner=epoch_pruner(name, n_epochs=9))

    def learn(trial: optuna.Trial) -> float:
        for epoch in range(1, 10):
            trial.report(0.9 - 0.8 * (trial.number % 3 == 2), epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
        return 0.9

    found.optimize(learn, n_trials=40)
    pruned = [trial for trial in found.trials if trial.state.name == "PRUNED"]
    assert pruned
    assert sum(trial.number % 3 == 2 for trial in pruned) >= len(pruned) / 2


def test_unusable_settings_are_refused() -> None:
    with pytest.raises(InputError, match="at least 2"):
        PairedPruner(n_folds=1)
    with pytest.raises(InputError, match="no epoch pruner 'paired'"):
        epoch_pruner("paired", n_epochs=9)
