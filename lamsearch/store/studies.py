"""Studies and their slots: creating, resuming, growing, changing state, deleting: bodies of transactions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from sqlalchemy import Connection, Row, Select, bindparam, delete, insert, select, text, update

from lamsearch.config import StudyConfig, flatten, identity
from lamsearch.errors import StudyConflict, UnknownStudy
from lamsearch.records import BASELINE
from lamsearch.store.proposals import cohort_sizes, model_based, propose
from lamsearch.store.rows import STUDY, StudyRow, StudyState, study_row
from lamsearch.store.tables import SCHEMA_VERSION, fold_results, leases, now, slots, studies

SUBMIT_LOCK = 7_214_306_002
"""Key of PostgreSQL's advisory lock around the creation of a study."""

_FACT_KEYS = ("fingerprint", "m")
"""Facts that are part of a study's identity: the images, and the number of penalised weights."""

Origin = Literal["budget", "extend"]


def lock(connection: Connection, study_id: int) -> Row[Any]:
    """``read`` under the study's lock, which is held until the transaction ends. Raises UnknownStudy.

    On SQLite the transaction has the database's only write lock already.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(_lock, {"space": 7214306, "study": study_id})
    return read(connection, study_id)


def read(connection: Connection, study_id: int) -> Row[Any]:
    """The row of a study (with ``now``, and without the long texts), which may change at once. Raises UnknownStudy."""
    row = connection.execute(_by_id, {"study": study_id}).one_or_none()
    if row is None:
        raise UnknownStudy(f"number {study_id}", names(connection))
    return row


def names(connection: Connection) -> list[str]:
    """All study names."""
    return list(connection.scalars(select(studies.c.name)))


def by_name(connection: Connection, name: str) -> Row[Any]:
    """The row of a study, with the ids of Optuna's. Raises UnknownStudy."""
    row = connection.execute(_found.where(studies.c.name == name)).one_or_none()
    if row is None:
        raise UnknownStudy(name, names(connection))
    return row


def submit(connection: Connection, config: StudyConfig, facts: Mapping[str, Any]) -> StudyRow:
    """Create the study with its slots, or resume and grow it.

    Raises StudyConflict if identity keys, data or m differ. Submitting the same again adds nothing.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": SUBMIT_LOCK})
    row = connection.execute(_found.where(studies.c.name == config.name)).one_or_none()
    if row is None:
        study_id: int = connection.execute(
            insert(studies)
            .values(
                name=config.name,
                schema_version=SCHEMA_VERSION,
                config=config.model_dump_json(),
                facts=json.dumps(dict(facts)),
                state="open",
                created_at=now(),
            )
            .returning(studies.c.id)
        ).scalar_one()
        _add_slots(connection, study_id, [(BASELINE, 0, "baseline", 0.0)], version=1)
        _grow(connection, study_id, config)
        return study_row(by_name(connection, config.name))
    lock(connection, row.id)
    stored = study_row(row)
    differences = _differences(stored, config, facts)
    if differences:
        raise StudyConflict(config.name, differences)
    wanted = _grown(stored.config, config)
    grew = _grow(connection, row.id, wanted) > 0 or wanted.search != stored.config.search
    if grew:
        connection.execute(
            update(studies)
            .where(studies.c.id == row.id)
            .values(config=wanted.model_dump_json(), generation=studies.c.generation + 1)
        )
        if stored.state == "done":
            set_state(connection, row.id, "open", "")
    return study_row(by_name(connection, config.name))


def set_state(connection: Connection, study_id: int, state: StudyState, reason: str) -> None:
    """Change the state. Opening forgets the deadline and the crashes in a row."""
    values: dict[str, Any] = {"state": state, "reason": reason}
    if state == "open":
        values |= {"deadline": None, "crashes_in_row": 0}
    connection.execute(update(studies).where(studies.c.id == study_id).values(**values))


def touch_slots(connection: Connection, study: Row[Any], which: Iterable[int], **values: Any) -> None:
    """Change slots in a way that plans depend on: every process will read them again."""
    version = study.slots_version + 1
    connection.execute(
        update(slots)
        .where(slots.c.study_id == study.id, slots.c.slot.in_(list(which)))
        .values(version=version, **values)
    )
    connection.execute(update(studies).where(studies.c.id == study.id).values(slots_version=version))


def propose_values(connection: Connection, study: Row[Any], cohort: int, values: list[float]) -> None:
    """Fill in the λ's of a cohort, unless somebody has."""
    wanted = list(
        connection.scalars(
            select(slots.c.slot).where(slots.c.study_id == study.id, slots.c.cohort == cohort).order_by(slots.c.slot)
        )
    )
    version = study.slots_version + 1
    for slot, value in zip([slot for slot in wanted if slot != BASELINE], values, strict=True):
        connection.execute(
            update(slots)
            .where(slots.c.study_id == study.id, slots.c.slot == slot, slots.c.lam_over_m.is_(None))
            .values(lam_over_m=value, version=version)
        )
    connection.execute(update(studies).where(studies.c.id == study.id).values(slots_version=version))


def retry_failed(connection: Connection, study_id: int) -> int:
    """Give failed slots their attempts back and reopen the study; how many there were.

    All their leases go, also those of other folds: one may be held by a worker that died, and would be held against the
    slot when it runs out. One that lives and still trains such a fold finds itself superseded.
    """
    study = lock(connection, study_id)
    failed = list(
        connection.scalars(select(slots.c.slot).where(slots.c.study_id == study_id, slots.c.failed.is_not(None)))
    )
    if failed:
        mine = (leases.c.study_id == study_id, leases.c.kind == "fit", leases.c.slot.in_(failed))
        connection.execute(delete(leases).where(*mine))
        touch_slots(connection, study, failed, failed=None)
        connection.execute(update(studies).where(studies.c.id == study_id).values(generation=studies.c.generation + 1))
        set_state(connection, study_id, "open", "")
    return len(failed)


def delete_rows(connection: Connection, study_id: int) -> None:
    """Remove everything of ours."""
    lock(connection, study_id)
    for table in (leases, fold_results, slots):
        connection.execute(delete(table).where(table.c.study_id == study_id))
    connection.execute(delete(studies).where(studies.c.id == study_id))


def _differences(stored: StudyRow, config: StudyConfig, facts: Mapping[str, Any]) -> dict[str, tuple[object, object]]:
    old, new = identity(stored.config), identity(config)
    found = {key: (old.get(key), new.get(key)) for key in {**old, **new} if old.get(key) != new.get(key)}
    for key in _FACT_KEYS:
        if key in facts and stored.facts.get(key) != facts[key]:
            found[f"data {key}" if key == "fingerprint" else key] = (stored.facts.get(key), facts[key])
    return found


def _grown(stored: StudyConfig, asked: StudyConfig) -> StudyConfig:
    """The asked settings, but never fewer λ's than there are: a budget once granted is not taken back."""
    extend = (*stored.search.extend, *(lam for lam in asked.search.extend if lam not in stored.search.extend))
    trials = max(stored.search.trials, asked.search.trials)
    # 1 is what is asked by asking for nothing: it takes no replicates back.
    replicates = stored.search.replicates if asked.search.replicates == 1 else asked.search.replicates
    grown = {"search.trials": trials, "search.extend": extend, "search.replicates": replicates}
    flat = {**flatten(asked), **grown}
    search = {key.partition(".")[2]: value for key, value in flat.items() if key.startswith("search.")}
    return StudyConfig.model_validate({**asked.model_dump(), "search": search})


def _grow(connection: Connection, study_id: int, config: StudyConfig) -> int:
    """Add the slots that ``config`` asks for beyond those there are, in new cohorts; how many."""
    there = connection.execute(
        select(slots.c.slot, slots.c.cohort, slots.c.origin, slots.c.lam_over_m).where(slots.c.study_id == study_id)
    ).all()
    n_budget = sum(row.origin == "budget" for row in there)
    known = {row.lam_over_m for row in there if row.origin == "extend"}
    extend: list[tuple[Origin, float | None]] = [("extend", lam) for lam in config.search.extend if lam not in known]
    budget: list[tuple[Origin, float | None]] = [
        ("budget", _lam(config, position)) for position in range(n_budget, config.search.trials)
    ]
    slot = max(row.slot for row in there) + 1
    cohort = max((row.cohort for row in there if row.slot != BASELINE), default=-1) + 1
    rows: list[tuple[int, int, str, float | None]] = []
    new = budget + extend
    for size in cohort_sizes(config.search, len(new)):
        rows += [(slot + i, cohort, *new[i]) for i in range(size)]
        new, slot, cohort = new[size:], slot + size, cohort + 1
    if rows:
        version = connection.scalar(select(studies.c.slots_version).where(studies.c.id == study_id)) or 0
        _add_slots(connection, study_id, rows, version + 1)
    return len(rows)


def _lam(config: StudyConfig, position: int) -> float | None:
    looks_at_results = model_based(config.search) and position >= cohort_sizes(config.search, config.search.trials)[0]
    return None if looks_at_results else propose(config.search, position)


def _add_slots(
    connection: Connection, study_id: int, rows: list[tuple[int, int, str, float | None]], version: int
) -> None:
    connection.execute(
        insert(slots),
        [
            {
                "study_id": study_id,
                "slot": slot,
                "cohort": cohort,
                "origin": origin,
                "lam_over_m": lam,
                "version": version,
            }
            for slot, cohort, origin, lam in rows
        ],
    )
    connection.execute(update(studies).where(studies.c.id == study_id).values(slots_version=version))


_lock = text("SELECT pg_advisory_xact_lock(:space, :study)")
_LONG = ("config", "facts", "answer", "looks")
_short = (column for column in studies.c if column.name not in _LONG)
_by_id: Select[Any] = select(*_short, now().label("now")).where(studies.c.id == bindparam("study"))
_found: Select[Any] = select(*STUDY, studies.c.optuna_study_id, studies.c.optuna_baseline_id)
