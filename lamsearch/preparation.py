"""From a validated study to what it stands on: the images, the folds they allow, m."""

from __future__ import annotations

from typing import Any

from lamsearch import architecture, splits
from lamsearch.config import StudyConfig
from lamsearch.datasets import DataSet, load

Facts = dict[str, Any]


def facts(config: StudyConfig) -> tuple[DataSet, Facts]:
    """Load the images and state what the study stands on. Raises InputError before anything is written.

    Facts: ``fingerprint`` (sha256 of images, labels and split), ``m`` (penalised weights), ``n_images``
    (search images), ``n_test``, ``n_classes``, ``shape`` (C, H, W), ``fold_sizes`` (replicate 0).
    """
    data = load(config.data, seed=config.search.seed)
    labels = data.labels[data.search]
    splits.check_folds(labels, data.class_names, config.search.folds)
    folds = splits.stratified_folds(labels, config.search.folds, splits.fold_seed(config.search.seed, 0, -1))
    return data, {
        "fingerprint": data.fingerprint,
        "m": n_penalised(config, data),
        "n_images": len(data.search),
        "n_test": len(data.test),
        "n_classes": data.n_classes,
        "shape": list(data.shape),
        "fold_sizes": [len(fold) for fold in folds],
    }


def n_penalised(config: StudyConfig, data: DataSet) -> int:
    """m: how many parameters the penalty multiplies."""
    if ":" in config.model.kind:
        from lamsearch.model import build, penalised  # noqa: PLC0415 - only user models need torch for this

        model = build(config.model, data.shape, data.n_classes)
        return sum(p.numel() for p in penalised(model, biases=config.loss.penalise_biases))
    layers = architecture.layers(config.model.kind, data.shape, data.n_classes)
    return architecture.n_penalised(layers, biases=config.loss.penalise_biases)
