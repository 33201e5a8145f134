"""Stratified folds, hold-outs and label noise: functions of labels and a seed, blind to images and λ.

The algorithms are our own and frozen, because a fold assignment must never change with a library version:
a study that is resumed after an upgrade would compare scores from different splits. numpy promises stable
streams for its *bit generators* only, not for ``Generator.permutation`` and the like (NEP 19), so we draw raw
bits from PCG64 and sort by them; seeds come from SHA-256.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamsearch.errors import InputError

Indices = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Split:
    """One fold: sorted, disjoint indices into the data set's images; together they are the search data."""

    train: Indices
    val: Indices


def derived_seed(purpose: str, *numbers: int) -> int:
    """A 63-bit seed, H(purpose, numbers): independent for every purpose and number, the same everywhere."""
    text = "/".join(["lamsearch", purpose, *(str(int(number)) for number in numbers)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def fold_seed(study_seed: int, replicate: int, fold: int) -> int:
    """H(study seed, replicate, fold): initial weights and batch order of that fold, for every λ alike."""
    return derived_seed("fold", study_seed, replicate, fold)


def stratified_folds(labels: NDArray[np.integer], n_folds: int, seed: int) -> tuple[Indices, ...]:
    """Validation positions of each fold, sorted.

    Invariants: folds are disjoint and cover all positions; the counts of a class differ by at most 1 between
    folds; so do the sizes of the folds. Shuffled images, class after class, are dealt to the folds like cards.
    """
    if not 2 <= n_folds <= len(labels):
        raise InputError(f"search.folds = {n_folds}: from 2 up to the number of images, {len(labels)}, are possible")
    dealt = np.empty(len(labels), dtype=np.int64)
    dealt[_by_class(labels, seed)] = np.arange(len(labels)) % n_folds
    return tuple(np.flatnonzero(dealt == fold).astype(np.int64) for fold in range(n_folds))


def split(
    search: Indices, labels: NDArray[np.integer], *, n_folds: int, study_seed: int, replicate: int, fold: int
) -> Split:
    """Fold ``fold`` of ``replicate``. ``search`` indexes ``labels``; test images are in neither part."""
    folds = stratified_folds(labels[search], n_folds, derived_seed("folds", study_seed, replicate))
    held = np.zeros(len(search), dtype=bool)
    held[folds[fold]] = True
    return Split(train=np.sort(search[~held]), val=np.sort(search[held]))


def stratified_holdout(labels: NDArray[np.integer], share_or_n: float, seed: int) -> tuple[Indices, Indices]:
    """(rest, held): sorted positions. Below 1 it is a share of the images, from 1 on their number.

    Exactly that many are held, of each class its proportion rounded up or down: evenly spaced positions among
    the shuffled images, class after class (systematic sampling, in integers).
    """
    n = len(labels)
    n_held = round(share_or_n * n) if share_or_n < 1 else int(share_or_n)
    if not 0 <= n_held <= n:
        raise InputError(f"cannot set {share_or_n:g} images apart: there are {n}; ask for fewer")
    steps = (np.arange(n + 1, dtype=np.int64) * n_held + n // 2) // max(n, 1)
    held = np.zeros(n, dtype=bool)
    held[_by_class(labels, seed)] = np.diff(steps) > 0
    return np.flatnonzero(~held).astype(np.int64), np.flatnonzero(held).astype(np.int64)


def noisy_labels(labels: NDArray[np.integer], train_idx: Indices, share: float, seed: int) -> NDArray[np.int64]:
    """A copy in which a ``share`` of the labels at ``train_idx`` is replaced by a uniformly random other class.

    Pass all search indices once per study: the noise is then the same in all folds and replicates.
    """
    noisy = np.array(labels, dtype=np.int64)
    n_classes = int(noisy.max(initial=0)) + 1
    n_replaced = round(share * len(train_idx))
    if n_replaced == 0:
        return noisy
    if n_classes < 2:
        raise InputError(f"data.label_noise = {share:g} needs at least 2 classes, got {n_classes}; set it to 0")
    bits = np.random.PCG64(derived_seed("label-noise", seed)).random_raw(2 * len(train_idx))
    chosen = np.argsort(bits[: len(train_idx)], kind="stable")[:n_replaced]
    # 64 random bits modulo a few classes: the bias is below 1e-15.
    steps = 1 + (bits[len(train_idx) :][chosen] % np.uint64(n_classes - 1)).astype(np.int64)
    noisy[train_idx[chosen]] = (noisy[train_idx[chosen]] + steps) % n_classes
    return noisy


def check_folds(labels: NDArray[np.integer], class_names: Sequence[str], n_folds: int) -> None:
    """Raise InputError unless every class has an image for every fold. ``labels``: those of the search data."""
    counts = np.bincount(labels, minlength=len(class_names))
    rarest = int(np.argmin(counts))
    if counts[rarest] >= n_folds:
        return
    name, count = class_names[rarest], int(counts[rarest])
    advice = (
        f"use at most {count} folds, or more images"
        if count >= 2
        else "add images (or raise data.n, if that is set), or leave the class out"
    )
    raise InputError(
        f"search.folds = {n_folds} is more than the smallest class has images: {name!r} has {count} "
        f"in the search data; {advice}"
    )


def _by_class(labels: NDArray[np.integer], seed: int) -> Indices:
    """Positions sorted by class, in random order within each class."""
    bits = np.random.PCG64(seed).random_raw(len(labels))
    return np.lexsort((bits, labels)).astype(np.int64)
