"""Made-up dossiers that look like real ones: a bump before a cliff, paired noise, a race that parks most λ's.

The arithmetic here is a stand-in for the selection's, good enough for pictures and words.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lamsearch.records import (
    BASELINE,
    Answer,
    Budget,
    CurvePoint,
    Dossier,
    Edge,
    EpochScore,
    FitKey,
    FoldResult,
    Interval,
    Optimism,
    Parked,
    TestScore,
)

M = 52_768
N_IMAGES = 1_437
LAYERS = ("conv1", "conv2", "dense1", "dense2")
KEEP = (1.0, 0.5, 0.35, 0.25, 0.25)


def dossier(
    *,
    study: str = "noisy-digits",
    n_lams: int = 50,
    n_folds: int = 5,
    bump: float = 0.012,
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
        table={slot: table[slot][:count] for slot, count in done.items()},
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
                slot=slot, after=after, rival=rival, margin=mean[rival] - mean[slot], reason="unlikely to be the best"
            )
        alive = ranked[:n_keep]
    return done, parked


def _answer(
    *,
    study: str,
    metric: str,
    lams: dict[int, float],
    table: dict[int, np.ndarray],
    parked: dict[int, Parked],
    n_folds: int,
    tested: bool,
    failed: int | None,
) -> Answer:
    complete = [slot for slot, row in table.items() if len(row) == n_folds and slot != BASELINE]
    best = max(complete, key=lambda slot: table[slot].mean())
    top = table[best]
    curve = []
    for slot, lam in lams.items():
        row = table.get(slot, np.array([]))
        common = {"slot": slot, "lam": lam * M, "lam_over_m": lam, "n_cells": len(row), "parked": parked.get(slot)}
        if slot == failed:
            curve.append(
                CurvePoint(**common, status="failed", mean=None, sem=None, failed="RuntimeError: out of memory")
            )
            continue
        d = row - top[: len(row)]
        spread = np.sqrt(((len(row) - 1) * d.var() + 8 * 0.005**2) / (len(row) + 7))
        se = float(spread * np.sqrt(1 / len(row) + 1 / (n_folds - 1)))
        mean = float(d.mean())
        curve.append(
            CurvePoint(
                **common,
                status="complete" if len(row) == n_folds else "pruned",
                mean=float(row.mean()),
                sem=float(row.std() / np.sqrt(max(1, len(row) - 1))),
                difference=mean,
                se=0.0 if slot == best else se,
                difference_low=mean - 2.2 * se * (slot != best),
                difference_high=mean + 2.2 * se * (slot != best),
                in_range=mean + 2.2 * se >= 0,
            )
        )
    members = [point for point in curve if point.in_range and point.slot != BASELINE]
    base = next(point for point in curve if point.slot == BASELINE)
    assert base.difference is not None
    assert base.difference_low is not None
    assert base.difference_high is not None
    gain = Interval(mean=-base.difference, low=-base.difference_high, high=-base.difference_low)
    verdict = "helps" if gain.low > 0 else "hurts" if gain.high < 0 else "not_shown"
    one_se = max((p for p in curve if p.slot in complete and (p.difference or 0) >= -0.002), key=lambda p: p.lam)
    one_se = max(one_se, next(p for p in curve if p.slot == best), key=lambda p: p.lam)
    fits, full = sum(map(len, table.values())), len(lams) * n_folds
    ends = {lams[slot] for slot in lams if slot != BASELINE}
    edges = []
    if max(p.lam_over_m for p in members) == max(ends):
        edges.append(
            Edge(
                side="high",
                message="the upper end of the searched range cannot be told from the best λ",
                low=max(ends),
                high=max(ends) * 10,
            )
        )
    if min(p.lam_over_m for p in members) == min(ends):
        edges.append(Edge(side="low", message="the low end is as good: 0 is as good"))
    return Answer(
        study=study,
        status="final" if tested else "provisional",
        metric=metric,
        m=M,
        n_folds=n_folds,
        n_replicates=1,
        n_images=N_IMAGES,
        slot=best,
        lam=lams[best] * M,
        lam_over_m=lams[best],
        lam_carried=lams[best] * M * (n_folds - 1) / n_folds,
        chosen_by="smoothed curve" if len(lams) > 30 else "highest mean",
        lam_1se=one_se.lam,
        lam_1se_over_m=one_se.lam_over_m,
        lam_1se_classical=max(ends) * M,
        lam_1se_classical_over_m=max(ends),
        indistinguishable=tuple(p.lam for p in members if p.status == "complete"),
        indistinguishable_partial=tuple(p.lam for p in members if p.status != "complete"),
        range_low=min(p.lam for p in members),
        range_high=max(p.lam for p in members),
        helps=verdict == "helps",
        verdict=verdict,
        matters=not all(p.in_range for p in curve if p.status != "failed"),
        gain=gain,
        detectable_gain=3.1 * (base.se or 0),
        cv=Interval(mean=float(top.mean()), low=float(top.mean()) - 0.009, high=float(top.mean()) + 0.009),
        cv_sem=float(top.std(ddof=1) / np.sqrt(n_folds)),
        corrected=Optimism(
            method="bbc-cv",
            mean=float(top.mean()) - 0.003,
            low=float(top.mean()) - 0.012,
            high=float(top.mean()) + 0.006,
            rule="plain argmax over the complete λ's, 1,000 resamples of the images",
        ),
        edges=tuple(edges),
        paired_sd=0.0052,
        unpaired_sd=0.0131,
        variance_ratio=6.3,
        other_metric="log loss" if metric == "accuracy" else "accuracy",
        other_metric_lam=lams[min(best + 2, len(lams) - 2)] * M,
        curve=tuple(curve),
        budget=Budget(
            trials=len(lams) - 1,
            complete=len(complete),
            pruned=len(parked),
            failed=int(failed is not None),
            fold_fits=fits,
            fold_fits_executed=fits + 1,
            fold_fits_full=full,
            seconds=132.0,
            fit_seconds=2.1 * fits,
        ),
        test=TestScore(
            accuracy=0.9528, loss=0.18, low=0.926, high=0.9704, n=360, looks=1, lam_over_m=lams[best], seconds=4.2
        )
        if tested
        else None,
    )


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
