"""Optuna's trials, brought up to date from our tables: idempotent, in fold order, by one process at a time.

Nothing is read back. A death at any point leaves a trial that the next pass completes: a trial is created whole, with
its slot as an attribute, so one that was never noted in our tables is found again by its number.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial

import optuna
from optuna.storages import RDBStorage
from sqlalchemy import Connection

from lamsearch.pruner import epoch_pruner
from lamsearch.store import backlog, optuna_study
from lamsearch.store.backlog import Backlog
from lamsearch.store.engine import Database
from lamsearch.store.optuna_study import Shown
from lamsearch.store.passes import Pass, introduce, lease_s
from lamsearch.store.rows import StudyRow
from lamsearch.store.view import View


class Mirror:
    """Keeps Optuna's copy of the studies of one database. Not thread-safe: ``Store`` holds a lock."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._storage: RDBStorage | None = None
        self._shown: dict[int, Shown] = {}

    @property
    def storage(self) -> RDBStorage:
        """Optuna's storage, opened at the first use: ``prepare`` has made its tables."""
        if self._storage is None:
            self._storage = optuna_study.open_storage(self.database, create=False)
        return self._storage

    def close(self) -> None:
        """Close Optuna's connections."""
        if self._storage is not None:
            self._storage.remove_session()
            self._storage.engine.dispose()

    def prepare(self, name: str) -> None:
        """Make Optuna's tables if need be, and refuse a name that a foreign study holds, before anything is written."""
        if self._storage is None:
            self._storage = optuna_study.open_storage(self.database, create=True)
        self.database.retrying(lambda: optuna_study.refuse_foreign(self.storage, name))

    def introduce(self, study: StudyRow) -> tuple[int, int]:
        """Make Optuna's studies, the baseline's too. Repeating it changes nothing."""
        return introduce(self.database, self.storage, study)

    def delete(self, ids: tuple[int | None, ...]) -> None:
        """Delete Optuna's studies."""
        for study_id in ids:
            if study_id is not None:
                self.database.retrying(partial(optuna_study.delete_study, self.storage, study_id))

    def begin(self, connection: Connection, *, view: View, worker_id: int | None, token: str) -> Backlog | None:
        """What a pass would have to do; None if another process is at it. The body of a transaction."""
        return backlog.begin(connection, view, worker_id, token, lease_s(self.database.service))

    def run(self, work: Backlog, then: Callable[[RDBStorage], None] | None = None) -> bool:
        """One pass. False if another process has taken over, or something is left: call again later.

        ``then`` is called after a whole pass, while no other process writes Optuna's copy; again if it fails once.
        """
        try:
            done = self._pass(work)
            if done and then is not None:
                self.database.retrying(lambda: then(self.storage))
            return done
        finally:
            self.database.write(lambda connection: backlog.end(connection, work.token))

    def _pass(self, work: Backlog) -> bool:
        if not work.slots and None not in work.optuna_ids:
            return True
        try:
            return Pass(self.database, self.storage, work, self._shown).run()
        except KeyError:
            return False  # a trial or study was deleted meanwhile, in the dashboard or here; the next pass sees that

    def judge(self, study: StudyRow, trial_id: int, epoch: int, mean: float) -> str | None:
        """Report an epoch (``mean``: higher is better) and ask the study's epoch pruner; its reason to stop."""
        name, n_epochs = study.config.search.pruner, study.config.training.epochs

        def ask() -> bool:
            judged = optuna.load_study(
                study_name=study.name, storage=self.storage, pruner=epoch_pruner(name, n_epochs=n_epochs)
            )
            trial = optuna.trial.Trial(judged, trial_id)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a repeated fit reports its epochs again
                trial.report(optuna_study.sign(study.config) * mean, step=epoch)
            return trial.should_prune()

        return f"{name} after epoch {epoch}" if self.database.retrying(ask) else None
