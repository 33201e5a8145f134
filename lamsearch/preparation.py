"""From a validated study to what it stands on: the images, the folds they allow, m."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lamsearch import architecture, splits
from lamsearch.config import StudyConfig
from lamsearch.datasets import DataSet, load
from lamsearch.errors import InputError, short
from lamsearch.evidence import Labels, constant_outcome

Facts = dict[str, Any]


def facts(config: StudyConfig, *, allow_code: bool = False) -> tuple[DataSet, Facts]:
    """Load the images and state what the study stands on. Raises InputError before anything is written.

    A model of the user's own is foreign code: it is imported only if ``allow_code``.

    Facts: ``fingerprint`` (sha256 of images, labels and split), ``m`` (penalised weights), ``n_images``
    (search images), ``n_test``, ``n_classes``, ``shape`` (C, H, W), ``fold_sizes`` (replicate 0), ``chance`` (score of
    predicting the label shares for every image, by the study's metric; higher is better).
    """
    check_code(config, allow_code=allow_code)
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
        "chance": _chance(labels, data.n_classes, config),
    }


def check_code(config: StudyConfig, *, allow_code: bool) -> None:
    """Raises InputError for a model of the user's own that has not been allowed."""
    if ":" in config.model.kind and not allow_code:
        raise InputError(f"model.kind = {config.model.kind!r} runs code of your own: allow it with --allow-code")


def _chance(labels: Labels, n_classes: int, config: StudyConfig) -> float:
    constant = constant_outcome(labels, labels, n_classes, config.loss.data)
    if config.search.metric == "accuracy":
        return float((constant.predicted == labels).mean())
    return -float(constant.losses.mean())


def check_same(study: str, stored: Mapping[str, Any], found: Facts) -> None:
    """Raise InputError if the data (or m) here are not those that the study was made with."""
    for key in ("fingerprint", "m", "n_images", "n_test"):
        if key in stored and stored[key] != found[key]:
            raise InputError(
                f"the data here differ from those of study {study!r} "
                f"({key}: stored {short(stored[key])}, here {short(found[key])}); "
                "give this machine the same files, or start a study of its own with --name"
            )


def n_penalised(config: StudyConfig, data: DataSet) -> int:
    """m: how many parameters the penalty multiplies."""
    if ":" in config.model.kind:
        from lamsearch.model import build, penalised  # noqa: PLC0415 - only user models need torch for this

        model = build(config.model.kind, data.shape, data.n_classes, seed=0)
        return sum(weight.numel() for weight in penalised(model, biases=config.loss.penalise_biases).values())
    layers = architecture.layers(config.model.kind, data.shape, data.n_classes)
    return architecture.n_penalised(layers, biases=config.loss.penalise_biases)
