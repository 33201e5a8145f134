"""``Store``: one database, as the rest of lamsearch sees it. Each method is a few short transactions, tried again."""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, update

from lamsearch.errors import UnknownStudy
from lamsearch.records import BASELINE, FoldResult, Stopped
from lamsearch.store import claims, fleet, leases, studies, tables
from lamsearch.store.catalogue import Catalogue
from lamsearch.store.engine import NoTables
from lamsearch.store.proposals import propose_cohort
from lamsearch.store.rows import Claim, Done, StudyRow, Wait, WorkerInfo, WorkerRow
from lamsearch.store.view import View

if TYPE_CHECKING:
    from optuna.storages import RDBStorage


class Store(Catalogue):
    """One per process; thread-safe.

    Raises InputError at once for a database that cannot be used; later StorageFull or StorageUnavailable.
    """

    # Work

    def register(self, info: WorkerInfo) -> int:
        """A number for this worker."""
        self.database.write(tables.create)
        worker_id = self.database.write(lambda connection: fleet.register(connection, info, self.service.beat_s))
        self._own.add(worker_id)
        return worker_id

    def workers(self) -> list[WorkerRow]:
        """Registered workers, the latest first."""
        try:
            return self._read(lambda connection: fleet.listed(connection, self.service.grace_s))
        except NoTables:
            return []

    def claim(self, study_id: int, worker_id: int) -> Claim | Wait | Done:
        """A lease on the first fit that is wanted and that nobody holds. A study that was deleted has stopped."""
        try:
            return self._claim(study_id, worker_id)
        except UnknownStudy:
            return Done(state="stopped")

    def _claim(self, study_id: int, worker_id: int) -> Claim | Wait | Done:
        token = uuid.uuid4().hex
        with self._view_lock:
            view, row = self._warm(study_id)
            n_folds = row.config.search.folds
            body = partial(
                claims.claim, view=view, worker_id=worker_id, token=token, n_folds=n_folds, service=self.service
            )
            while True:
                found = self.database.write(body)
                if isinstance(found, claims.Propose):
                    self._propose(view, row, found.cohort)
                elif not isinstance(found, claims.Again):
                    return self._keep(found)

    def record(self, claim: Claim, *results: FoldResult) -> bool:
        """Store the results of a claim (all its folds at once); False if it was superseded: discard and go on."""
        try:
            return self.database.write(lambda connection: claims.record(connection, claim, results))
        except UnknownStudy:
            return False
        finally:
            self._tokens.discard(claim.token)

    def prune(self, claim: Claim, stopped: Stopped) -> bool:
        """End the whole trial of a claim on the word of an epoch pruner; False if it was superseded."""
        try:
            return self.database.write(lambda connection: claims.prune(connection, claim, stopped))
        except UnknownStudy:
            return False
        finally:
            self._tokens.discard(claim.token)

    def release(self, claim: Claim) -> None:
        """Give a claim back unfinished; no attempt is counted."""
        self.database.write(lambda connection: leases.release(connection, claim))
        self._tokens.discard(claim.token)

    def crashed(self, claims: Sequence[Claim], reason: str) -> None:
        """Work on claims of one study, together, raised an error: one attempt of each, the reason kept.

        However many they were, it is one crash; too many in a row end the study.
        """
        try:
            self.database.write(lambda connection: leases.crashed(connection, claims, reason, self.service))
        except UnknownStudy:
            pass
        finally:
            self._tokens.difference_update(claim.token for claim in claims)

    def beat(self, worker_id: int) -> frozenset[str]:
        """Prolong all leases of this process; the tokens of those that are lost."""
        tokens, grace_s = frozenset(self._tokens), self.service.grace_s
        return self.database.write(lambda connection: leases.extend(connection, worker_id, tokens, grace_s))

    def free_worker(self, worker_id: int, *, reason: str = "its worker process died") -> int:
        """Take all leases of a worker that is gone; how many. Each costs its fit an attempt, with ``reason``.

        No attempt is counted if ``reason`` is empty (the database was away, say), or if the worker is this process
        itself, leaving in order.
        """
        reason = "" if worker_id in self._own else reason
        held = self.database.read(lambda connection: leases.studies_of(connection, worker_id))
        freed = 0
        for study_id in held:
            body = partial(leases.free, study_id=study_id, worker_id=worker_id, reason=reason, service=self.service)
            freed += self.database.write(body)
        self.database.write(lambda connection: fleet.leave(connection, worker_id))
        return freed

    # The end of a study

    def claim_refit(self, study_id: int, worker_id: int) -> Claim | None:
        """The lease on the final refit, once the plan is done; None while another worker has it, or if it is done."""
        token = uuid.uuid4().hex
        with self._view_lock, contextlib.suppress(UnknownStudy):
            view, _ = self._warm(study_id)
            body = partial(claims.claim_refit, view=view, worker_id=worker_id, token=token, service=self.service)
            while isinstance(found := self.database.write(body), claims.Again):
                pass
            self._keep(found)
            return found if isinstance(found, Claim) else None
        return None

    def store_answer(self, study_id: int, answer: Mapping[str, Any], claim: Claim | None = None) -> bool:
        """Keep the answer; the study is done. False if the claim was lost, or the study has grown meanwhile."""
        try:
            return self.database.write(lambda connection: claims.store_answer(connection, study_id, answer, claim))
        finally:
            if claim is not None:
                self._tokens.discard(claim.token)

    def add_look(self, study_id: int, look: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Note a scoring on the test set, unless that ``lam_over_m`` and ``protocol`` are known; all of them."""

        def body(connection: Connection) -> list[dict[str, Any]]:
            study = studies.lock(connection, study_id)
            known: list[dict[str, Any]] = json.loads(study.looks)
            what = (look["lam_over_m"], look["protocol"])
            if all((old["lam_over_m"], old["protocol"]) != what for old in known):
                known.append(dict(look))
                where = tables.studies.c.id == study_id
                connection.execute(update(tables.studies).where(where).values(looks=json.dumps(known)))
            return known

        return self.database.write(body)

    # Optuna's copy

    def mirror(
        self,
        study_id: int,
        worker_id: int | None = None,
        *,
        then: Callable[[RDBStorage], None] | None = None,
        in_turn: bool = False,
    ) -> bool:
        """Bring Optuna's trials up to date. False if another process is at it: call again when it matters.

        ``then(storage)`` may write more of Optuna's copy, such as the verdict for the dashboard: one process at a time.
        ``in_turn``: leave it to the worker that did it a moment ago, which has Optuna loaded.
        """
        another = partial(fleet.mirrored_by_another, study_id=study_id, worker_id=worker_id)
        if in_turn and self.database.read(another):
            return False
        with self._mirror_lock, contextlib.suppress(UnknownStudy):
            mirror, token = self._optuna(), uuid.uuid4().hex
            with self._view_lock:
                view, _ = self._warm(study_id)
                body = partial(mirror.begin, view=view, worker_id=worker_id, token=token)
                work = self.database.write(body)
            return work is not None and mirror.run(work, then)
        return True  # deleted: nothing to show

    def judge(self, claim: Claim, epoch: int, mean: float) -> str | None:
        """Report the mean score over the folds after ``epoch`` (from 1) to Optuna; its pruner's reason to stop, if any.

        The baseline is never pruned.
        """
        if claim.keys[0].slot == BASELINE:
            return None
        with self._view_lock:
            _, row = self._view(claim.study_id)
        while (trial_id := self.database.read(lambda connection: claims.trial_id(connection, claim))) is None:
            if not self.mirror(claim.study_id, claim.worker_id):
                time.sleep(self.service.poll_s)
        with self._mirror_lock:
            return self._optuna().judge(row, trial_id, epoch, mean)

    def _propose(self, view: View, row: StudyRow, cohort: int) -> None:
        values = propose_cohort(row.config.search, cohort, view.table())

        def body(connection: Connection) -> None:
            studies.propose_values(connection, studies.lock(connection, row.id), cohort, values)

        self.database.write(body)

    def _keep(self, found: Claim | Wait | Done) -> Claim | Wait | Done:
        if isinstance(found, Claim):
            self._tokens.add(found.token)
        return found
