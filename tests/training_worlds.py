"""Small problems for the tests of model, loss and trainers."""

from __future__ import annotations

import numpy as np
import torch

from lamsearch.config import StudyConfig, parse_study
from lamsearch.datasets import DataSet
from lamsearch.problem import Problem, problem


def study(**tables: object) -> StudyConfig:
    return parse_study(tables, where="test")


def blobs(n: int = 60, *, shape: tuple[int, int, int] = (1, 10, 10), n_classes: int = 3, seed: int = 0) -> DataSet:
    """Noise around one random pattern per class; classes as equal as n allows, the last tenth is the test set."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % n_classes).astype(np.int64)
    patterns = rng.normal(size=(n_classes, *shape))
    images = (patterns[labels] + rng.normal(size=(n, *shape))).astype(np.float32)
    n_search = n - n // 10
    return DataSet(
        name="blobs",
        images=images,
        labels=labels,
        class_names=tuple(f"class {label}" for label in range(n_classes)),
        search=np.arange(n_search),
        test=np.arange(n_search, n),
        fingerprint=f"blobs-{n}-{shape}-{seed}",
    )


def small_problem(
    world: DataSet | None = None, *, dtype: torch.dtype = torch.float64, device: str = "cpu", **tables: object
) -> Problem:
    """The problem of ``blobs`` under a study whose tables are given."""
    return problem(study(**tables), world or blobs(), device, dtype)
