"""``Store``: one database, as the rest of lamsearch sees it. Each method is a few short transactions, tried again."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, select, update

from lamsearch.errors import UnknownStudy
from lamsearch.records import FoldResult, Stopped
from lamsearch.store import claims, due, fleet, leases, results, studies, tables
from lamsearch.store.copying import Copying
from lamsearch.store.engine import NoTables
from lamsearch.store.proposals import propose_cohort
from lamsearch.store.rows import Claim, Done, StudyRow, Wait, WorkerInfo, WorkerRow
from lamsearch.store.view import View

if TYPE_CHECKING:
    pass


class Store(Copying):
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
            nothing = self._look(study_id, worker_id) if study_id in self._waiting else None
            found = nothing or self._claim(study_id, worker_id, uuid.uuid4().hex)
        except UnknownStudy:
            return Done(state="stopped")
        (self._waiting.add if isinstance(found, Wait) else self._waiting.discard)(study_id)
        return found

    def _look(self, study_id: int, worker_id: int) -> Wait | Done | None:
        with self._view_lock:
            asker, _ = self._asker(study_id, worker_id)
            return self.database.read(partial(claims.look, asker=asker))

    def _claim(self, study_id: int, worker_id: int, token: str) -> Claim | Wait | Done:
        with self._view_lock:
            asker, row = self._asker(study_id, worker_id)
            while True:
                found = self.database.write(partial(claims.claim, asker=asker, token=token))
                if isinstance(found, due.Propose):
                    self._propose(asker.view, row, found.cohort)
                elif not isinstance(found, claims.Again):
                    return self._keep(found)

    def _asker(self, study_id: int, worker_id: int) -> tuple[due.Asker, StudyRow]:
        view, row = self._warm(study_id)
        n_folds = row.config.search.folds
        return due.Asker(view=view, worker_id=worker_id, n_folds=n_folds, service=self.service), row

    def record(self, claim: Claim, *found: FoldResult) -> bool:
        """Store the results of a claim (all its folds at once); False if it was superseded: discard and go on."""
        try:
            return self.database.write(lambda connection: results.record(connection, claim, found))
        except UnknownStudy:
            return False
        finally:
            self._tokens.discard(claim.token)

    def record_and_claim(
        self, done: Sequence[tuple[Claim, Sequence[FoldResult]]], n: int
    ) -> tuple[list[bool], list[Claim]]:
        """``record`` of claims of one study and one worker, and up to ``n`` new claims, in one transaction.

        If that fails, it is left at what each of them would have done by itself.
        """
        study_id, worker_id = done[0][0].study_id, done[0][0].worker_id
        tokens = [uuid.uuid4().hex for _ in range(n)]
        with self._view_lock, contextlib.suppress(UnknownStudy):
            asker, _ = self._asker(study_id, worker_id)
            shown = self._views.pop(study_id)  # if this fails, the picture shows what may not have happened
            both = self.database.write_once(lambda on: claims.record_and_claim(on, asker, done, tokens))
            if both is not None:
                self._views[study_id] = shown
                self._tokens.difference_update(claim.token for claim, _ in done)
                self._tokens.update(claim.token for claim in both[1])
                return both
        kept = [self.record(claim, *found) for claim, found in done]
        # With the same tokens: what was given, though nobody heard of it, is ours.
        return kept, list(self._claims(study_id, worker_id, tokens))

    def _claims(self, study_id: int, worker_id: int, tokens: Iterable[str]) -> Iterator[Claim]:
        with contextlib.suppress(UnknownStudy):
            for token in tokens:
                found = self._claim(study_id, worker_id, token)
                if not isinstance(found, Claim):
                    return
                yield found

    def prune(self, claim: Claim, stopped: Stopped) -> bool:
        """End the whole trial of a claim on the word of an epoch pruner; False if it was superseded."""
        try:
            return self.database.write(lambda connection: results.prune(connection, claim, stopped))
        except UnknownStudy:
            return False
        finally:
            self._tokens.discard(claim.token)

    def release(self, claim: Claim, *, begun: bool = True) -> None:
        """Give a claim back unfinished; no attempt is counted, and if it was not ``begun`` no execution."""
        self.database.write(lambda connection: leases.release(connection, claim, begun=begun))
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
            return self.database.write(lambda connection: results.store_answer(connection, study_id, answer, claim))
        finally:
            if claim is not None:
                self._tokens.discard(claim.token)

    def add_look(self, study_id: int, look: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Note a scoring on the test set, unless that ``lam_over_m`` and ``protocol`` are known; all of them."""

        def body(connection: Connection) -> list[dict[str, Any]]:
            studies.lock(connection, study_id)
            query = select(tables.studies.c.looks).where(tables.studies.c.id == study_id)
            known: list[dict[str, Any]] = json.loads(connection.execute(query).scalar_one())
            what = (look["lam_over_m"], look["protocol"])
            if all((old["lam_over_m"], old["protocol"]) != what for old in known):
                known.append(dict(look))
                where = tables.studies.c.id == study_id
                connection.execute(update(tables.studies).where(where).values(looks=json.dumps(known)))
            return known

        return self.database.write(body)

    def _propose(self, view: View, row: StudyRow, cohort: int) -> None:
        values = propose_cohort(row.config.search, cohort, view.table())

        def body(connection: Connection) -> None:
            studies.propose_values(connection, studies.lock(connection, row.id), cohort, values)

        self.database.write(body)

    def _keep(self, found: Claim | Wait | Done) -> Claim | Wait | Done:
        if isinstance(found, Claim):
            self._tokens.add(found.token)
        return found
