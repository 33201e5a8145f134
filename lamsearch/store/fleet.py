"""Workers: who is there, and since when they have been silent. Bodies of short transactions."""

from __future__ import annotations

from sqlalchemy import Connection, insert, select, update

from lamsearch.store.rows import WorkerInfo, WorkerRow
from lamsearch.store.tables import now, workers

FORGET_S = 7 * 86400
"""Workers that left longer ago are not listed."""


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


def say(connection: Connection, worker_id: int, doing: str) -> None:
    """What the worker is doing, for ``status``."""
    connection.execute(update(workers).where(workers.c.id == worker_id).values(doing=doing, last_beat=now()))


def leave(connection: Connection, worker_id: int) -> None:
    """It has left, or was found dead."""
    connection.execute(update(workers).where(workers.c.id == worker_id).values(left=now(), doing=""))


def listed(connection: Connection, grace_s: float) -> list[WorkerRow]:
    """Workers that have not left, and those that left lately; the latest first."""
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
            doing=row.doing,
            started=row.started,
            last_beat=row.last_beat,
            age_s=max(0.0, row.age_s),
            alive=row.left is None and row.age_s < grace_s,
        )
        for row in rows
    ]
