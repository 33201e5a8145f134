"""The answer: the one result object that terminal, JSON, report and dashboard read. And its JSON shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from lamsearch.records import FoldResult, Parked

if TYPE_CHECKING:
    from pydantic import TypeAdapter


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """An estimate with its interval."""

    mean: float
    low: float
    high: float


Verdict = Literal["helps", "not_shown", "hurts"]
Side = Literal["low", "high"]
PointStatus = Literal["complete", "pruned", "failed", "running", "waiting"]


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyMeta:
    """What an answer says about its study. ``low`` and ``high``: the searched range of λ/m.

    ``n_images``: search images, each validated once per replicate. ``n_replicates``: as asked (0 = automatic).
    ``chance``: the score of a constant prediction, if known.
    """

    study: str
    metric: str
    m: int
    n_folds: int
    n_images: int
    low: float
    high: float
    n_replicates: int = 1
    chance: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class CurvePoint:
    """One λ on the CV curve.

    ``mean`` is its level on the chosen λ's cells (of a λ without all of them: less what its cells give to everybody, so
    that an easy fold does not flatter it), ``sem`` the level's error over its cells; ``difference`` (to the chosen λ's
    level) and ``se`` are paired. ``difference_low/high`` is the interval that decides membership of E (``in_range``).
    ``collapsed``: so many of its fold fits became NaN or never got past chance.
    """

    slot: int
    lam: float
    lam_over_m: float
    status: PointStatus
    n_cells: int
    mean: float | None
    sem: float | None
    smooth: float | None = None
    difference: float | None = None
    se: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    in_range: bool = False
    parked: Parked | None = None
    failed: str | None = None
    collapsed: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Edge:
    """E touches an end of what was measured. ``low``/``high``: the proposed extended λ/m range, if any."""

    side: Side
    message: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Optimism:
    """CV score of the chosen λ corrected for having been chosen. ``method``: "bbc-cv" or "tibshirani"."""

    method: str
    mean: float
    low: float | None
    high: float | None
    rule: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TestScore:
    """The refit model on the test set. ``looks``: how many different (λ, protocol) have been scored on it."""

    __test__ = False
    accuracy: float
    loss: float
    low: float
    high: float
    n: int
    looks: int
    lam_over_m: float
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """What was spent. ``fold_fits`` are unique results; ``fold_fits_executed`` counts repeats after faults too, and the
    ``fold_fits_stopped`` of trials that an epoch pruner ended, which left no result.

    complete + pruned + failed + unfinished = trials; ``unfinished`` is 0 once the search is over (time may be up
    before). ``not_started`` were never trained: unfinished, or pruned because nothing was left to find.
    ``epochs``: of one network each, over all fold fits, with the ``stopped_epochs`` of those that left no result.
    ``fold_fits_full``, ``epochs_full``: one set of folds of every λ and of λ = 0.
    """

    trials: int
    complete: int
    pruned: int
    failed: int
    fold_fits: int
    fold_fits_executed: int
    fold_fits_full: int
    seconds: float
    fit_seconds: float
    epochs: int = 0
    epochs_full: int = 0
    stopped_epochs: int = 0
    fold_fits_stopped: int = 0
    not_started: int = 0
    unfinished: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """The result object that terminal, JSON, HTML and dashboard all read.

    λ's without ``_over_m`` in the name are λ itself. ``indistinguishable`` is E, rising, with 0.0 for a baseline in E;
    ``indistinguishable_partial`` its members that lack folds; the range spans all those > 0.
    ``gain`` and ``detectable_gain`` are None as long as (or because) the baseline has no score.
    ``matters`` is False once both ends of ``gain`` are within ``margin`` of 0, too small to care about.
    ``other_metric_gain``: of the other metric's pick over λ = 0, with its interval.
    ``looked``: as long as ``test`` is None, how often the test images have been scored for earlier answers.
    ``above_chance``: λ̂'s score is shown to be better than that of a constant prediction, ``chance`` (or it is unknown).
    """

    study: str
    status: Literal["final", "provisional"]
    metric: str
    m: int
    n_folds: int
    n_replicates: int
    n_images: int
    slot: int
    lam: float
    lam_over_m: float
    lam_carried: float
    chosen_by: str
    lam_1se: float
    lam_1se_over_m: float
    lam_1se_classical: float
    lam_1se_classical_over_m: float
    indistinguishable: tuple[float, ...]
    indistinguishable_partial: tuple[float, ...]
    range_low: float
    range_high: float
    helps: bool
    verdict: Verdict
    matters: bool
    gain: Interval | None
    detectable_gain: float | None
    cv: Interval
    cv_sem: float
    corrected: Optimism | None
    edges: tuple[Edge, ...]
    paired_sd: float
    unpaired_sd: float
    variance_ratio: float | None
    other_metric: str
    other_metric_lam: float | None
    curve: tuple[CurvePoint, ...]
    budget: Budget
    test: TestScore | None = None
    notes: tuple[str, ...] = field(default=())
    other_metric_gain: float | None = None
    other_metric_gain_low: float | None = None
    other_metric_gain_high: float | None = None
    margin: float = 0.01
    chance: float | None = None
    above_chance: bool = True
    looked: int = 0


@dataclass(frozen=True, kw_only=True)
class Dossier:
    """All that a report needs: the answer with its evidence. Built by the command line from the store.

    ``trials``: slot → Optuna's trial number, as far as it has one (λ = 0 is in a study of its own).
    ``settings`` and ``facts`` are flat, JSON-valued; ``versions`` maps a library (or ``hardware``) to what was used.
    """

    answer: Answer
    results: tuple[FoldResult, ...]
    settings: Mapping[str, object]
    facts: Mapping[str, object]
    versions: Mapping[str, str]
    command: str
    created_at: float
    trials: Mapping[int, int] = field(default_factory=dict)


@cache
def _adapter() -> TypeAdapter[Answer]:
    from pydantic import TypeAdapter  # noqa: PLC0415 - the classes above serve modules that need no validation

    return TypeAdapter(Answer)


def to_json(answer: Answer) -> dict[str, Any]:
    """``answer`` as JSON values. ``cv`` carries its ``sem``; absent things are null."""
    body: dict[str, Any] = _adapter().dump_python(answer, mode="json")
    body["cv"]["sem"] = body.pop("cv_sem")
    return body


def from_json(body: dict[str, Any]) -> Answer:
    """The inverse of ``to_json``. Raises pydantic's ValidationError for foreign shapes."""
    cv = dict(body["cv"])
    return _adapter().validate_python({**body, "cv_sem": cv.pop("sem"), "cv": cv})
