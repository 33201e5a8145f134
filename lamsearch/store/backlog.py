"""What Optuna does not show yet: the mirror's side of our tables. Bodies of short transactions."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.trial import TrialState
from sqlalchemy import Connection, Row, and_, delete, insert, or_, select, update

from lamsearch.records import BASELINE, FitKey, Parked
from lamsearch.rules import EPOCH_PRUNERS
from lamsearch.store import leases
from lamsearch.store.optuna_study import Shown, evidence, lam_of, running_means, sign
from lamsearch.store.rows import STUDY, StudyRow, study_row
from lamsearch.store.studies import lock
from lamsearch.store.tables import fold_results, now, slots, studies
from lamsearch.store.tables import leases as lease_table
from lamsearch.store.view import View

LEASE_S = 30.0
"""How long a pass may go on without renewing its lease, at most; a dead one is followed by another after that."""

RUNNING = ("open", "closing")
_KEY = FitKey(0, 0, 0)
_BULKY = ("correct", "image_loss")
_RESULT_COLUMNS = [column for column in fold_results.c if column.name not in _BULKY]


@dataclass(frozen=True, kw_only=True)
class Backlog:
    """One consistent reading: the slots whose trials are absent or behind, rising. ``settled``: the plan is done."""

    study: StudyRow
    optuna_ids: tuple[int | None, int | None]
    trials_seen: int
    slots: Sequence[Row[Any]]
    parked: Mapping[int, Parked]
    settled: bool
    token: str


def begin(connection: Connection, view: View, worker_id: int | None, token: str, lease_s: float) -> Backlog | None:
    """Take the mirror's lease and read what is to be done; None if another process holds it."""
    study = lock(connection, view.study_id)
    place = (lease_table.c.study_id == study.id, lease_table.c.kind == "mirror")
    row = connection.execute(select(lease_table).where(*place)).one_or_none()
    if row is not None and row.token != token and row.expires > study.now:
        return None
    connection.execute(delete(lease_table).where(*place))
    connection.execute(
        insert(lease_table).values(
            study_id=study.id,
            kind="mirror",
            **_KEY._asdict(),
            copy=0,
            worker_id=worker_id,
            token=token,
            started=now(),
            expires=now() + lease_s,
        )
    )
    described = study_row(connection.execute(select(*STUDY).where(studies.c.id == study.id)).one())
    turn = {"mirrored_by": worker_id, "mirrored_at": now()}
    connection.execute(update(studies).where(studies.c.id == study.id).values(**turn))
    _reopen(connection, study.id)
    view.refresh(connection, study.slots_version)
    plan = view.plan(closing=False)
    return Backlog(
        study=described,
        optuna_ids=(study.optuna_study_id, study.optuna_baseline_id),
        trials_seen=study.trials_seen,
        slots=_behind(connection, view, described, settled=plan.done),
        parked=plan.parked,
        settled=plan.done,
        token=token,
    )


def renew(connection: Connection, token: str, lease_s: float) -> bool:
    """Go on holding the mirror's lease; False if it was lost."""
    done = connection.execute(update(lease_table).where(lease_table.c.token == token).values(expires=now() + lease_s))
    return done.rowcount == 1


def end(connection: Connection, token: str) -> None:
    """Give the lease back."""
    connection.execute(delete(lease_table).where(lease_table.c.token == token))


def note_studies(connection: Connection, study_id: int, ids: tuple[int, int]) -> None:
    """Keep the ids of Optuna's studies."""
    values = {"optuna_study_id": ids[0], "optuna_baseline_id": ids[1]}
    connection.execute(update(studies).where(studies.c.id == study_id).values(**values))


def forget_trials(connection: Connection, study_id: int, slot: int | None = None) -> None:
    """The trial of ``slot`` is gone; None: Optuna's studies are, and with them all trials."""
    gone = {"trial_id": None, "trial_number": None, "told": None, "n_mirrored": 0}
    mine = slots.c.study_id == study_id
    if slot is not None:
        connection.execute(update(slots).where(mine, slots.c.slot == slot).values(**gone))
        return
    connection.execute(update(slots).where(mine).values(**gone))
    none = {"optuna_study_id": None, "optuna_baseline_id": None, "trials_seen": 0}
    connection.execute(update(studies).where(studies.c.id == study_id).values(**none))


def note_trials(
    connection: Connection, study_id: int, created: Mapping[int, tuple[int, int]], trials_seen: int
) -> frozenset[int]:
    """Keep slot → (trial number, trial id); the slots that already had another trial."""
    study = lock(connection, study_id)
    version = study.slots_version + 1
    taken = set()
    for slot, (number, trial_id) in created.items():
        free = or_(slots.c.trial_id.is_(None), slots.c.trial_id == trial_id)
        done = connection.execute(
            update(slots)
            .where(slots.c.study_id == study_id, slots.c.slot == slot, free)
            .values(trial_number=number, trial_id=trial_id, version=version)
        )
        if done.rowcount == 0:
            taken.add(slot)
    values = {"slots_version": version, "trials_seen": max(study.trials_seen, trials_seen)}
    connection.execute(update(studies).where(studies.c.id == study_id).values(**values))
    return frozenset(taken)


def note_progress(connection: Connection, study_id: int, shown: Iterable[tuple[int, int, str | None]]) -> None:
    """Keep (slot, number of results shown, end state told)."""
    for slot, n_mirrored, told in shown:
        connection.execute(
            update(slots)
            .where(slots.c.study_id == study_id, slots.c.slot == slot)
            .values(n_mirrored=n_mirrored, told=told)
        )


def results_of(connection: Connection, study_id: int, which: Iterable[int]) -> dict[int, list[Row[Any]]]:
    """Fold results of some slots without the bits per image, in the order of replicate and fold."""
    rows = connection.execute(
        select(*_RESULT_COLUMNS)
        .where(fold_results.c.study_id == study_id, fold_results.c.slot.in_(list(which)))
        .order_by(fold_results.c.slot, fold_results.c.replicate, fold_results.c.fold)
    )
    found: dict[int, list[Row[Any]]] = {}
    for row in rows:
        found.setdefault(row.slot, []).append(row)
    return found


def shown(backlog: Backlog, slot: Row[Any], results: Sequence[Row[Any]]) -> Shown:
    """How the trial of ``slot`` must look. Only folds without a gap before them: they are shown in order.

    Its value is the mean over the first set of folds, which all λ's share; further sets are attributes. A trial that
    has ended takes none, so where there may be replicates it stays RUNNING until the study ends; not under an epoch
    pruner, though, which compares with ended trials alone.
    """
    study = backlog.study
    rows = [row for i, row in enumerate(row for row in results if row.replicate == 0) if row.fold == i]
    scores = [sign(study.config) * row.score for row in rows]
    means = running_means(scores)
    whole = study.config.search.pruner in EPOCH_PRUNERS
    attrs: dict[str, Any] = {"slot": slot.slot, "lam_over_m": slot.lam_over_m}
    if rows:
        attrs |= evidence(rows, [json.loads(row.detail) for row in rows], scores)
    more = [sign(study.config) * row.score for row in results if row.replicate > 0]
    if more:
        attrs |= {"replicate_scores": more, "mean_of_all": math.fsum([*scores, *more]) / len([*scores, *more])}
    more_to_come = not backlog.settled and study.state in RUNNING
    waiting = study.config.search.replicates != 1 and not whole and more_to_come
    state = TrialState.RUNNING
    if slot.failed is not None:
        state = TrialState.FAIL
        attrs["reason"] = slot.failed
    elif slot.stopped is not None:
        state = TrialState.PRUNED
        attrs["reason"] = slot.stopped
    elif len(rows) == study.config.search.folds:
        state = TrialState.RUNNING if waiting else TrialState.COMPLETE
    elif backlog.settled:
        state = TrialState.PRUNED
        attrs |= _why(backlog.parked.get(slot.slot))
    return Shown(
        slot=slot.slot,
        lam=lam_of(study, slot.lam_over_m),
        low=lam_of(study, study.config.low),
        high=lam_of(study, study.config.high),
        steps={} if whole else means,
        attrs=attrs,
        state=state,
        value=means[len(means)] if state is TrialState.COMPLETE else None,
    )


def _why(parked: Parked | None) -> dict[str, Any]:
    if parked is None:
        return {"reason": "not wanted any more"}
    return {"parked_after": parked.after, "parked_margin": parked.margin, "reason": parked.reason}


def _reopen(connection: Connection, study_id: int) -> None:
    """A trial that has ended cannot be told more: a λ that goes on all the same gets a further trial."""
    went_on = or_(
        and_(slots.c.told == TrialState.FAIL.name, slots.c.failed.is_(None)),
        and_(slots.c.told == TrialState.PRUNED.name, slots.c.n_results > slots.c.n_mirrored),
    )
    connection.execute(
        update(slots)
        .where(slots.c.study_id == study_id, went_on)
        .values(trial_id=None, trial_number=None, told=None, n_mirrored=0)
    )


def _behind(connection: Connection, view: View, study: StudyRow, *, settled: bool) -> Sequence[Row[Any]]:
    """Slots whose trial lacks something. All trials of a cohort are made when its first fit starts, in slot order."""
    mine = and_(slots.c.study_id == view.study_id, slots.c.told.is_(None), slots.c.lam_over_m.is_not(None))
    if settled:
        return connection.execute(select(slots).where(mine).order_by(slots.c.slot)).all()
    news = or_(slots.c.n_results > slots.c.n_mirrored, slots.c.failed.is_not(None), slots.c.stopped.is_not(None))
    if study.state not in RUNNING:  # ended by time: what waited for replicates
        news = or_(news, slots.c.n_results >= study.config.search.folds)
    dirty = connection.execute(select(slots).where(mine, news)).all()
    leased = {key.slot for key in leases.of_fits(connection, view.study_id)}
    cohorts = {view.slot(slot).cohort for slot in leased if slot != BASELINE}
    cohorts |= {row.cohort for row in dirty if row.slot != BASELINE}
    started = or_(
        and_(slots.c.cohort.in_(cohorts), slots.c.slot != BASELINE),
        slots.c.slot.in_([BASELINE] if BASELINE in leased else []),
    )
    absent = connection.execute(select(slots).where(mine, slots.c.trial_id.is_(None), started)).all()
    by_slot = {row.slot: row for row in (*dirty, *absent)}
    return [by_slot[slot] for slot in sorted(by_slot)]
