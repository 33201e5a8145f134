"""One pass over what Optuna does not show yet: see ``mirror``."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from lamsearch.config import ServiceConfig
from lamsearch.records import BASELINE
from lamsearch.store import backlog, optuna_study
from lamsearch.store.backlog import Backlog
from lamsearch.store.engine import Database
from lamsearch.store.optuna_study import BASELINE_SUFFIX, Shown
from lamsearch.store.rows import StudyRow


def introduce(database: Database, storage: RDBStorage, study: StudyRow) -> tuple[int, int]:
    """Make Optuna's study and the baseline's, and note their ids, which are returned. Repeating it changes nothing."""
    config, m = study.config, int(study.facts["m"])
    names = (config.name, config.name + BASELINE_SUFFIX)
    make = partial(optuna_study.ensure_study, storage, config=config, m=m)
    main, companion = (database.retrying(partial(make, name)) for name in names)
    database.write(lambda connection: backlog.note_studies(connection, study.id, (main, companion)))
    return main, companion


def lease_s(service: ServiceConfig) -> float:
    """How long a pass may be silent: no longer than a worker may."""
    return min(backlog.LEASE_S, service.grace_s)


class Pass:
    """One pass over a backlog."""

    def __init__(self, database: Database, storage: RDBStorage, work: Backlog, memory: dict[int, Shown]) -> None:
        self.database, self.storage, self.work, self.memory = database, storage, work, memory
        self.study_id = work.study.id
        self.call = database.retrying
        self.seen = work.trials_seen
        self.lease_s = lease_s(database.service)
        self.renewed = time.monotonic()

    def run(self) -> bool:
        """False if something is left to a later pass, or the lease was lost."""
        ids = self._studies()
        if ids is None:
            return False
        rows = {row.slot: row for row in self.work.slots}
        results = self.database.read(lambda connection: backlog.results_of(connection, self.study_id, rows))
        wanted = {slot: backlog.shown(self.work, row, results.get(slot, [])) for slot, row in rows.items()}
        trials = {slot: row.trial_id for slot, row in rows.items() if row.trial_id is not None}
        trials |= self._trials_of({slot: shown for slot, shown in wanted.items() if slot not in trials}, *ids)
        progress = []
        for slot, trial_id in trials.items():
            if not self._held():
                return False
            try:
                self._bring(trial_id, wanted[slot])
            except KeyError:  # somebody has deleted it: the next pass makes another
                self.database.write(partial(backlog.forget_trials, study_id=self.study_id, slot=slot))
                return False
            ended = wanted[slot].state is not TrialState.RUNNING
            progress.append((slot, rows[slot].n_results, wanted[slot].state.name if ended else None))
        self.database.write(lambda connection: backlog.note_progress(connection, self.study_id, progress))
        return len(trials) == len(wanted)

    def _studies(self) -> tuple[int, int] | None:
        """The ids of the study and of the baseline's. None: one had been deleted, and both were made anew."""
        main, companion = self.work.optuna_ids
        if main is None or companion is None:
            return introduce(self.database, self.storage, self.work.study)
        if self._exists(main) and self._exists(companion):
            return main, companion
        for optuna_id in (main, companion):
            self.call(partial(optuna_study.delete_study, self.storage, optuna_id))
        self.database.write(lambda connection: backlog.forget_trials(connection, self.study_id))
        introduce(self.database, self.storage, self.work.study)
        return None

    def _exists(self, optuna_id: int) -> bool:
        return self.call(lambda: optuna_study.exists(self.storage, optuna_id))

    def _trials_of(self, missing: Mapping[int, Shown], main: int, companion: int) -> dict[int, int]:
        """Slot → trial id for slots without a noted trial: found, or created in slot order, and then noted."""
        found: dict[int, tuple[int, int]] = {}
        # Where a trial may have been created without our noting it, look before creating another.
        if any(slot != BASELINE for slot in missing) or self.work.settled:
            self.seen = self._take_stock(main, self.seen, missing, found)
        if BASELINE in missing:
            self._take_stock(companion, 0, missing, found)
        for slot, shown in missing.items():
            if slot not in found and self._held():
                found[slot] = self._create(companion if slot == BASELINE else main, shown, found)
        if not found:
            return {}
        taken = self.database.write(lambda connection: backlog.note_trials(connection, self.study_id, found, self.seen))
        for slot in taken:
            self._fail_duplicate(found[slot][1])
        return {slot: trial_id for slot, (_, trial_id) in found.items() if slot not in taken}

    def _create(self, optuna_id: int, shown: Shown, found: dict[int, tuple[int, int]]) -> tuple[int, int]:
        """(number, id) of a new trial: RUNNING until it is noted, because an ended one could not be taken back."""
        trial_id = self.call(lambda: self.storage.create_new_trial(optuna_id, optuna_study.template(shown)))
        self.memory[trial_id] = shown
        # A try whose acknowledgement was lost has made one more: account for all up to ours.
        start = 0 if shown.slot == BASELINE else self.seen
        number = self._take_stock(optuna_id, start, {}, found, until=trial_id)
        if shown.slot != BASELINE:
            self.seen = number + 1
        return number, trial_id

    def _take_stock(
        self,
        optuna_id: int,
        number: int,
        missing: Mapping[int, Shown],
        found: dict[int, tuple[int, int]],
        *,
        until: int | None = None,
    ) -> int:
        """Adopt trials from ``number`` on that nobody noted, fail duplicates; the first number without a trial.

        Trials that carry no slot are somebody else's, and left alone.
        """
        while (trial_id := self._id_of(optuna_id, number)) not in (None, until):
            trial = self.call(partial(self.storage.get_trial, trial_id))
            slot = trial.user_attrs.get("slot")
            if slot is not None and not trial.state.is_finished():
                if slot in missing and slot not in found:
                    found[slot] = (number, trial_id)
                else:
                    self._fail_duplicate(trial_id)
            number += 1
        return number

    def _id_of(self, optuna_id: int, number: int) -> Any:
        try:
            return self.call(lambda: self.storage.get_trial_id_from_study_id_trial_number(optuna_id, number))
        except KeyError:
            return None

    def _fail_duplicate(self, trial_id: int) -> None:
        with contextlib.suppress(UpdateFinishedTrialError):
            reason = "duplicate: this trial was created twice, because an acknowledgement was lost"
            self.call(lambda: self.storage.set_trial_user_attr(trial_id, "reason", reason))
            self.call(lambda: self.storage.set_trial_state_values(trial_id, TrialState.FAIL))

    def _bring(self, trial_id: int, shown: Shown) -> None:
        """Write what the trial does not show yet."""
        before = self.memory.get(trial_id)
        # A trial that has been told its end (by a pass that died before noting it) takes no more.
        with contextlib.suppress(UpdateFinishedTrialError):
            for name, value in shown.attrs.items():
                if before is None or name not in before.attrs or before.attrs[name] != value:
                    self.call(partial(self.storage.set_trial_user_attr, trial_id, name, value))
            for step, value in shown.steps.items():
                if before is None or step not in before.steps:
                    self.call(partial(self.storage.set_trial_intermediate_value, trial_id, step, value))
            if shown.state is not TrialState.RUNNING:
                self.call(lambda: optuna_study.tell(self.storage, trial_id, shown))
        if shown.state is TrialState.RUNNING:
            self.memory[trial_id] = shown
        else:
            self.memory.pop(trial_id, None)

    def _held(self) -> bool:
        """True while the lease is ours: it is renewed in good time, and a pass that was paused finds it lost."""
        if time.monotonic() - self.renewed < self.lease_s / 3:
            return True
        self.renewed = time.monotonic()
        return self.database.write(lambda connection: backlog.renew(connection, self.work.token, self.lease_s))
