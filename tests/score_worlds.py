"""Small score tables for tests of decisions: worlds with a known truth, real tables, and a study played to its end."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np

from lamsearch.answer import Answer, Budget, StudyMeta
from lamsearch.plan import WHOLE, Plan, Rules, plan
from lamsearch.records import BASELINE, FitKey, ScoreTable, SlotRow
from lamsearch.selection import select

SCORE_TABLES = Path(__file__).parent / "score_tables"
Scores = dict[FitKey, float]


@dataclass(frozen=True, kw_only=True)
class Real:
    """A stored table: slots with rising λ/m, all scores, and facts of the study."""

    name: str
    slots: tuple[SlotRow, ...]
    scores: Scores
    meta: StudyMeta


def slots_at(lams: Sequence[float | None], *, cohort: int = 64) -> tuple[SlotRow, ...]:
    """The baseline and one slot per λ/m."""
    rows = [SlotRow(slot=number, cohort=number // cohort, lam_over_m=lam) for number, lam in enumerate(lams)]
    return (SlotRow(slot=BASELINE, cohort=0, lam_over_m=0.0), *rows)


def real(name: str) -> Real:
    body = json.loads((SCORE_TABLES / f"{name}.json").read_text(encoding="utf-8"))
    lams = sorted(float(lam) for lam in body["scores"])
    by_lam = {float(lam): scores for lam, scores in body["scores"].items()}
    slots = slots_at(lams[1:])
    scores = {
        FitKey(row.slot, 0, fold): score for row in slots for fold, score in enumerate(by_lam[row.lam_over_m or 0.0])
    }
    n_images = {"digits": 1797, "fashion": 2500}[body["name"]]
    return Real(name=name, slots=slots, scores=scores, meta=facts(name, m=body["m"], n_images=n_images))


def facts(
    name: str = "made up", *, m: int = 1000, n_folds: int = 5, n_images: int = 1800, metric: str = "accuracy"
) -> StudyMeta:
    chance = 0.105 if metric == "accuracy" else -2.303  # as every real study's facts: a constant prediction's score
    images = {"n_folds": n_folds, "n_images": n_images, "chance": chance}
    return StudyMeta(study=name, metric=metric, m=m, low=1e-6, high=3e-2, **images)


def world(
    n: int, k: int = 5, *, seed: int = 0, bump: float = 0.008, noise: float = 0.004, replicates: int = 1
) -> Scores:
    """Scores of ``n`` λ's, slot 0 … n − 1 rising over [1e-6, 3e-2], with a bump at 1e-3 and a cliff after it."""
    rng = np.random.default_rng(seed)
    decades = np.linspace(-6, np.log10(3e-2), n)
    truth = bump * np.exp(-0.5 * ((decades + 3) / 0.5) ** 2) - 0.1 * np.maximum(0, decades + 2.5) ** 2
    scores = {}
    for replicate in range(replicates):
        for fold in range(k):
            level = 0.95 + 0.012 * rng.standard_normal()
            for slot, value in enumerate([0.0, *truth]):
                score = level + value + noise * rng.standard_normal()
                scores[FitKey(slot - 1, replicate, fold)] = round(score * 360) / 360
    return scores


def lams(n: int) -> list[float]:
    return [float(lam) for lam in np.logspace(-6, np.log10(3e-2), n)]


def rules(pruner: str = "paired", **more: object) -> Rules:
    return Rules(**{"pruner": pruner, "n_folds": 5, "n_images": 1800, **more})  # type: ignore[arg-type]


def play(
    slots: Sequence[SlotRow], scores: Scores, given: Rules, *, workers: int = 1, seed: int = 0, carry: bool = True
) -> tuple[Scores, Plan]:
    """Fit what the plan asks for, ``workers`` at a time in random order, until it is done."""
    random, have, now = Random(seed), {}, None
    while True:
        now = plan(ScoreTable(slots=tuple(slots), scores=have), given, previous=now if carry else None)
        if now.done:
            return have, now
        batch = list(now.fits[:workers])
        random.shuffle(batch)
        for key in batch:
            for fold in range(given.n_folds) if key.fold == WHOLE else [key.fold]:
                have[key._replace(fold=fold)] = scores[key._replace(fold=fold)]


def answer(slots: Sequence[SlotRow], scores: Scores, now: Plan | None = None, **more: object) -> Answer:
    given = {"meta": facts(), "parked": now.parked if now else {}, "budget": NO_BUDGET, **more}
    return select(ScoreTable(slots=tuple(slots), scores=scores), **given)  # type: ignore[arg-type]


NO_BUDGET = Budget(
    **dict.fromkeys(("trials", "complete", "pruned", "failed", "fold_fits", "fold_fits_executed", "fold_fits_full"), 0),
    seconds=0.0,
    fit_seconds=0.0,
)
