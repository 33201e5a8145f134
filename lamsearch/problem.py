"""What is trained: the study's data on a device, and the members to train on it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lamsearch import splits
from lamsearch.architecture import Layer
from lamsearch.config import LossConfig, ModelConfig, StudyConfig, TrainingConfig
from lamsearch.datasets import DataSet
from lamsearch.model import Shape, layers_of, seen
from lamsearch.records import FitKey
from lamsearch.splits import Indices, Split


class Interrupted(Exception):
    """Training ended because ``stop()`` turned true. Nothing of the fit is kept."""


class Member(NamedTuple):
    """One model to train: one λ (of ``slot``) on one fold."""

    slot: int
    replicate: int
    fold: int
    lam_over_m: float

    @property
    def key(self) -> FitKey:
        """The fold fit that this member is."""
        return FitKey(self.slot, self.replicate, self.fold)


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Everything a trainer needs, λ apart.

    ``images`` (N, C, H, W) and both label tensors (N,) lie on the device; ``train_labels`` carry the study's
    label noise, ``labels`` are true and are what validation uses. ``layers`` is None for a user model.
    """

    images: Tensor
    labels: Tensor
    train_labels: Tensor
    search: np.ndarray
    n_classes: int
    layers: tuple[Layer, ...] | None
    model: ModelConfig
    loss: LossConfig
    training: TrainingConfig
    n_folds: int
    seed: int
    metric: str

    @property
    def device(self) -> torch.device:
        """Where the images are, and the models will be."""
        return self.images.device

    @property
    def dtype(self) -> torch.dtype:
        """Precision of images and models."""
        return self.images.dtype

    @property
    def shape(self) -> Shape:
        """(C, H, W) of an image."""
        _, channels, height, width = self.images.shape
        return (channels, height, width)

    @property
    def seen(self) -> Shape:
        """The part of an image, from its upper left corner, that can reach the outputs (all for a user model)."""
        return self.shape if self.layers is None else seen(self.layers, self.shape)

    def split(self, member: Member) -> Split:
        """Training and validation indices of a member's fold: the same for every λ."""
        return splits.split(
            self.search,
            self.labels.cpu().numpy(),
            n_folds=self.n_folds,
            study_seed=self.seed,
            replicate=member.replicate,
            fold=member.fold,
        )

    def fold_seed(self, member: Member) -> int:
        """The seed of initial weights and batch order: the same for every λ."""
        return splits.fold_seed(self.seed, member.replicate, member.fold)

    def validates(self, epoch: int) -> bool:
        """True if members are scored on their validation images after this epoch, counted from 0."""
        return True


@dataclass(frozen=True, kw_only=True)
class Whole(Problem):
    """The refit as a problem of one fold: train on the search images, look at the test images once, at the end."""

    only: Split
    only_seed: int

    def split(self, member: Member) -> Split:
        """Search and test images, for any member."""
        return self.only

    def fold_seed(self, member: Member) -> int:
        """The refit's seed, for any member."""
        return self.only_seed

    def validates(self, epoch: int) -> bool:
        """True after the last epoch."""
        return epoch + 1 >= self.training.epochs


def whole(problem: Problem, train_idx: Indices, test_idx: Indices, seed: int) -> Whole:
    """``problem`` with one split: ``train_idx`` to train on, ``test_idx`` to score."""
    given = {field.name: getattr(problem, field.name) for field in fields(problem)}
    return Whole(**given, only=Split(train=np.sort(train_idx), val=np.sort(test_idx)), only_seed=seed)


def problem(
    config: StudyConfig, data: DataSet, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> Problem:
    """The study's problem on ``device``. On a CPU in float32 the images stay the data set's own memory."""
    noisy = splits.noisy_labels(data.labels, data.search, config.data.label_noise, config.search.seed)
    return Problem(
        images=_tensor(data.images).to(device, dtype),
        labels=_tensor(data.labels).to(device),
        train_labels=_tensor(noisy).to(device),
        search=np.asarray(data.search),
        n_classes=data.n_classes,
        layers=layers_of(config.model.kind, data.shape, data.n_classes),
        model=config.model,
        loss=config.loss,
        training=config.training,
        n_folds=config.search.folds,
        seed=config.search.seed,
        metric=config.search.metric,
    )


def _tensor(array: np.ndarray) -> Tensor:
    """A tensor over the array's own memory, read-only maps included: nothing here writes to data."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(np.asarray(array))
