"""The CV score of the chosen λ, corrected for having been chosen.

Two ways: resampling the images of stored out-of-fold results (BBC-CV), or, without those, from fold scores alone.
Rows are λ's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamsearch.answer import Optimism
from lamsearch.records import FitKey
from lamsearch.smooth import Floats

Positions = Mapping[tuple[int, int], NDArray[np.integer]]
"""Image numbers of a cell's validation set, by (replicate, fold)."""

BOOTSTRAPS = 1000
CHUNK = 50
"""Bootstrap samples weighed at once; bounds memory at CHUNK · images."""


def bbc_cv(images: NDArray[np.floating], *, seed: int, n_bootstraps: int = BOOTSTRAPS) -> Optimism:
    """Bootstrap bias-corrected CV (Tsamardinos, Greasidou & Borboudakis 2018, algorithm 5).

    ``images`` (n, images): out-of-fold score of each λ on each image, higher is better. Images are drawn with
    replacement, the λ that is best on those drawn is scored on those not drawn; mean and 95 % percentiles of that.
    """
    n_lams, n_images = images.shape
    rng = np.random.default_rng(seed)
    scores = np.ascontiguousarray(images.T, dtype=np.float64)
    outside = []
    for start in range(0, n_bootstraps, CHUNK):
        drawn = rng.integers(0, n_images, size=(min(CHUNK, n_bootstraps - start), n_images))
        times = np.stack([np.bincount(row, minlength=n_images) for row in drawn]).astype(np.float64)
        left = (times == 0).astype(np.float64)
        inside = np.round(times @ scores, 6)
        winner = n_lams - 1 - np.argmax(inside[:, ::-1], axis=1)  # ties: the larger λ
        held = left.sum(axis=1)
        out = (left @ scores)[np.arange(len(times)), winner]
        outside += [total / count for total, count in zip(out, held, strict=True) if count > 0]
    low, high = np.quantile(outside, [0.025, 0.975])
    return Optimism(
        method="bbc-cv",
        mean=float(np.mean(outside)),
        low=float(low),
        high=float(high),
        rule=f"best mean over images among {n_lams} complete λ's, {n_bootstraps} resamples of {n_images} images",
    )


def tibshirani(folds: Floats, chosen: int) -> Optimism:
    """Tibshirani & Tibshirani 2009: CV_best − mean over folds of [max_λ s(λ, f) − s(λ̂, f)]. Conservative.

    ``folds`` (n, k): scores of the complete λ's; ``chosen``: row of λ̂.
    """
    bias = float((folds.max(axis=0) - folds[chosen]).mean())
    return Optimism(
        method="tibshirani",
        mean=float(folds[chosen].mean()) - bias,
        low=None,
        high=None,
        rule=f"fold by fold against the best of {len(folds)} complete λ's; conservative",
    )


def image_scores(
    slots: Sequence[int], n_folds: int, oof: Mapping[FitKey, NDArray[Any]], positions: Positions | None
) -> Floats | None:
    """Out-of-fold scores (n, images) of ``slots``, or None if a fold of replicate 0 is missing for one of them.

    With ``positions`` (image numbers of each cell's validation set) a λ's replicates are averaged image by image.
    """
    rows = []
    for slot in slots:
        keys = [FitKey(slot, 0, fold) for fold in range(n_folds)]
        if any(key not in oof for key in keys):
            return None
        flat = np.concatenate([np.asarray(oof[key], dtype=np.float64) for key in keys])
        rows.append(flat if positions is None else _averaged(slot, oof, positions))
    return np.stack(rows) if len({len(row) for row in rows}) == 1 else None


def _averaged(slot: int, oof: Mapping[FitKey, NDArray[Any]], positions: Positions) -> Floats:
    n = 1 + max(int(where.max()) for where in positions.values())
    total, times = np.zeros(n), np.zeros(n)
    for (replicate, fold), where in positions.items():
        scores = oof.get(FitKey(slot, replicate, fold))
        if scores is not None:
            total[where] += scores
            times[where] += 1
    return np.asarray(total[times > 0] / times[times > 0])
