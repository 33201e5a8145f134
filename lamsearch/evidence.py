"""What a fold fit leaves behind: its learning curve, whether it collapsed, its score. No torch.

Collapse (NaN or ±inf, or chance level without progress) is evidence about λ, so it gets the score of what
such a network is: a constant predictor with the label shares of the training images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from lamsearch.records import EpochScore, FitKey, FoldResult

WINDOW = 3
"""Epochs without progress before a fit counts as collapsed (all of them if there are fewer)."""
WINDOW_STEPS = 100
"""Optimiser steps that must have been taken by then: full-batch descent starts slowly and is not stuck."""
NEAR_ZERO = 1e-3
"""|w| below which a weight counts as near zero."""

Labels = npt.NDArray[np.int64]
Losses = npt.NDArray[np.floating]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A model on some images: data loss (N,) and predicted class (N,) of each, in their order."""

    losses: Losses
    predicted: Labels


@dataclass(frozen=True, kw_only=True)
class Norms:
    """Sizes of a model's weights at the end. Zero where they were not finite."""

    weight_norm: float
    near_zero: float
    layer_norms: Mapping[str, float]
    grad_norms: Mapping[str, float]


def constant_outcome(train: Labels, labels: Labels, n_classes: int, loss: str) -> Outcome:
    """What predicting the label shares of ``train`` for every image gives on ``labels``.

    With balanced classes: cross-entropy ln C, mse ½ (1 − 1/C), accuracy 1/C. Ties go to the lowest class.
    """
    share = np.bincount(train, minlength=n_classes) / len(train)
    if loss == "cross_entropy":
        losses = -np.log(np.maximum(share, 1e-12))[labels]
    else:
        losses = 0.5 * (np.sum(share**2) - 2 * share[labels] + 1)
    return Outcome(losses=losses, predicted=np.full(len(labels), int(share.argmax()), dtype=np.int64))


@dataclass
class Ledger:
    """Keeps one member's books, epoch by epoch.

    ``train`` are the labels trained on (noisy ones included), ``val`` the true labels validated on.
    """

    train: Labels
    val: Labels
    n_classes: int
    loss: str
    metric: str
    n_epochs: int
    history: list[EpochScore] = field(default_factory=list)
    collapsed: bool = False
    _n_steps: int = 0
    _idle: int = 0

    def __post_init__(self) -> None:
        self._constant = constant_outcome(self.train, self.val, self.n_classes, self.loss)
        own = constant_outcome(self.train, self.train, self.n_classes, self.loss)
        self._chance_loss = float(own.losses.mean())
        self._chance_acc = float(np.mean(own.predicted == self.train))
        self._last = self._constant

    @property
    def epoch(self) -> int:
        """Epochs on the books, collapsed ones included."""
        return len(self.history)

    @property
    def done(self) -> bool:
        """True once there is nothing more to train."""
        return self.collapsed or self.epoch >= self.n_epochs

    @property
    def wants_gradients(self) -> bool:
        """True if the coming epoch may be the last, so that its gradient norms are evidence."""
        stuck = bool(self.history) and self.history[-1].train_loss >= 0.99 * self._chance_loss
        return stuck or self.epoch >= self.n_epochs - 1

    def record(self, *, train_loss: float, train_acc: float, n_steps: int, outcome: Outcome | None) -> EpochScore:
        """Book one epoch. Losses that are not finite are booked as the constant predictor's.

        ``outcome`` None: not validated this time (the refit looks at its test images once, at the end).
        """
        self._n_steps += n_steps
        unseen = outcome is None
        outcome = outcome or self._constant
        self._last = outcome
        broken = not (np.isfinite(train_loss) and np.isfinite(outcome.losses).all())
        epoch = len(self.history) + 1
        score = self._chance(epoch) if broken else self._score(epoch, train_loss, train_acc, outcome)
        self.history.append(score)
        self.collapsed = broken or (not unseen and self._no_progress(outcome))
        return score

    def record_collapsed(self) -> EpochScore:
        """The score of one more epoch of a collapsed member, which is not trained any more."""
        self._idle += 1
        return self._chance(len(self.history) + self._idle)

    def result(self, *, key: FitKey, lam_over_m: float, norms: Norms, seconds: float, started_at: float) -> FoldResult:
        """The finished fold fit. A collapsed one gets the constant predictor's score and evidence per image."""
        outcome = self._constant if self.collapsed else self._last
        last = self._chance(len(self.history)) if self.collapsed else self.history[-1]
        limit = float(np.finfo(np.float16).max)
        return FoldResult(
            key=key,
            lam_over_m=lam_over_m,
            score=last.val_acc if self.metric == "accuracy" else -last.val_loss,
            val_acc=last.val_acc,
            val_loss=last.val_loss,
            train_acc=last.train_acc,
            train_loss=last.train_loss,
            collapsed=self.collapsed,
            weight_norm=norms.weight_norm,
            near_zero=norms.near_zero,
            grad_norms=norms.grad_norms,
            layer_norms=norms.layer_norms,
            epochs=tuple(self.history),
            n_val=len(self.val),
            correct=np.packbits(outcome.predicted == self.val).tobytes(),
            image_loss=np.minimum(outcome.losses, limit).astype(np.float16).tobytes(),
            seconds=seconds,
            started_at=started_at,
        )

    def _score(self, epoch: int, train_loss: float, train_acc: float, outcome: Outcome) -> EpochScore:
        return EpochScore(
            epoch=epoch,
            train_loss=train_loss,
            train_acc=train_acc,
            val_loss=float(np.mean(outcome.losses, dtype=np.float64)),
            val_acc=float(np.mean(outcome.predicted == self.val)),
        )

    def _chance(self, epoch: int) -> EpochScore:
        return self._score(epoch, self._chance_loss, self._chance_acc, self._constant)

    def _no_progress(self, outcome: Outcome) -> bool:
        """The same class for every image, and a training loss stuck at the constant predictor's."""
        window = self.history[-min(WINDOW, self.n_epochs) :]
        if len(window) < min(WINDOW, self.n_epochs) or self._n_steps < WINDOW_STEPS:
            return False
        stuck = all(score.train_loss >= 0.99 * self._chance_loss for score in window)
        falling = len(window) > 1 and window[-1].train_loss < window[0].train_loss - 1e-3 * self._chance_loss
        return stuck and not falling and bool((outcome.predicted == outcome.predicted[0]).all())
