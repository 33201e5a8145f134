"""Optuna's own tables: opening them safely, and how one λ looks as a trial. No decision is made from them.

We speak to ``RDBStorage`` through the methods of ``optuna.storages.BaseStorage``: they are what ``Study`` and ``Trial``
call, and unlike those they can write a whole trial in one transaction, and find one by its number. They are never
called inside a transaction of ours: on SQLite that would wait for itself.
"""

from __future__ import annotations

import math
import statistics
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.exceptions import DuplicatedStudyError
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import text

from lamsearch.config import StudyConfig
from lamsearch.errors import InputError
from lamsearch.store.engine import Database
from lamsearch.store.rows import StudyRow
from lamsearch.store.sessions import READING, engine_kwargs
from lamsearch.store.tables import SCHEMA_LOCK

BASELINE_SUFFIX = "/baseline"
"""The companion study that shows λ = 0: a trial without ``lam`` would empty every sampler's search space."""

MARK = "lamsearch"
"""Study attribute that tells our studies from others in the same database."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What Optuna is to show of one λ. ``steps``: intermediate values by step; ``attrs``: user attributes."""

    slot: int
    lam: float
    low: float
    high: float
    steps: Mapping[int, float]
    attrs: Mapping[str, Any]
    state: TrialState
    value: float | None


def open_storage(database: Database, *, create: bool) -> RDBStorage:
    """Optuna's storage with our connection settings. ``create``: make its tables, one process at a time.

    Raises InputError for tables of another Optuna release.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    url = database.url.render_as_string(hide_password=False)

    def construct() -> RDBStorage:
        kwargs = engine_kwargs(database.url, for_optuna=True)
        try:
            storage = RDBStorage(
                url.replace("{", "{{").replace("}", "}}"),  # Optuna formats the URL as a template
                # The constructor opens a second session within a first one's transaction: with BEGIN IMMEDIATE it
                # would wait for itself. A deferred transaction that meets another process's write fails, whole.
                engine_kwargs={**kwargs, "execution_options": {READING: True}},
                skip_table_creation=not create,
            )
        except RuntimeError as error:
            if "schema" not in str(error):
                raise
            command = f"optuna storage upgrade --storage {database.masked}"
            raise InputError(
                f"storage {database.masked}: its Optuna tables belong to another release than Optuna "
                f"{optuna.__version__}; back it up, stop all workers, then run `{command}` with the newest Optuna"
            ) from None
        storage.engine.update_execution_options(**{READING: False})
        if database.engine.dialect.name != "sqlite":
            database.watch.over(storage.engine)
        return storage

    if database.engine.dialect.name == "sqlite" or not create:
        return database.retrying(construct)

    def construct_alone() -> RDBStorage:
        with database.engine.connect() as connection, connection.begin():
            # Long waits are meant here: the first process needs a second or two for its twelve tables.
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": SCHEMA_LOCK})
            return construct()

    return database.retrying(construct_alone)


def direction(config: StudyConfig) -> StudyDirection:
    """Accuracy goes up; log loss is shown as itself, and goes down."""
    return StudyDirection.MAXIMIZE if config.search.metric == "accuracy" else StudyDirection.MINIMIZE


def sign(config: StudyConfig) -> float:
    """Optuna's value = sign · score."""
    return 1.0 if config.search.metric == "accuracy" else -1.0


def ensure_study(storage: RDBStorage, name: str, *, config: StudyConfig, m: int) -> int:
    """The id of Optuna's study ``name``; created, with its description, if absent."""
    try:
        study_id = storage.create_new_study([direction(config)], name)
    except DuplicatedStudyError:
        study_id = storage.get_study_id_from_name(name)
    if MARK not in storage.get_study_user_attrs(study_id):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            metric = "validation accuracy" if config.search.metric == "accuracy" else "validation log loss"
            optuna.load_study(study_name=name, storage=storage).set_metric_names([metric])
        storage.set_study_user_attr(study_id, "m", m)
        storage.set_study_user_attr(study_id, "n_folds", config.search.folds)
        storage.set_study_user_attr(study_id, MARK, "lam / m is the weight decay; every value is a mean over folds")
    return study_id


def refuse_foreign(storage: RDBStorage, name: str) -> None:
    """Raises InputError if Optuna has a study of that name, with trials, that is not ours."""
    for study_name in (name, name + BASELINE_SUFFIX):
        try:
            study_id = storage.get_study_id_from_name(study_name)
        except KeyError:
            continue
        # The trials first: another process may be making the study, and marks it before its first trial.
        if storage.get_n_trials(study_id) and MARK not in storage.get_study_user_attrs(study_id):
            raise InputError(
                f"this database holds an Optuna study {study_name!r} that lamsearch did not make; choose another --name"
            )


def delete_study(storage: RDBStorage, study_id: int) -> None:
    """Delete Optuna's study, if it still exists."""
    try:
        storage.delete_study(study_id)
    except KeyError:
        return


def exists(storage: RDBStorage, study_id: int) -> bool:
    """False once somebody has deleted the study, in the dashboard for example."""
    try:
        storage.get_study_name_from_id(study_id)
    except KeyError:
        return False
    return True


def template(shown: Shown) -> FrozenTrial:
    """A trial with all that is known, to be written in one transaction; RUNNING. The baseline has no parameter."""
    params: dict[str, float] = {}
    distributions: dict[str, optuna.distributions.BaseDistribution] = {}
    if shown.lam > 0:
        # A λ added beyond the range must lie in its own distribution.
        low, high = min(shown.low, shown.lam), max(shown.high, shown.lam)
        params["lam"] = shown.lam
        distributions["lam"] = optuna.distributions.FloatDistribution(low, high, log=True)
    return optuna.trial.create_trial(
        state=TrialState.RUNNING,
        params=params,
        distributions=distributions,
        user_attrs=dict(shown.attrs),
        intermediate_values=dict(shown.steps),
    )


def tell(storage: RDBStorage, trial_id: int, shown: Shown) -> None:
    """Tell the end state. A pruned trial's value is its last intermediate value, as Optuna itself has it."""
    value = shown.value
    if shown.state is TrialState.PRUNED:
        steps = shown.steps or storage.get_trial(trial_id).intermediate_values  # epoch by epoch, from the worker
        value = steps[max(steps)] if steps else None
    storage.set_trial_state_values(trial_id, shown.state, None if value is None else [value])


def running_means(scores: Sequence[float]) -> dict[int, float]:
    """Step (folds done, from 1) → mean so far."""
    return {n: math.fsum(scores[:n]) / n for n in range(1, len(scores) + 1)}


def evidence(rows: Sequence[Any], details: Sequence[Mapping[str, Any]], scores: Sequence[float]) -> dict[str, Any]:
    """User attributes of a trial from its fold results, in fold order: numbers, so that the dashboard can plot them."""

    def mean(values: Sequence[float]) -> float:
        return math.fsum(values) / len(values)

    attrs: dict[str, Any] = {"fold_scores": list(scores)}
    if len(scores) > 1:
        attrs["sem"] = statistics.stdev(scores) / math.sqrt(len(scores))
    for name in ("train_acc", "val_acc", "val_loss", "weight_norm", "near_zero"):
        attrs[name] = mean([getattr(row, name) for row in rows])
    for layer in details[0]["grad_norms"]:
        attrs[f"grad_norm {layer}"] = mean([detail["grad_norms"].get(layer, 0.0) for detail in details])
    attrs["seconds"] = math.fsum(row.seconds for row in rows)
    attrs["collapsed_folds"] = sum(bool(row.collapsed) for row in rows)
    attrs["worker"] = ", ".join(sorted({row.worker for row in rows}))
    attrs["hardware"] = ", ".join(sorted({row.hardware for row in rows}))
    # JSON has no NaN, and PostgreSQL's and the dashboard's readers refuse it.
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in attrs.items()
    }


def lam_of(study: StudyRow, lam_over_m: float) -> float:
    """λ from λ/m."""
    return lam_over_m * int(study.facts["m"])
