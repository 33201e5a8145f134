"""Made-up dossiers that look like real ones: a bump before a cliff, paired noise, a race that parks most λ's.

Scores and evidence are invented; the answer is what ``selection`` makes of them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from lamsearch import selection
from lamsearch.answer import Answer, Budget, Dossier, StudyMeta, TestScore
from lamsearch.records import BASELINE, EpochScore, FitKey, FoldResult, Parked, ScoreTable, SlotRow

M = 52_768
N_IMAGES = 1_437
LAYERS = ("conv1", "conv2", "dense1", "dense2")
KEEP = (1.0, 0.5, 0.35, 0.25, 0.25)


def dossier(
    *,
    study: str = "noisy-digits",
    n_lams: int = 50,
    n_folds: int = 5,
    bump: float = 0.016,
    noise: float = 0.004,
    cliff: float = 0.012,
    collapse_from: float = 1.0,
    seed: int = 0,
    tested: bool = True,
    failed: int | None = None,
    low: float = 1e-6,
    high: float = 3e-2,
    metric: str = "accuracy",
    shift: float = 0.0,
) -> Dossier:
    """A finished study of ``n_lams`` λ's. ``bump``: true gain at λ/m = 2e-3; ``cliff``: where harm
    sets in; ``shift``: what any λ > 0 changes."""
    rng = np.random.default_rng(seed)
    lams = {BASELINE: 0.0} | dict(enumerate(np.geomspace(low, high, n_lams).tolist()))
    truth = {slot: _truth(lam, bump, cliff, collapse_from) + shift * (lam > 0) for slot, lam in lams.items()}
    fold_effect = rng.normal(0, 0.01, n_folds)
    table = {
        slot: np.clip(0.953 + value + fold_effect + rng.normal(0, noise, n_folds), 0.1, 1)
        for slot, value in truth.items()
    }
    if metric == "log_loss":
        table = {slot: -(1.1 - row) for slot, row in table.items()}
    done, parked = _race(table, n_folds, failed)
    results = tuple(
        _result(
            rng,
            FitKey(slot, 0, fold),
            lam=lams[slot],
            score=float(table[slot][fold]),
            collapsed=truth[slot] <= -0.8,
            n_folds=n_folds,
        )
        for slot, count in done.items()
        for fold in range(count)
    )
    answer = _answer(
        study=study,
        metric=metric,
        lams=lams,
        results=results,
        parked=parked,
        n_folds=n_folds,
        tested=tested,
        failed=failed,
    )
    return Dossier(
        answer=answer,
        results=results,
        settings={
            "name": study,
            "data.source": "digits",
            "data.n": 0,
            "data.test_share": 0.2,
            "data.label_noise": 0.2,
            "model.kind": "cnn",
            "loss.data": "cross_entropy",
            "loss.penalty": "l2",
            "loss.penalise_biases": False,
            "training.optimiser": "adam",
            "training.lr": 1e-3,
            "training.batch": 32,
            "training.epochs": 10,
            "search.trials": n_lams,
            "search.folds": n_folds,
            "search.low": low,
            "search.high": high,
            "search.sampler": "grid",
            "search.pruner": "paired",
            "search.metric": metric,
            "search.seed": 0,
            "search.replicates": 1,
        },
        facts={
            "fingerprint": "9f2c41d07be5a8833d1f0b6f2f8f4e2b",
            "m": M,
            "n_images": N_IMAGES,
            "n_classes": 10,
            "n_test": 360,
            "shape": [1, 16, 16],
        },
        versions={
            "lamsearch": "0.1.0",
            "torch": "2.14.1",
            "optuna": "5.0.0",
            "hardware": "Intel Xeon (x86_64), 2 cores",
        },
        command=f"lamsearch run {study} --trials {n_lams}",
        created_at=1_795_000_000.0,
        trials={slot: 1000 - slot for slot in lams if slot != BASELINE},
    )


def _truth(lam: float, bump: float, cliff: float, collapse_from: float) -> float:
    if lam == 0:
        return 0.0
    if lam >= collapse_from:
        return -0.853
    hill = bump * np.exp(-0.5 * ((np.log10(lam) + 2.7) / 0.5) ** 2)
    return float(hill - 0.04 * max(0.0, np.log10(lam / cliff)) ** 1.5 - 0.004 * (lam > cliff))


def _race(table: dict[int, np.ndarray], n_folds: int, failed: int | None) -> tuple[dict[int, int], dict[int, Parked]]:
    alive = [slot for slot in table if slot not in (BASELINE, failed)]
    done, parked = {BASELINE: n_folds}, {}
    for after in range(1, n_folds + 1):
        done |= dict.fromkeys(alive, after)
        if after == n_folds:
            break
        mean = {slot: float(table[slot][:after].mean()) for slot in alive}
        ranked = sorted(alive, key=lambda slot: -mean[slot])
        n_keep = max(4, round(KEEP[min(after, 4)] * len(table)))
        for slot in ranked[n_keep:]:
            rival = ranked[0]
            parked[slot] = Parked(
                slot=slot,
                after=after,
                rival=rival,
                margin=mean[rival] - mean[slot],
                reason="behind others that are as promising",
            )
        alive = ranked[:n_keep]
    return done, parked


def _answer(
    *,
    study: str,
    metric: str,
    lams: dict[int, float],
    results: tuple[FoldResult, ...],
    parked: dict[int, Parked],
    n_folds: int,
    tested: bool,
    failed: int | None,
) -> Answer:
    slots = tuple(
        SlotRow(
            slot=slot,
            cohort=0,
            lam_over_m=lam or None,
            failed="RuntimeError: <out of memory>" if slot == failed else None,
        )
        for slot, lam in lams.items()
    )
    scores = {result.key: result.score for result in results}
    counts = Counter(key.slot for key in scores if key.slot != BASELINE)
    complete = sum(count == n_folds for count in counts.values())
    tried = sorted(lam for lam in lams.values() if lam)
    answer = selection.select(
        ScoreTable(slots=slots, scores=scores),
        parked=parked,
        meta=StudyMeta(
            study=study, metric=metric, m=M, n_folds=n_folds, n_images=N_IMAGES, low=tried[0], high=tried[-1]
        ),
        budget=Budget(
            trials=len(lams) - 1,
            complete=complete,
            pruned=len(parked),
            failed=int(failed is not None),
            fold_fits=len(results),
            fold_fits_executed=len(results) + 1,
            fold_fits_full=len(lams) * n_folds,
            seconds=132.0,
            fit_seconds=sum(result.seconds for result in results),
        ),
        collapsed=[r.key for r in results if r.collapsed],
        other_scores={r.key: -r.val_loss if metric == "accuracy" else r.val_acc for r in results},
        final=tested,
    )
    if not tested:
        return answer
    test = TestScore(
        accuracy=0.9528,
        loss=0.18,
        low=0.926,
        high=0.9704,
        n=360,
        looks=1,
        lam_over_m=answer.lam_over_m,
        seconds=4.2,
    )
    return replace(answer, test=test)


def _result(
    rng: np.random.Generator, key: FitKey, *, lam: float, score: float, collapsed: bool, n_folds: int
) -> FoldResult:
    """One fold fit whose evidence follows λ the way real fits do: weights shrink, gradients stay alive."""
    decay = 1 / (1 + (lam / 2e-3) ** 0.7) if lam else 1.0
    accuracy = score if score > 0 else 1.1 + score
    train = 0.1 if collapsed else max(accuracy + 0.002, 0.95 + 0.05 * decay)
    epochs = tuple(
        EpochScore(
            epoch=epoch,
            train_loss=0.05 + 2.2 * np.exp(-epoch / 2) + (1 - train),
            train_acc=train - 0.75 * np.exp(-epoch / 1.6) * (not collapsed),
            val_loss=0.18 + 2.1 * np.exp(-epoch / 1.8) + 0.02 * epoch * decay,
            val_acc=accuracy - 0.7 * np.exp(-epoch / 1.3) * (not collapsed) - 0.002 * max(0, epoch - 6) * decay,
        )
        for epoch in range(1, 11)
    )
    scale = {layer: 10 ** (-1.2 - 0.25 * index) for index, layer in enumerate(LAYERS)}
    gradients = {name: value * (0.4 + 1.2 * (1 - decay)) * rng.lognormal(0, 0.05) for name, value in scale.items()}
    return FoldResult(
        key=key,
        lam_over_m=lam,
        score=score,
        val_acc=accuracy,
        val_loss=epochs[-1].val_loss,
        train_acc=train,
        train_loss=epochs[-1].train_loss,
        collapsed=collapsed,
        weight_norm=0.0 if collapsed else 18.0 * decay + 1.5,
        near_zero=1.0 if collapsed else 0.04 + 0.55 * (1 - decay),
        grad_norms=dict.fromkeys(LAYERS, 0.0) if collapsed else gradients,
        layer_norms=dict.fromkeys(LAYERS, 9.0 * decay),
        epochs=epochs,
        n_val=N_IMAGES // n_folds,
        correct=np.packbits(rng.random(N_IMAGES // n_folds) < accuracy).tobytes(),
        image_loss=rng.random(N_IMAGES // n_folds).astype(np.float16).tobytes(),
        seconds=float(rng.normal(2.1, 0.1)),
        worker=f"host:{4200 + key.slot % 2}",
        executor="loop",
        hardware="Intel Xeon (x86_64), 2 cores",
        started_at=1_794_999_800.0 + 2 * key.slot,
    )


def renamed(source: Dossier, study: str) -> Dossier:
    """The same dossier under another study name."""
    return replace(source, answer=replace(source.answer, study=study), settings={**source.settings, "name": study})
