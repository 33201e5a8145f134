"""What the store hands out, and how fold results become rows and back."""

from __future__ import annotations

import functools
import json
import math
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from sqlalchemy import Row, and_

from lamsearch.config import StudyConfig, parse_study
from lamsearch.records import BASELINE, EpochScore, FitKey, FoldResult
from lamsearch.rules import WHOLE
from lamsearch.store.tables import studies

STUDY: tuple[Any, ...] = (
    *(studies.c[name] for name in ("id", "name", "config", "facts", "state", "reason", "created_at", "deadline")),
    and_(studies.c.answer.is_not(None), studies.c.answered_generation == studies.c.generation).label("answered"),
)
"""The columns of a ``StudyRow``: without the answer, which is long."""

StudyState = Literal["open", "closing", "stopped", "done", "failed"]

_SCALARS = (
    *("lam_over_m", "score", "val_acc", "val_loss", "train_acc", "train_loss", "collapsed", "weight_norm"),
    *("near_zero", "n_val", "seconds", "worker", "executor", "hardware", "started_at", "correct", "image_loss"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyRow:
    """A study as stored. ``deadline`` and ``created_at`` are on the database's clock (seconds since 1970).

    ``answered``: the stored answer belongs to the present budget, not to an earlier, smaller one.
    """

    id: int
    name: str
    config: StudyConfig
    facts: Mapping[str, Any]
    state: StudyState
    reason: str
    created_at: float
    deadline: float | None
    answered: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerInfo:
    """What a worker says about itself. ``uid`` makes registering twice (a lost acknowledgement) harmless."""

    host: str
    pid: int
    device: str
    uid: str = field(default_factory=lambda: uuid.uuid4().hex)


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerRow:
    """A registered worker. ``age_s``: seconds since its last beat. ``alive``: it has not ``left``, and beats."""

    id: int
    host: str
    pid: int
    device: str
    doing: str
    started: float
    last_beat: float
    age_s: float
    alive: bool
    left: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """A lease: train ``keys`` (one fold fit; all folds of a trial if ``whole``; none for the refit) at ``lam_over_m``.

    ``attempt`` counts from 1. ``copy`` is 1 when this is a second worker on a late fit. ``generation``: of the study
    when the lease was given, so that an answer to a smaller budget is not taken for the present one's.
    """

    study_id: int
    worker_id: int
    token: str
    keys: tuple[FitKey, ...] = ()
    lam_over_m: float = 0.0
    attempt: int = 1
    copy: int = 0
    whole: bool = False
    kind: Literal["fit", "refit"] = "fit"
    generation: int = 0

    @property
    def lease_key(self) -> FitKey:
        """Where the lease is kept."""
        if self.kind == "refit":
            return FitKey(0, 0, 0)
        return self.keys[0]._replace(fold=WHOLE) if self.whole else self.keys[0]

    @property
    def words(self) -> str:
        """What it is on, for people."""
        return self.kind if self.kind == "refit" else in_words(self.lease_key, self.lam_over_m)


def in_words(key: FitKey, lam_over_m: float | None) -> str:
    """``λ/m = 0.0012, fold 3``: a fit, for people."""
    lam = "λ = 0" if key.slot == BASELINE else "λ not chosen yet" if lam_over_m is None else f"λ/m = {lam_over_m:.3g}"
    fold = "all folds" if key.fold == WHOLE else f"fold {key.fold}"
    return f"{lam}, {fold}" + (f" of replicate {key.replicate}" if key.replicate else "")


@dataclass(frozen=True, kw_only=True, slots=True)
class Wait:
    """Nothing to do just now: ask again after a pause."""

    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Done:
    """No fold fit is wanted. ``state`` open or closing: the refit and the answer are; otherwise the study has ended."""

    state: StudyState


def study_row(row: Row[Any]) -> StudyRow:
    """From a row of ``STUDY``."""
    return StudyRow(
        id=row.id,
        name=row.name,
        config=_config(row.config, row.name),
        facts=json.loads(row.facts),
        state=row.state,
        reason=row.reason,
        created_at=row.created_at,
        deadline=row.deadline,
        answered=bool(row.answered),
    )


@functools.lru_cache(maxsize=64)
def _config(text: str, name: str) -> StudyConfig:
    """Frozen, so one will do: a worker looks at its study after every fit."""
    return parse_study(json.loads(text), where=f"stored study {name}")


def result_values(result: FoldResult) -> dict[str, Any]:
    """Columns of a fold result, without study, token and time. Raises ValueError for a number that is not finite."""
    values = {name: getattr(result, name) for name in _SCALARS}
    for name, value in values.items():
        # SQLite stores NaN as NULL, and no mean may ever meet one.
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{result.key}: {name} must be finite, got {value}")
    detail = {
        "grad_norms": dict(result.grad_norms),
        "layer_norms": dict(result.layer_norms),
        "epochs": [[*asdict(epoch).values()] for epoch in result.epochs],
    }
    return {**result.key._asdict(), **values, "detail": json.dumps(detail)}


def fold_result(row: Row[Any]) -> FoldResult:
    """The inverse of ``result_values``."""
    detail = json.loads(row.detail)
    return FoldResult(
        key=FitKey(row.slot, row.replicate, row.fold),
        grad_norms=detail["grad_norms"],
        layer_norms=detail["layer_norms"],
        epochs=tuple(EpochScore(**dict(zip(_EPOCH_FIELDS, values, strict=True))) for values in detail["epochs"]),
        **{name: getattr(row, name) for name in _SCALARS},
    )


_EPOCH_FIELDS = tuple(EpochScore.__dataclass_fields__)
