"""The constants of a study's decisions, drawn from its configuration once."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Literal

from lamsearch.config import SearchConfig

WHOLE = -1
"""Fold number of a whole trial: all its folds in lockstep, the unit of work of the epoch pruners."""

EPOCH_PRUNERS = frozenset({"median", "percentile", "halving", "hyperband"})


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Thresholds in units of the score. A nat of log loss counts like a third of an accuracy.

    ``tau``: a gain worth another fold. ``floor``: the least noise assumed. ``near``: λ's within this distance of the
    best tell about the noise there. ``tolerance``: "sure" means that the answer cannot change by more. ``margin``:
    a gain or loss certainly below it does not matter.
    """

    tau: float = 0.001
    floor: float = 0.001
    near: float = 0.02
    tolerance: float = 0.005
    margin: float = 0.01

    @classmethod
    def of(cls, metric: str) -> Scale:
        """The thresholds of a metric."""
        unit = 1.0 if metric == "accuracy" else 3.0
        return cls(**{field.name: unit * float(str(field.default)) for field in fields(cls)})


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What decisions depend on, besides the scores. Everything with a unit is in units of the score.

    ``n_images`` are validated once per replicate.
    """

    pruner: str
    n_folds: int
    n_images: int
    n_replicates: int = 1
    until: Literal["spent", "sure"] = "spent"
    scale: Scale = Scale()

    @classmethod
    def of(cls, search: SearchConfig, *, n_images: int) -> Rules:
        """The rules of a study."""
        scale = Scale.of(search.metric)
        return cls(
            pruner=search.pruner,
            n_folds=search.folds,
            n_images=n_images,
            n_replicates=search.replicates,
            until=search.until,
            scale=replace(scale, tolerance=search.tolerance or scale.tolerance),
        )

    @property
    def races(self) -> bool:
        """True if λ's are parked between folds."""
        return self.pruner in ("paired", "wilcoxon")

    @property
    def whole(self) -> bool:
        """True if a claim is a whole trial."""
        return self.pruner in EPOCH_PRUNERS
