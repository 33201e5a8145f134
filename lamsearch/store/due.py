"""Which fit a worker is to be given, or why none: it reads, and writes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row

from lamsearch.config import ServiceConfig
from lamsearch.records import FitKey
from lamsearch.store import leases
from lamsearch.store.rows import Done, Wait
from lamsearch.store.view import PlanLike, View


@dataclass(frozen=True)
class Propose:
    """The λ's of this cohort must be proposed first, outside the transaction: it may take a second."""

    cohort: int


@dataclass(frozen=True, kw_only=True)
class Fit:
    """What may be claimed. ``row``: where the lease is kept, if there is a row. ``held``: by this claim, already."""

    key: FitKey
    copy: int
    attempts: int
    row: Row[Any] | None
    held: bool = False


@dataclass(frozen=True, kw_only=True)
class Expired:
    """Leases of a wanted fit whose time is over."""

    rows: Sequence[Row[Any]]


@dataclass(frozen=True, kw_only=True)
class Asker:
    """Who asks for work, with what picture of the study."""

    view: View
    worker_id: int
    n_folds: int
    service: ServiceConfig


def is_closing(study: Row[Any]) -> bool:
    """Only what a provisional answer needs is still wanted: somebody said so, or time is up."""
    return study.state == "closing" or (study.deadline is not None and study.now >= study.deadline)


def decide(  # noqa: PLR0911 - one return for each thing that a worker may be told
    connection: Connection, study: Row[Any], asker: Asker, token: str
) -> Fit | Expired | Wait | Done | Propose:
    """What a claim with ``token`` meets. Certain only under the study's lock."""
    if study.state not in ("open", "closing"):
        return Done(state=study.state)
    view = asker.view
    view.refresh(connection, study.slots_version)
    rows = leases.of_fits(connection, study.id)
    for key, copies in rows.items():
        for copy, row in copies.items():
            if row.token == token:  # committed before, but the acknowledgement was lost
                return Fit(key=key, copy=copy, attempts=row.attempts, row=row, held=True)
    plan = view.plan(closing=is_closing(study))
    if plan.done:
        return Done(state=study.state)
    for key in plan.fits:
        copies = rows.get(key, {})
        if any(leases.is_live(row, study.now) for row in copies.values()):
            continue
        expired = [row for row in copies.values() if row.worker_id is not None]
        if expired:
            return Expired(rows=expired)
        unheld = copies.get(0)
        return Fit(key=key, copy=0, attempts=unheld.attempts if unheld else 0, row=unheld)
    if plan.propose is not None:
        return Propose(plan.propose)
    late = _late(connection, plan, rows, study, asker)
    if late is None:
        return Wait(reason="other workers are finishing this round")
    return Fit(key=late, copy=1, attempts=rows[late][0].attempts, row=rows[late].get(1))


def _late(
    connection: Connection,
    plan: PlanLike,
    rows: Mapping[FitKey, Mapping[int, Row[Any]]],
    study: Row[Any],
    asker: Asker,
) -> FitKey | None:
    """The fit of another worker that has been going on for the longest, if that is too long."""
    known, median_s = leases.holders(connection, study.id), asker.view.median_seconds()
    late = [
        (row.started, key)
        for key in plan.fits
        for copy, row in rows.get(key, {}).items()
        if copy == 0 and len(rows[key]) == 1 and row.worker_id != asker.worker_id
        if leases.is_late(row, known.get(row.worker_id), study.now, median_s)
    ]
    return min(late)[1] if late else None
