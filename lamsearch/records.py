"""The frozen results that the layers hand to each other. Plain data: no torch, Optuna or SQL.

Accuracies are fractions in [0, 1]. Times are seconds. λ travels as ``lam_over_m`` (λ/m, the coupled
weight decay), which carries between architectures; ``lam`` = ``lam_over_m`` · m is derived.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

BASELINE = -1
"""Slot number of λ = 0. It is measured on top of the budget and is no point of the log scale."""


class FitKey(NamedTuple):
    """Names one fold fit: the λ in ``slot``, trained on fold ``fold`` of ``replicate``."""

    slot: int
    replicate: int
    fold: int

    @property
    def cell(self) -> tuple[int, int]:
        """(replicate, fold): what paired comparisons share."""
        return (self.replicate, self.fold)


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochScore:
    """One member after one epoch. Losses are data losses (no penalty), averaged over images."""

    epoch: int
    train_loss: float
    train_acc: float
    val_loss: float
    val_acc: float


@dataclass(frozen=True, kw_only=True, slots=True)
class FoldResult:
    """One finished fold fit, as stored. ``score`` is oriented so that higher is better.

    ``correct`` holds one bit per validation image (numpy.packbits, in the order of the split's
    validation indices); ``image_loss`` holds float16 data losses in the same order.
    ``grad_norms`` and ``layer_norms`` map a layer's name to the norm of its weight gradient (mean over the
    last epoch's steps) and of its weights; ``near_zero`` is the share of penalised weights with |w| < 1e-3.
    """

    key: FitKey
    lam_over_m: float
    score: float
    val_acc: float
    val_loss: float
    train_acc: float
    train_loss: float
    collapsed: bool = False
    weight_norm: float
    near_zero: float
    grad_norms: Mapping[str, float]
    layer_norms: Mapping[str, float]
    epochs: tuple[EpochScore, ...]
    n_val: int
    correct: bytes
    image_loss: bytes
    seconds: float
    worker: str = ""
    executor: str = ""
    hardware: str = ""
    started_at: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Stopped:
    """An epoch pruner has ended a whole trial: why, after how many epochs of each fold, and the time they took."""

    reason: str
    epochs: int
    seconds: float
    started_at: float


@dataclass(frozen=True, kw_only=True, slots=True)
class SlotRow:
    """One λ of the study. ``lam_over_m`` is None until a model-based sampler has proposed it.

    ``cohort`` is the group that is raced together, fixed when the slot is created.
    ``failed`` holds the reason once its attempts are used up, ``stopped`` the reason why an epoch pruner ended it
    (all its folds at once, without fold scores: it counts as pruned, and cannot be chosen), after ``stopped_epochs``
    epochs of each fold and ``stopped_seconds`` of training in all, which began at ``stopped_started``.
    """

    slot: int
    cohort: int
    lam_over_m: float | None
    failed: str | None = None
    stopped: str | None = None
    stopped_epochs: int = 0
    stopped_seconds: float = 0.0
    stopped_started: float = 0.0
    trial_number: int | None = None

    @property
    def is_baseline(self) -> bool:
        """True for λ = 0."""
        return self.slot == BASELINE


@dataclass(frozen=True, kw_only=True)
class ScoreTable:
    """What decisions are made from: the slots (any order) and the scores of finished fold fits."""

    slots: tuple[SlotRow, ...]
    scores: Mapping[FitKey, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Parked:
    """Why a λ is not scheduled further: after ``after`` folds, behind ``rival`` (a slot) by ``margin`` (score units).

    ``basis``: on what the margin was measured, if not on the scores themselves. Epoch pruners judge a whole trial: no
    rival, no margin, but ``epochs``, the number that each fold was trained for.
    """

    slot: int
    after: int
    rival: int | None
    margin: float | None
    reason: str
    epochs: int = 0
    basis: str = ""
