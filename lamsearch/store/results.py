"""Results: what a worker hands in, under a lease that it still holds. Bodies of one short transaction each."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Integer, Row, bindparam, insert, select, update

from lamsearch.records import FitKey, FoldResult, Stopped
from lamsearch.store import leases
from lamsearch.store.rows import Claim, result_values
from lamsearch.store.studies import lock, set_state, touch_slots
from lamsearch.store.tables import fold_results, now, slots, studies


def record(connection: Connection, given: Claim, found: Sequence[FoldResult]) -> bool:
    """Store all results of a claim, if its lease is still held; False if it was superseded. First write wins."""
    return keep(connection, lock(connection, given.study_id), given, found)


def keep(connection: Connection, study: Row[Any], given: Claim, found: Sequence[FoldResult]) -> bool:
    """``record``, for a caller that holds the study's lock."""
    first = found[0].key
    rows = [{"study_id": study.id, "token": given.token, **result_values(result)} for result in found]
    if not leases.finish(connection, given):
        # It was lost; or committed before, and the acknowledgement was.
        place = {f"at_{name}": value for name, value in first._asdict().items()}
        token = connection.scalar(_token, {"study": study.id, **place})
        return bool(token == given.token)
    connection.execute(_result, rows)
    connection.execute(_counted, {"study": study.id, "at_slot": first.slot, "more": len(rows)})
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


_token = select(fold_results.c.token).where(
    fold_results.c.study_id == bindparam("study"),
    *(fold_results.c[name] == bindparam(f"at_{name}") for name in FitKey._fields),
)
_result = insert(fold_results).values(recorded_at=now())
_counted = (
    update(slots)
    .where(slots.c.study_id == bindparam("study"), slots.c.slot == bindparam("at_slot"))
    .values(n_results=slots.c.n_results + bindparam("more", type_=Integer()))
)
