"""Claims and results: what a worker asks for and hands in. Bodies of one short transaction each."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from lamsearch.config import ServiceConfig
from lamsearch.errors import UnknownStudy
from lamsearch.records import FitKey, FoldResult, Stopped
from lamsearch.rules import WHOLE
from lamsearch.store import leases
from lamsearch.store.rows import Claim, Done, Wait, result_values
from lamsearch.store.studies import lock, names, set_state, touch_slots
from lamsearch.store.tables import fold_results, now, slots, studies
from lamsearch.store.tables import leases as lease_table
from lamsearch.store.view import PlanLike, View


@dataclass(frozen=True)
class Propose:
    """The λ's of this cohort must be proposed first, outside the transaction: it may take a second."""

    cohort: int


@dataclass(frozen=True)
class Again:
    """Something was cleaned up on the way: commit it and ask again."""


def is_closing(study: Row[Any]) -> bool:
    """Only what a provisional answer needs is still wanted: somebody said so, or time is up."""
    return study.state == "closing" or (study.deadline is not None and study.now >= study.deadline)


def claim(  # noqa: PLR0911 - one return for each thing that a worker may be told
    connection: Connection, view: View, *, worker_id: int, token: str, n_folds: int, service: ServiceConfig
) -> Claim | Wait | Done | Propose | Again:
    """A lease on the first wanted fit that nobody holds."""
    study = lock(connection, view.study_id)
    if study.state not in ("open", "closing"):
        return Done(state=study.state)
    view.refresh(connection, study.slots_version)

    def given(key: FitKey, attempts: int, copy: int) -> Claim:
        return _claim(view, key, worker_id=worker_id, token=token, n_folds=n_folds, attempts=attempts, copy=copy)

    def give(key: FitKey, attempts: int, copy: int) -> Claim:
        made = given(key, attempts, copy)
        kept = attempts if copy == 0 else 0
        leases.give(connection, study, made, service=service, attempts=kept, n_fits=len(made.keys))
        return made

    mine = leases.held(connection, study.id, token)
    if mine is not None:  # committed before, but the acknowledgement was lost
        return given(FitKey(mine.slot, mine.replicate, mine.fold), mine.attempts, mine.copy)
    plan = view.plan(closing=is_closing(study))
    if plan.done:
        return Done(state=study.state)
    rows = leases.of_fits(connection, study.id)
    for key in plan.fits:
        copies = rows.get(key, {})
        if any(leases.is_live(row, study.now) for row in copies.values()):
            continue
        expired = [row for row in copies.values() if row.worker_id is not None]
        if expired:
            _take_over(connection, study, expired, service)
            return Again()
        attempts = copies[0].attempts if 0 in copies else 0
        return give(key, attempts, 0)
    if plan.propose is not None:
        return Propose(plan.propose)
    late = _late(plan, rows, study.now, worker_id, view.median_seconds())
    if late is not None:
        return give(late, rows[late][0].attempts, 1)
    return Wait(reason="other workers are finishing this round")


def record(connection: Connection, given: Claim, results: Sequence[FoldResult]) -> bool:
    """Store all results of a claim, if its lease is still held; False if it was superseded. First write wins."""
    study = lock(connection, given.study_id)
    first = results[0].key
    where = [fold_results.c[name] == part for name, part in first._asdict().items()]
    there = connection.scalar(select(fold_results.c.token).where(fold_results.c.study_id == study.id, *where))
    if there is not None:
        return bool(there == given.token)  # ours: committed before, but the acknowledgement was lost
    if leases.held(connection, study.id, given.token) is None:
        return False
    common = {"study_id": study.id, "token": given.token}
    for result in results:
        connection.execute(insert(fold_results).values(**common, **result_values(result), recorded_at=now()))
    connection.execute(
        update(slots)
        .where(slots.c.study_id == study.id, slots.c.slot == first.slot)
        .values(n_results=slots.c.n_results + len(results))
    )
    leases.drop(connection, study.id, "fit", given.lease_key)
    if study.crashes_in_row:
        connection.execute(update(studies).where(studies.c.id == study.id).values(crashes_in_row=0))
    return True


def prune(connection: Connection, given: Claim, stopped: Stopped) -> bool:
    """An epoch pruner has ended the whole trial of this claim; False if the lease was lost."""
    study = lock(connection, given.study_id)
    if leases.held(connection, study.id, given.token) is None:
        slot = (slots.c.study_id == study.id, slots.c.slot == given.keys[0].slot)
        return connection.scalar(select(slots.c.stopped).where(*slot)) == stopped.reason
    touch_slots(
        connection,
        study,
        [given.keys[0].slot],
        stopped=stopped.reason,
        stopped_epochs=stopped.epochs,
        stopped_seconds=stopped.seconds,
        stopped_started=stopped.started_at,
    )
    leases.drop(connection, study.id, "fit", given.lease_key)
    return True


def claim_refit(
    connection: Connection, view: View, *, worker_id: int, token: str, service: ServiceConfig
) -> Claim | Wait | Done | Again:
    """The lease on the final refit, once no fit is wanted any more."""
    study = lock(connection, view.study_id)
    if study.state not in ("open", "closing"):
        return Done(state=study.state)
    view.refresh(connection, study.slots_version)
    if not view.plan(closing=is_closing(study)).done:
        return Wait(reason="the plan is not done")
    given = Claim(study_id=study.id, worker_id=worker_id, token=token, kind="refit", generation=study.generation)
    row = connection.execute(
        select(lease_table).where(lease_table.c.study_id == study.id, lease_table.c.kind == "refit")
    ).one_or_none()
    if row is not None and leases.is_live(row, study.now):
        return given if row.token == token else Wait(reason="another worker is refitting")
    if row is not None and row.worker_id is not None:
        if leases.lose(connection, study, row, reason="its worker vanished", service=service):
            return Done(state="failed")
        return Again()
    attempts = row.attempts if row is not None else 0
    leases.give(connection, study, given, service=service, attempts=attempts, n_fits=0)
    return given


def store_answer(connection: Connection, study_id: int, answer: Mapping[str, Any], given: Claim | None) -> bool:
    """Keep the answer and end the study; False if the lease was lost, or the study has grown meanwhile."""
    study = lock(connection, study_id)
    generation = study.generation if given is None else given.generation
    if given is not None and leases.held(connection, study_id, given.token) is None:
        return bool(study.answered_generation == generation == study.generation and study.state == "done")
    connection.execute(
        update(studies)
        .where(studies.c.id == study_id)
        .values(answer=json.dumps(dict(answer)), answered_generation=generation)
    )
    leases.drop(connection, study_id, "refit", FitKey(0, 0, 0))
    if generation != study.generation:
        return False
    if study.state in ("open", "closing"):
        set_state(connection, study_id, "done", study.reason)
    return True


def trial_id(connection: Connection, given: Claim) -> int | None:
    """Optuna's trial of a claimed λ, once the mirror has made it. Raises UnknownStudy for a deleted study."""
    where = (slots.c.study_id == given.study_id, slots.c.slot == given.keys[0].slot)
    row = connection.execute(select(slots.c.trial_id).where(*where)).one_or_none()
    if row is None:
        raise UnknownStudy(f"number {given.study_id}", names(connection))
    found: int | None = row.trial_id
    return found


def executed(connection: Connection, study_id: int) -> int:
    """Fold fits that were started and are not running now: finished ones, and all that were lost on the way."""
    started = connection.scalar(select(studies.c.executed).where(studies.c.id == study_id)) or 0
    held = lease_table.c.worker_id.is_not(None)
    running = connection.scalar(
        select(func.count()).where(lease_table.c.study_id == study_id, lease_table.c.kind == "fit", held)
    )
    return started - (running or 0)


def _claim(view: View, key: FitKey, *, worker_id: int, token: str, n_folds: int, attempts: int, copy: int) -> Claim:
    whole = key.fold == WHOLE
    lam = view.slot(key.slot).lam_over_m
    assert lam is not None, f"the plan wants slot {key.slot}, whose λ has not been proposed"
    return Claim(
        study_id=view.study_id,
        worker_id=worker_id,
        token=token,
        keys=tuple(key._replace(fold=fold) for fold in range(n_folds)) if whole else (key,),
        lam_over_m=lam,
        attempt=attempts + 1,
        copy=copy,
        whole=whole,
    )


def _take_over(connection: Connection, study: Row[Any], expired: Sequence[Row[Any]], service: ServiceConfig) -> None:
    for row in expired:
        who = f"{row.host}:{row.pid}" if row.host else "its worker"
        reason = f"{who} gave no sign of life for {service.grace_s:g} s"
        leases.lose(connection, lock(connection, study.id), row, reason=reason, service=service)


def _late(
    plan: PlanLike, rows: Mapping[FitKey, Mapping[int, Row[Any]]], at: float, worker_id: int, median_s: float | None
) -> FitKey | None:
    candidates = [
        (row.started, key)
        for key in plan.fits
        for copy, row in rows.get(key, {}).items()
        if copy == 0 and len(rows[key]) == 1 and row.worker_id != worker_id and leases.is_late(row, at, median_s)
    ]
    return min(candidates)[1] if candidates else None
