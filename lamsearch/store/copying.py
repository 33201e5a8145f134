"""``Store``'s side for Optuna's copy: bringing it up to date, and asking Optuna's pruners."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from lamsearch.errors import UnknownStudy
from lamsearch.records import BASELINE
from lamsearch.store import claims, fleet
from lamsearch.store.catalogue import Catalogue
from lamsearch.store.rows import Claim

if TYPE_CHECKING:
    from optuna.storages import RDBStorage


class Copying(Catalogue):
    """Our tables are the truth; Optuna's trials follow them."""

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
        if in_turn and not self._turn(study_id, worker_id):
            return False
        with self._mirror_lock, contextlib.suppress(UnknownStudy):
            mirror, token = self._optuna(), uuid.uuid4().hex
            with self._view_lock:
                view, _ = self._warm(study_id)
                body = partial(mirror.begin, view=view, worker_id=worker_id, token=token)
                work = self.database.write(body)
            return work is not None and mirror.run(work, then)
        return True  # deleted: nothing to show

    def _turn(self, study_id: int, worker_id: int | None) -> bool:
        """Whether it is this worker's turn. It is taken before Optuna is imported: a second of a core's time."""
        if self.database.read(lambda connection: fleet.mirrored_by_another(connection, study_id, worker_id)):
            return False
        return self.database.write(lambda connection: fleet.take_turn(connection, study_id, worker_id))

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
