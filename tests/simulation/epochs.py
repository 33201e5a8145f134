"""Learning curves per (λ, fold, epoch), and studies of them under Optuna's epoch pruners.

As in a real study a trial trains all its folds in lockstep and reports their mean after each epoch; it is judged by the
same Optuna pruner against the trials before it. One trial runs at a time. A trial that is stopped leaves no fold score.
"""

from __future__ import annotations

import warnings

import numpy as np
import optuna

from lamsearch.config import SearchConfig
from lamsearch.pruner import epoch_pruner
from lamsearch.records import BASELINE, FitKey, ScoreTable, SlotRow
from lamsearch.rules import Rules
from lamsearch.store.proposals import cohort_sizes, model_based, propose, propose_cohort
from tests.simulation.runs import Floats, Outcome, outcome
from tests.simulation.worlds import HIGH, LOW, World

N_EPOCHS = 10
MEMORY = 0.7
"""Correlation of a network's noise from one epoch to the next."""


def noises(world: World, seed: int) -> list[Floats]:
    """The noise after each epoch, each (slots + 1, cells): that after the last one is the world's own."""
    rng, found = np.random.default_rng([seed, N_EPOCHS]), [world.noise]
    for _ in range(N_EPOCHS - 1):
        found.append(MEMORY * found[-1] + np.sqrt(1 - MEMORY**2) * rng.standard_normal(world.noise.shape))
    return found[::-1]


def study(world: World, sampler: str, n: int, seed: int, rules: Rules) -> Outcome:
    """A whole study of ``n`` λ's. Its ``fits`` are epochs spent, in fold fits."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    search = SearchConfig(low=10.0**LOW, high=10.0**HIGH, sampler=sampler, seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pruner = epoch_pruner(rules.pruner, n_epochs=N_EPOCHS)
        # Hyperband's brackets follow the study's name, so it must not be random.
        judged = optuna.create_study(study_name=f"{world.family} {seed}", direction="maximize", pruner=pruner)
    noise, spent = noises(world, seed), rules.n_folds * N_EPOCHS
    base = world.scores(np.array([-np.inf]), BASELINE)[0]
    slots, scores = [SlotRow(slot=BASELINE, cohort=0, lam_over_m=0.0)], _cells(BASELINE, base)
    for cohort, size in enumerate(cohort_sizes(search, n)):
        first = len(slots) - 1
        fresh = [SlotRow(slot=first + number, cohort=cohort, lam_over_m=None) for number in range(size)]
        if model_based(search):
            lams = propose_cohort(search, cohort, ScoreTable(slots=(*slots, *fresh), scores=scores))
        else:
            lams = [propose(search, first + number) for number in range(size)]
        for row, lam in zip(fresh, lams, strict=True):
            slots.append(SlotRow(slot=row.slot, cohort=cohort, lam_over_m=lam))
            epochs, final = _train(world, noise, np.log10(lam), row.slot, judged)
            spent += rules.n_folds * epochs
            scores |= _cells(row.slot, final) if final is not None else {}
    order = sorted(slots, key=lambda row: row.lam_over_m or 0.0)
    seen = np.full((len(order), rules.n_folds), np.nan)
    for line, row in enumerate(order):
        for fold in range(rules.n_folds):
            seen[line, fold] = scores.get(FitKey(row.slot, 0, fold), np.nan)
    decades = np.array([-np.inf, *(np.log10(row.lam_over_m or np.nan) for row in order[1:])])
    return outcome(decades, seen, rules, spent / N_EPOCHS)


def _train(
    world: World, noise: list[Floats], decade: float, slot: int, judged: optuna.Study
) -> tuple[int, Floats | None]:
    """Epochs spent, and the fold scores unless the trial was stopped."""
    trial = judged.ask()
    for epoch in range(1, N_EPOCHS + 1):
        scores = world.after(np.array([decade]), slot, share=epoch / N_EPOCHS, noise=noise[epoch - 1])[0]
        trial.report(float(scores.mean()), epoch)
        if trial.should_prune() and epoch < N_EPOCHS:
            judged.tell(trial, state=optuna.trial.TrialState.PRUNED)
            return epoch, None
    judged.tell(trial, float(scores.mean()))
    return N_EPOCHS, scores


def _cells(slot: int, scores: Floats) -> dict[FitKey, float]:
    return {FitKey(slot, 0, fold): float(score) for fold, score in enumerate(scores)}
