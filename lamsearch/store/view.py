"""A process's picture of a study's slots and scores, kept up to date by reading only what is new.

Results are inserted under the study's lock, so their ids grow in the order of commits, and "id greater than the last
one seen" misses nothing. Slots carry the number of their latest change for the same purpose. So a claim costs the
same at 5,000 λ's as at 50.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Protocol

from sqlalchemy import Connection, bindparam, select

from lamsearch.records import FitKey, Parked, ScoreTable, SlotRow
from lamsearch.rules import Rules
from lamsearch.store.rows import StudyRow
from lamsearch.store.tables import fold_results, slots


class PlanLike(Protocol):
    """What the store reads of a plan (see ``lamsearch.plan.Plan``)."""

    @property
    def fits(self) -> tuple[FitKey, ...]:
        """Fits still wanted now, in order."""

    @property
    def parked(self) -> Mapping[int, Parked]:
        """Slots that are not scheduled further."""

    @property
    def propose(self) -> int | None:
        """Cohort whose λ's must be proposed first."""

    @property
    def done(self) -> bool:
        """Nothing is left to fit."""


Planner = Callable[[ScoreTable, bool, Any], PlanLike]
"""(table, closing, an earlier plan of the same study or None) → plan."""

PlannerOf = Callable[[StudyRow], Planner]

_new_results = (
    select(fold_results.c.id, fold_results.c.slot, fold_results.c.replicate, fold_results.c.fold)
    .add_columns(fold_results.c.score, fold_results.c.seconds)
    .where(fold_results.c.study_id == bindparam("study"), fold_results.c.id > bindparam("seen"))
    .order_by(fold_results.c.id)
)
_changed_slots = select(
    *(slots.c[name] for name in ("slot", "cohort", "lam_over_m", "failed", "stopped")),
    *(slots.c[name] for name in ("stopped_epochs", "stopped_seconds", "stopped_started", "trial_number")),
).where(slots.c.study_id == bindparam("study"), slots.c.version > bindparam("seen"))


class View:
    """Not thread-safe: its owner holds a lock. ``refresh`` must run in the transaction that decides."""

    def __init__(self, study_id: int, planner: Planner) -> None:
        self.study_id = study_id
        self._planner = planner
        self._rows: dict[int, SlotRow] = {}
        self._slots: tuple[SlotRow, ...] | None = ()
        self._scores: dict[FitKey, float] = {}
        self._seconds: list[float] = []
        self._last_result = 0
        self._slots_version = 0
        self._plans: dict[bool, PlanLike] = {}
        self._latest: PlanLike | None = None
        self._stale = {True, False}

    def refresh(self, connection: Connection, slots_version: int) -> None:
        """Read what is new. ``slots_version``: the study's, as read in this transaction."""
        found = connection.execute(_new_results, {"study": self.study_id, "seen": self._last_result}).all()
        for number, slot, replicate, fold, score, seconds in found:
            self._scores[FitKey(slot, replicate, fold)] = score
            bisect.insort(self._seconds, seconds)
            self._last_result = number
        changed = slots_version != self._slots_version
        if changed:
            rows = connection.execute(_changed_slots, {"study": self.study_id, "seen": self._slots_version})
            for row in rows:
                self._rows[row.slot] = SlotRow(
                    slot=row.slot,
                    cohort=row.cohort,
                    lam_over_m=row.lam_over_m,
                    failed=row.failed,
                    stopped=row.stopped,
                    stopped_epochs=row.stopped_epochs or 0,
                    stopped_seconds=row.stopped_seconds or 0.0,
                    stopped_started=row.stopped_started or 0.0,
                    trial_number=row.trial_number,
                )
            self._slots, self._slots_version = None, slots_version
        if found or changed:
            self._stale = {True, False}

    @property
    def slots(self) -> tuple[SlotRow, ...]:
        """All slots, rising; the baseline first."""
        if self._slots is None:
            self._slots = tuple(self._rows[slot] for slot in sorted(self._rows))
        return self._slots

    def slot(self, slot: int) -> SlotRow:
        """One slot."""
        return self._rows[slot]

    def plan(self, *, closing: bool) -> PlanLike:
        """The plan for the present table; worked out again only after a change."""
        if closing in self._stale:
            table = ScoreTable(slots=self.slots, scores=MappingProxyType(self._scores))
            self._latest = self._plans[closing] = self._planner(table, closing, self._latest)
            self._stale.discard(closing)
        return self._plans[closing]

    @property
    def is_cold(self) -> bool:
        """True until the first plan, which goes through the whole history of a study."""
        return self._latest is None

    def table(self) -> ScoreTable:
        """A copy that later refreshes do not touch."""
        return ScoreTable(slots=self.slots, scores=dict(self._scores))

    def median_seconds(self) -> float | None:
        """Median duration of the finished fits; None before there are three."""
        return self._seconds[len(self._seconds) // 2] if len(self._seconds) >= 3 else None


def lamsearch_planner(study: StudyRow) -> Planner:
    """The planner of ``lamsearch.plan`` under the rules of ``study``."""
    from lamsearch.plan import plan  # noqa: PLC0415 - scipy: not for commands that do not plan

    rules = Rules.of(study.config.search, n_images=int(study.facts["n_images"]))

    def planner(table: ScoreTable, closing: bool, previous: Any) -> PlanLike:
        return plan(table, rules, closing=closing, previous=previous)

    return planner
