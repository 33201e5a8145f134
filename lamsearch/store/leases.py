"""Leases: who may work on what, until when. Bodies of short transactions on our tables, on the database's clock.

A lease is a row with a token. It is held while the row shows the token; it may be taken over once it has expired, and
then the token is gone, which is how a worker that was paused finds out. Every function may be run a second time after
a commit whose acknowledgement was lost: the token tells what has happened already.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Connection, Double, Integer, Row, Select, bindparam, delete, exists, insert, select, text, update

from lamsearch.config import ServiceConfig
from lamsearch.records import FitKey
from lamsearch.store.rows import Claim
from lamsearch.store.studies import lock, set_state, touch_slots
from lamsearch.store.tables import leases, now, studies, workers

LATE_FACTOR = 2.0
"""A fit that runs longer than this many median fits may be given to a second worker, if that one is idle."""

LATE_FLOOR_S = 1.0
"""Shorter fits are not worth it."""


def of_fits(connection: Connection, study_id: int) -> dict[FitKey, dict[int, Row[Any]]]:
    """Lease rows by key and copy: the live ones, and those that only keep a number of attempts. They are few."""
    found: dict[FitKey, dict[int, Row[Any]]] = {}
    for row in connection.execute(_of_fits, {"study": study_id}):
        found.setdefault(FitKey(row.slot, row.replicate, row.fold), {})[row.copy] = row
    return found


def holders(connection: Connection, study_id: int) -> dict[int, Row[Any]]:
    """The workers that hold leases of a study, by number."""
    return {row.id: row for row in connection.execute(_holders, {"study": study_id})}


def is_live(row: Row[Any], at: float) -> bool:
    """Held, and not expired."""
    return row.worker_id is not None and row.expires > at


def is_late(row: Row[Any], holder: Row[Any] | None, at: float, median_s: float | None) -> bool:
    """Its worker has missed two beats, or it takes far longer than others did."""
    silent = holder is not None and at - holder.last_beat > 2 * holder.beat_s + LATE_FLOOR_S
    slow = median_s is not None and at - row.started > LATE_FACTOR * median_s + LATE_FLOOR_S
    return silent or slow


def give(connection: Connection, claim: Claim, *, unheld: Row[Any] | None, grace_s: float) -> None:
    """Write the lease of ``claim``, in place of the ``unheld`` row with the same key if there is one."""
    values = {"worker_id": claim.worker_id, "token": claim.token, "grace_s": grace_s}
    if unheld is None:
        key = {**claim.lease_key._asdict(), "copy": claim.copy}
        connection.execute(_new, {"study_id": claim.study_id, "kind": claim.kind, **key, **values})
    else:
        connection.execute(_again, {"lease": unheld.id, **values})
    if claim.keys:
        connection.execute(_begun, {"study": claim.study_id, "fits": len(claim.keys)})


def lose(connection: Connection, study: Row[Any], row: Row[Any], *, reason: str, service: ServiceConfig) -> bool:
    """Take the lease from a worker that crashed or died, and count the attempt; True if that was the last one.

    A database that was restarted while the lease ran takes the blame itself: then nothing is counted.
    """
    key = FitKey(row.slot, row.replicate, row.fold)
    if row.copy != 0 or _restarted_since(connection, row.started):
        connection.execute(delete(leases).where(leases.c.id == row.id, leases.c.attempts == 0))
        connection.execute(update(leases).where(leases.c.id == row.id).values(worker_id=None, token=None))
        return False
    attempts = row.attempts + 1
    connection.execute(
        update(leases)
        .where(leases.c.id == row.id)
        .values(worker_id=None, token=None, forgivable=row.token, attempts=attempts, last_reason=reason)
    )
    if attempts < service.max_attempts:
        return False
    words = f"{attempts} attempts at fold {row.fold + 1}" if row.fold >= 0 else f"{attempts} attempts"
    words += f" of replicate {row.replicate + 1}" if row.replicate else ""
    if row.kind == "refit":
        set_state(connection, study.id, "failed", f"refit: {attempts} attempts, the last: {reason}")
    else:
        touch_slots(connection, study, [key.slot], failed=f"{words}, the last: {reason}")
    return True


def held(connection: Connection, study_id: int, token: str) -> Row[Any] | None:
    """The lease that shows ``token``."""
    return connection.execute(
        select(leases).where(leases.c.study_id == study_id, leases.c.token == token)
    ).one_or_none()


def drop(connection: Connection, study_id: int, kind: str, key: FitKey) -> None:
    """Remove all copies: the work is done."""
    connection.execute(_drop, _place(study_id, kind, key))


def finish(connection: Connection, claim: Claim) -> bool:
    """Remove all copies of a lease that is still held: the work is done. False, and nothing removed, if it was lost."""
    place = _place(claim.study_id, claim.kind, claim.lease_key)
    return connection.execute(_finish, {**place, "mine": claim.token}).rowcount > 0


def release(connection: Connection, claim: Claim, *, begun: bool) -> None:
    """Give a lease back unfinished (a stop): no attempt is counted. Not ``begun``: it was no executed fit either."""
    mine = leases.c.token == claim.token
    given = connection.execute(delete(leases).where(mine, leases.c.attempts == 0)).rowcount
    given += connection.execute(update(leases).where(mine).values(worker_id=None, token=None)).rowcount
    if given and not begun:
        connection.execute(_begun, {"study": claim.study_id, "fits": -len(claim.keys)})


def crashed(connection: Connection, claims: Sequence[Claim], reason: str, service: ServiceConfig) -> None:
    """The work raised an error: one attempt of each fit. Many crashes in a row, of whatever fits, end the study."""
    study = lock(connection, claims[0].study_id)
    rows = [row for claim in claims if (row := held(connection, study.id, claim.token)) is not None]
    if not rows:
        return
    for row in rows:
        lose(connection, lock(connection, study.id), row, reason=reason, service=service)
    in_row = study.crashes_in_row + 1
    connection.execute(update(studies).where(studies.c.id == study.id).values(crashes_in_row=in_row))
    if in_row >= service.max_crashes and study.state in ("open", "closing"):
        set_state(connection, study.id, "failed", f"{in_row} crashes in a row, the last: {reason}")


def extend(connection: Connection, worker_id: int, tokens: Collection[str], grace_s: float) -> frozenset[str]:
    """The beat: prolong the leases with these tokens; those that are lost. Needs no lock but the rows' own.

    A worker that lost a lease and lives to tell did not die of it: the attempt is taken back.
    """
    connection.execute(update(workers).where(workers.c.id == worker_id).values(last_beat=now(), left=None))
    if not tokens:
        return frozenset()
    mine = leases.c.token.in_(list(tokens))
    connection.execute(update(leases).where(mine).values(expires=now() + grace_s))
    lost = frozenset(tokens) - frozenset(connection.scalars(select(leases.c.token).where(mine)))
    if lost:
        connection.execute(
            update(leases)
            .where(leases.c.forgivable.in_(list(lost)), leases.c.attempts > 0)
            .values(attempts=leases.c.attempts - 1, forgivable=None)
        )
    return lost


def studies_of(connection: Connection, worker_id: int) -> list[int]:
    """Studies in which a worker holds a lease."""
    return list(connection.scalars(select(leases.c.study_id).where(leases.c.worker_id == worker_id).distinct()))


def free(connection: Connection, study_id: int, worker_id: int, *, reason: str, service: ServiceConfig) -> int:
    """Take all leases of a dead worker; how many. ``reason`` empty: it left in order, and nothing is counted."""
    study = lock(connection, study_id)
    rows = connection.execute(
        select(leases).where(leases.c.study_id == study_id, leases.c.worker_id == worker_id)
    ).all()
    for row in rows:
        if row.kind == "mirror" or not reason:
            connection.execute(delete(leases).where(leases.c.id == row.id, leases.c.attempts == 0))
            connection.execute(update(leases).where(leases.c.id == row.id).values(worker_id=None, token=None))
        else:
            lose(connection, lock(connection, study.id), row, reason=reason, service=service)
    return len(rows)


def _restarted_since(connection: Connection, started: float) -> bool:
    if connection.dialect.name != "postgresql":
        return False
    begun = connection.scalar(text("SELECT CAST(extract(epoch FROM pg_postmaster_start_time()) AS double precision)"))
    return begun is not None and begun > started


def _place(study_id: int, kind: str, key: FitKey) -> dict[str, Any]:
    return {f"at_{name}": value for name, value in {"study_id": study_id, "kind": kind, **key._asdict()}.items()}


# Written out once: to build a statement takes longer than the database needs to answer it.

_of_fits = select(
    *(leases.c[name] for name in ("id", "kind", "slot", "replicate", "fold", "copy")),
    *(leases.c[name] for name in ("worker_id", "token", "started", "expires", "attempts")),
).where(leases.c.study_id == bindparam("study"), leases.c.kind == "fit")
_holders: Select[Any] = select(
    *(workers.c[name] for name in ("id", "host", "pid", "beat_s", "last_beat")),
).where(workers.c.id.in_(select(leases.c.worker_id).where(leases.c.study_id == bindparam("study"))))
_new = insert(leases).values(started=now(), expires=now() + bindparam("grace_s", type_=Double()))
_again = (
    update(leases)
    .where(leases.c.id == bindparam("lease"))
    .values(started=now(), expires=now() + bindparam("grace_s", type_=Double()))
)
_begun = (
    update(studies)
    .where(studies.c.id == bindparam("study"))
    .values(executed=studies.c.executed + bindparam("fits", type_=Integer()))
)
_there = [leases.c[name] == bindparam(f"at_{name}") for name in ("study_id", "kind", "slot", "replicate", "fold")]
_drop = delete(leases).where(*_there)
_own = leases.alias()
_held = (_own.c.study_id == bindparam("at_study_id"), _own.c.token == bindparam("mine"))
_finish = delete(leases).where(*_there, exists().where(*_held))
