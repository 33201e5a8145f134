"""The paired race as an ordinary Optuna pruner, and Optuna's epoch pruners under our names.

For objectives of one's own: report after every fold and ask ``trial.should_prune()``, as with any pruner.

    study = optuna.create_study(direction="maximize", pruner=PairedPruner(n_folds=5))

    def objective(trial):
        lam = trial.suggest_float("lam", 1e-6, 1e-1, log=True)
        scores = []
        for fold in range(5):
            scores.append(train(lam, fold))          # the same splits and seeds for every trial
            trial.report(mean(scores), fold)         # the running mean
            if trial.should_prune():
                raise optuna.TrialPruned
        return mean(scores)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import optuna
from optuna.pruners import BasePruner
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from lamsearch import race
from lamsearch.cohort import Runner, runners_standing
from lamsearch.errors import InputError
from lamsearch.records import BASELINE
from lamsearch.rules import Scale


class PairedPruner(BasePruner):
    """Prunes a λ by its *paired* differences to all others, fold by fold, smoothed over log λ (see ``race``).

    Trials must share the splits and seeds of each fold. ``n_folds``: k. ``parameter``: the parameter that is λ; a
    trial where it is 0 is the baseline and never pruned. ``values``: whether trials report running means over folds
    (as they should: a pruned trial's value is the last thing that it reported) or the score of each fold. ``metric``
    sets the scale of what matters ("accuracy" as a fraction, or "log_loss"). Steps are folds, counted from 0 or 1.
    """

    def __init__(
        self,
        *,
        n_folds: int,
        parameter: str = "lam",
        values: Literal["running_mean", "fold_score"] = "running_mean",
        metric: Literal["accuracy", "log_loss"] = "accuracy",
        n_startup_trials: int = 4,
    ) -> None:
        if n_folds < 2:
            raise InputError(f"PairedPruner: n_folds must be at least 2, got {n_folds}")
        self._n_folds, self._parameter, self._values = n_folds, parameter, values
        self._scale, self._n_startup_trials = Scale.of(metric), n_startup_trials

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """True if ``trial`` should stop after the fold that it has just reported."""
        sign = -1.0 if study.direction == StudyDirection.MINIMIZE else 1.0
        own = self._runner(trial, sign)
        fold = len(own.scores)
        if not 1 <= fold < self._n_folds or own.decade == -math.inf:
            return False
        states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
        others = [other for other in study.get_trials(deepcopy=False, states=states) if other.number != trial.number]
        pruned = {other.number for other in others if other.state == TrialState.PRUNED}
        runners = [runner for other in others if (runner := self._runner(other, sign)).scores]
        zeros = [runner for runner in runners if runner.decade == -math.inf]
        runners = [own, *(runner for runner in runners if runner.decade > -math.inf)]
        if len(runners) <= self._n_startup_trials:
            return False
        if zeros:
            runners.append(Runner(slot=BASELINE, decade=-math.inf, scores=zeros[0].scores))
        standing = runners_standing(runners, n_folds=self._n_folds, parked=pruned)
        decision = race.judge(standing, fold, tau=self._scale.tau, floor=self._scale.floor)
        return trial.number in decision.parked

    def _runner(self, trial: FrozenTrial, sign: float) -> Runner:
        """The trial's fold scores up to the first gap. Without a usable λ it has none."""
        lam = trial.params.get(self._parameter)
        if lam is None or lam < 0 or not trial.intermediate_values:
            return Runner(slot=trial.number, decade=0.0)
        first = min(trial.intermediate_values)
        steps = [trial.intermediate_values.get(first + number) for number in range(self._n_folds)]
        known = [sign * value for value in steps[: steps.index(None) if None in steps else None] if value is not None]
        scores = known if self._values == "fold_score" else _differences(known)
        finite = next((number for number, score in enumerate(scores) if not math.isfinite(score)), len(scores))
        decade = math.log10(lam) if lam > 0 else -math.inf
        return Runner(slot=trial.number, decade=decade, scores=tuple(scores[:finite]))


def _differences(means: Sequence[float]) -> list[float]:
    """Fold scores from running means."""
    sums = np.asarray(means) * np.arange(1, len(means) + 1)
    return [float(score) for score in np.diff(sums, prepend=0.0)]


def epoch_pruner(name: str, *, n_epochs: int) -> BasePruner:
    """Optuna's own pruner for steps that are epochs, 1 … ``n_epochs``. Raises InputError for another name."""
    if name == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=1)
    if name == "percentile":
        return optuna.pruners.PercentilePruner(25.0, n_startup_trials=5, n_warmup_steps=1)
    if name == "halving":
        return optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3)
    if name == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=n_epochs, reduction_factor=3)
    raise InputError(f"no epoch pruner {name!r}; there are median, percentile, halving and hyperband")
