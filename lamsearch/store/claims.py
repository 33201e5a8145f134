"""Claims: what a worker asks for. Bodies of one short transaction each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, func, select

from lamsearch.config import ServiceConfig
from lamsearch.errors import UnknownStudy
from lamsearch.records import FitKey, FoldResult
from lamsearch.rules import WHOLE
from lamsearch.store import leases, results
from lamsearch.store.due import Asker, Expired, Fit, Propose, decide, is_closing
from lamsearch.store.rows import Claim, Done, Wait
from lamsearch.store.studies import lock, names, read
from lamsearch.store.tables import leases as lease_table
from lamsearch.store.tables import slots, studies
from lamsearch.store.view import View


@dataclass(frozen=True)
class Again:
    """Something was cleaned up on the way: commit it and ask again."""


def claim(connection: Connection, asker: Asker, token: str) -> Claim | Wait | Done | Propose | Again:
    """A lease on the first wanted fit that nobody holds."""
    return _next(connection, lock(connection, asker.view.study_id), asker, token)


def record_and_claim(
    connection: Connection,
    asker: Asker,
    done: Sequence[tuple[Claim, Sequence[FoldResult]]],
    tokens: Sequence[str],
) -> tuple[list[bool], list[Claim]]:
    """Store the results of claims (whether they were still held), and give a lease for each token, as far as fits go.

    One transaction: all of it happens, or nothing. The view has then seen what was written, so that its owner must
    forget it if the transaction fails.
    """
    study = lock(connection, asker.view.study_id)
    kept = [results.keep(connection, study, given, found) for given, found in done]
    claims: list[Claim] = []
    for token in tokens:
        found = _next(connection, study, asker, token)
        if not isinstance(found, Claim):
            break
        claims.append(found)
        if found.whole:
            break
    return kept, claims


def look(connection: Connection, asker: Asker) -> Wait | Done | None:
    """What a claim would be told if there is nothing to be had, else None. Takes no lock: who waits asks often."""
    found = decide(connection, read(connection, asker.view.study_id), asker, "")
    return found if isinstance(found, Wait | Done) else None


def _next(connection: Connection, study: Row[Any], asker: Asker, token: str) -> Claim | Wait | Done | Propose | Again:
    found = decide(connection, study, asker, token)
    if isinstance(found, Expired):
        _take_over(connection, study, found.rows, asker.service)
        return Again()
    if not isinstance(found, Fit):
        return found
    made = _claim(asker, found.key, token=token, attempts=found.attempts, copy=found.copy)
    if not found.held:
        leases.give(connection, made, unheld=found.row, grace_s=asker.service.grace_s)
    return made


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
    leases.give(connection, given, unheld=row, grace_s=service.grace_s)
    return given


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


def _claim(asker: Asker, key: FitKey, *, token: str, attempts: int, copy: int) -> Claim:
    whole = key.fold == WHOLE
    lam = asker.view.slot(key.slot).lam_over_m
    assert lam is not None, f"the plan wants slot {key.slot}, whose λ has not been proposed"
    return Claim(
        study_id=asker.view.study_id,
        worker_id=asker.worker_id,
        token=token,
        keys=tuple(key._replace(fold=fold) for fold in range(asker.n_folds)) if whole else (key,),
        lam_over_m=lam,
        attempt=attempts + 1,
        copy=copy,
        whole=whole,
    )


def _take_over(connection: Connection, study: Row[Any], expired: Sequence[Row[Any]], service: ServiceConfig) -> None:
    known = leases.holders(connection, study.id)
    for row in expired:
        who = f"{known[row.worker_id].host}:{known[row.worker_id].pid}" if row.worker_id in known else "its worker"
        reason = f"{who} gave no sign of life for {service.grace_s:g} s"
        leases.lose(connection, lock(connection, study.id), row, reason=reason, service=service)
