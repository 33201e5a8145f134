"""Optuna's copy, and the verdict in the dashboard, kept up to date by one worker: seldom enough to cost little."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from lamsearch import dossier
from lamsearch.errors import LamsearchError, UnknownStudy
from lamsearch.store import Store, StudyRow

VERDICT_EVERY_S = 60.0
"""How often the dashboard's verdict and curve are refreshed while a study runs, at most."""

MIRROR_SHARE = 50
"""Optuna's copy is brought up to date this many of its own durations apart: about 2 % of a long study."""

LOOK_S = 10.0
"""How long a worker that has left the copy to another one does not ask again."""

FINISH_S = 60.0
"""How long a worker that has nothing else to do waits for copies that another one is writing."""


class Mirroring:
    """Optuna's copy as one worker sees it. A copy that fails is said, and costs nobody a result."""

    def __init__(self, store: Store, worker_id: int, say: Callable[[str], None]) -> None:
        self.store, self.worker_id, self._say = store, worker_id, say
        self._whole: set[int] = set()
        self._refitting: set[int] = set()
        self._next_mirror = 0.0
        self._next_verdict = time.monotonic() + VERDICT_EVERY_S
        self._waiting_since: float | None = None
        self._said = ""

    @property
    def due(self) -> bool:
        """The next ``bring`` may be a pass, and take a while."""
        return time.monotonic() >= self._next_mirror

    def bring(self, study: StudyRow, *, now: bool = False) -> bool:
        """Bring the copy of ``study`` up to date, and now and then the dashboard's verdict.

        False if that is left to another worker, or to a later call.
        """
        self._whole.discard(study.id)
        self._refitting.discard(study.id)
        if not now and not self.due:
            return False
        began = time.monotonic()
        verdict = now or began >= self._next_verdict
        whole = self._pass(study, partial(self._publish, study) if verdict else None, in_turn=not now)
        took = time.monotonic() - began
        self._next_mirror = time.monotonic() + max(0.0 if whole else LOOK_S, MIRROR_SHARE * took)
        if verdict:
            self._next_verdict = time.monotonic() + max(VERDICT_EVERY_S, MIRROR_SHARE * took)
        return whole

    def bring_meanwhile(self, study: StudyRow) -> None:
        """Bring the copy up to date, once, while another worker refits: nothing else is to be done, so it is free."""
        if study.id not in self._refitting:
            self._refitting.add(study.id)
            self._pass(study, None, in_turn=False)

    def finished(self, wanted: Callable[[StudyRow], bool]) -> bool:
        """Finish the copies of ``wanted`` studies that are done, if their last writer died.

        False while another worker is at it, but not for longer than ``FINISH_S``.
        """
        behind = [row for row in self.store.behind() if row.id not in self._whole and wanted(row)]
        done = {row.id for row in behind if self.bring(row, now=True)}
        self._whole |= done
        self._waiting_since = self._waiting_since or time.monotonic()
        if time.monotonic() - self._waiting_since > FINISH_S:
            self._whole |= {row.id for row in behind}
        if any(row.id not in self._whole for row in behind):
            return False
        self._waiting_since = None
        return True

    def _pass(self, study: StudyRow, publish: Callable[[Any], None] | None, *, in_turn: bool) -> bool:
        try:
            return self.store.mirror(study.id, self.worker_id, then=publish, in_turn=in_turn)
        except LamsearchError:
            raise  # the storage is away, or full: that concerns the results too
        except Exception as error:
            line = f"{study.name}: Optuna's copy could not be brought up to date: {type(error).__name__}: {error}"
            if line != self._said:
                self._say(line)
            self._said = line
            return False

    def _publish(self, study: StudyRow, optuna: Any) -> None:
        from lamsearch import dashboard  # noqa: PLC0415 - plotly and optuna-dashboard: a second, and seldom

        try:
            answer = dossier.current_answer(self.store, self.store.study(study.name))
            if answer is not None:
                dashboard.publish(optuna, study.name, answer)
        except UnknownStudy:
            pass  # deleted, here or in the dashboard: nothing to show it to
