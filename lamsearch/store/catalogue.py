"""``Store``'s side for commands: studies, and what is known about them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Row, func, select, update

from lamsearch.config import StudyConfig
from lamsearch.errors import UnknownStudy
from lamsearch.records import FoldResult, ScoreTable
from lamsearch.store import claims, studies, tables
from lamsearch.store.base import Base
from lamsearch.store.engine import NoTables
from lamsearch.store.health import Health, health
from lamsearch.store.rows import STUDY, StudyRow, StudyState, fold_result, study_row
from lamsearch.store.view import PlanLike

RATE_OVER_S = 300.0
RATE_FITS = 3


class Catalogue(Base):
    """Creating, listing, reading and deleting studies."""

    def submit(self, config: StudyConfig, facts: Mapping[str, Any]) -> StudyRow:
        """Create the study, or resume and grow it. ``facts``: JSON values, with ``fingerprint``, ``m``, ``n_images``.

        Raises StudyConflict if the identity keys differ. A study that is done is opened again if it has grown, or if
        it had been ended by time. Repeating it adds nothing.
        """
        self.database.write(tables.create)
        with self._mirror_lock:
            self._optuna().prepare(config.name)
        row = self.database.write(lambda connection: studies.submit(connection, config, facts))
        self._views.pop(row.id, None)  # its configuration may have grown
        if self._row(row.name).optuna_study_id is None:
            with self._mirror_lock:
                self._optuna().introduce(row)
        if row.state == "done" and not self.plan(row.id).done:
            self.set_state(row.name, "open")
            row = self.study(row.name)
        return row

    def health(self) -> Health:
        """Version, clock and speed of the database. Raises InputError or StorageUnavailable."""
        return health(self.database)

    def studies(self) -> list[StudyRow]:
        """All studies, the oldest first. A new database has none."""

        def rows(connection: Connection) -> list[StudyRow]:
            return [study_row(row) for row in connection.execute(select(*STUDY).order_by(tables.studies.c.id))]

        try:
            return self._read(rows)
        except NoTables:
            return []

    def behind(self) -> list[StudyRow]:
        """Studies that are done, but Optuna's copy does not show every λ's end: time was up, or its writer died."""
        slot, study = tables.slots.c, tables.studies.c
        untold = select(slot.study_id).where(slot.told.is_(None), slot.lam_over_m.is_not(None))
        query = select(*STUDY).where(study.state == "done", study.id.in_(untold)).order_by(study.id)
        return self.database.read(lambda connection: [study_row(row) for row in connection.execute(query)])

    def study(self, name: str) -> StudyRow:
        """One study. Raises UnknownStudy."""
        return study_row(self._row(name))

    def set_state(self, name: str, state: StudyState, reason: str = "") -> None:
        """Change the state. ``open`` also forgets the deadline and earlier crashes."""

        row = self._row(name)

        def change(connection: Connection) -> None:
            studies.lock(connection, row.id)
            studies.set_state(connection, row.id, state, reason)

        self.database.write(change)

    def set_deadline(self, name: str, seconds: float | None) -> None:
        """From so many seconds on, only what a sound provisional answer needs is still fitted; None: no limit."""
        columns = tables.studies.c

        def change(connection: Connection) -> None:
            deadline = None if seconds is None else tables.now() + seconds
            connection.execute(update(tables.studies).where(columns.name == name).values(deadline=deadline))

        self._row(name)
        self.database.write(change)

    def retry_failed(self, study_id: int) -> int:
        """Give failed λ's their attempts back; how many there were. They reopen the study."""
        return self.database.write(lambda connection: studies.retry_failed(connection, study_id))

    def delete(self, name: str) -> None:
        """Remove the study, Optuna's copy of it and the baseline's companion. Raises UnknownStudy."""
        row = self._row(name)
        self.set_state(name, "stopped", "it is being deleted")
        with self._mirror_lock:
            self._optuna().delete((row.optuna_study_id, row.optuna_baseline_id))
        try:
            self.database.write(lambda connection: studies.delete_rows(connection, row.id))
        except UnknownStudy:
            raise UnknownStudy(name, self.database.read(studies.names)) from None
        self._views.pop(row.id, None)

    def _row(self, name: str) -> Row[Any]:
        try:
            return self._read(lambda connection: studies.by_name(connection, name))
        except NoTables:
            raise UnknownStudy(name, []) from None

    def table(self, study_id: int) -> ScoreTable:
        """Slots and scores; read incrementally."""
        with self._view_lock:
            return self._refreshed(study_id).table()

    def plan(self, study_id: int, *, closing: bool = False) -> PlanLike:
        """The plan for the present table."""
        with self._view_lock:
            return self._refreshed(study_id).plan(closing=closing)

    def results(self, study_id: int) -> tuple[FoldResult, ...]:
        """All fold results, whole, by slot, replicate and fold."""
        columns = tables.fold_results.c
        query = select(tables.fold_results).where(columns.study_id == study_id)
        ordered = query.order_by(columns.slot, columns.replicate, columns.fold)
        return self.database.read(lambda connection: tuple(fold_result(row) for row in connection.execute(ordered)))

    def rate(self, study_id: int) -> float | None:
        """Fold fits per second during the last minutes, over all workers; None if there were too few."""
        recorded = tables.fold_results.c.recorded_at
        query = select(func.count(), tables.now() - func.min(recorded)).where(
            tables.fold_results.c.study_id == study_id, recorded > tables.now() - RATE_OVER_S
        )
        n, seconds = self.database.read(lambda connection: connection.execute(query).one())
        return (n - 1) / seconds if n >= RATE_FITS and seconds > 0 else None

    def executed(self, study_id: int) -> int:
        """Fold fits started and no longer running, repeats after faults included."""
        return self.database.read(lambda connection: claims.executed(connection, study_id))

    def answer(self, study_id: int) -> dict[str, Any] | None:
        """The latest stored answer; of an earlier, smaller budget if ``StudyRow.answered`` is False."""
        query = select(tables.studies.c.answer).where(tables.studies.c.id == study_id)
        text = self.database.read(lambda connection: connection.scalar(query))
        return None if text is None else dict(json.loads(text))

    def looks(self, study_id: int) -> list[dict[str, Any]]:
        """Every scoring on the test set so far, in order."""
        query = select(tables.studies.c.looks).where(tables.studies.c.id == study_id)
        return list(json.loads(self.database.read(lambda connection: connection.scalar(query)) or "[]"))
