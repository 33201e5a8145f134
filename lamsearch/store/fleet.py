"""Workers: who is there, and since when they have been silent. Bodies of short transactions."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Connection, and_, exists, insert, not_, select, update

from lamsearch.records import FitKey
from lamsearch.store.rows import WorkerInfo, WorkerRow, in_words
from lamsearch.store.tables import leases, now, slots, studies, workers

FORGET_S = 7 * 86400
"""Workers that left longer ago are not listed."""

TURN_S = 60.0
"""How long the worker that brought Optuna's copy up to date last goes on being the one to do it."""


def register(connection: Connection, info: WorkerInfo, beat_s: float) -> int:
    """The number of this worker; the same if the registration is repeated."""
    known = connection.scalar(select(workers.c.id).where(workers.c.uid == info.uid))
    if known is not None:
        return int(known)
    values = {"uid": info.uid, "host": info.host, "pid": info.pid, "device": info.device, "beat_s": beat_s}
    return int(
        connection.execute(
            insert(workers).values(**values, started=now(), last_beat=now()).returning(workers.c.id)
        ).scalar_one()
    )


def leave(connection: Connection, worker_id: int) -> None:
    """It has left, or was found dead."""
    connection.execute(update(workers).where(workers.c.id == worker_id, workers.c.left.is_(None)).values(left=now()))


def listed(connection: Connection, grace_s: float) -> list[WorkerRow]:
    """Workers that have not left, and those that left lately; the latest first."""
    doing = _doing(connection)
    rows = connection.execute(
        select(workers, (now() - workers.c.last_beat).label("age_s"))
        .where(workers.c.last_beat > now() - FORGET_S)
        .order_by(workers.c.id.desc())
    )
    return [
        WorkerRow(
            id=row.id,
            host=row.host,
            pid=row.pid,
            device=row.device,
            doing=", ".join(doing.get(row.id, ())),
            started=row.started,
            last_beat=row.last_beat,
            age_s=max(0.0, row.age_s),
            alive=row.left is None and row.age_s < grace_s,
            left=row.left is not None,
        )
        for row in rows
    ]


def _doing(connection: Connection) -> dict[int, list[str]]:
    """Worker → what it holds leases on, in words."""
    of = and_(slots.c.study_id == leases.c.study_id, slots.c.slot == leases.c.slot)
    held = select(leases, studies.c.name, slots.c.lam_over_m).join(studies, studies.c.id == leases.c.study_id)
    held = held.outerjoin(slots, of)
    found: dict[int, list[str]] = {}
    for row in connection.execute(held.where(leases.c.worker_id.is_not(None)).order_by(leases.c.id)):
        key = FitKey(row.slot, row.replicate, row.fold)
        words = in_words(key, row.lam_over_m) if row.kind == "fit" else row.kind
        found.setdefault(row.worker_id, []).append(f"{row.name}: {words}")
    return found


def mirrored_by_another(connection: Connection, study_id: int, worker_id: int | None) -> bool:
    """True if another worker brought Optuna's copy up to date less than ``TURN_S`` ago, and is still there."""
    return connection.scalar(select(studies.c.id).where(studies.c.id == study_id, _taken(worker_id))) is not None


def take_turn(connection: Connection, study_id: int, worker_id: int | None) -> bool:
    """Be the worker that brings Optuna's copy up to date; False if another one was quicker."""
    free = update(studies).where(studies.c.id == study_id, not_(_taken(worker_id)))
    return connection.execute(free.values(mirrored_by=worker_id, mirrored_at=now())).rowcount == 1


def _taken(worker_id: int | None) -> ColumnElement[bool]:
    there = and_(workers.c.id == studies.c.mirrored_by, workers.c.left.is_(None), workers.c.last_beat > now() - TURN_S)
    lately = and_(studies.c.mirrored_by != worker_id, studies.c.mirrored_at > now() - TURN_S)
    return and_(studies.c.mirrored_by.is_not(None), lately, exists().where(there))
