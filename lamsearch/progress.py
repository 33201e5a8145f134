"""How far a study is: counts, a provisional best, and how long it will take."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Literal, Protocol

import numpy as np

from lamsearch import pairs
from lamsearch.config import StudyConfig
from lamsearch.curve import grid_of, rows_of
from lamsearch.plan import WHOLE, Plan, plan
from lamsearch.records import BASELINE, ScoreTable, SlotRow
from lamsearch.rules import Rules

MIN_FITS = 2
"""Fold fits before a rate is told."""
SPARE_FITS, CONCLUDE_S = 5, 2.0
"""What an end in time takes beyond its fits: those that run already, and the refit (one worker, on k/(k−1) of a fold's
images, while the others are idle); then the figures."""
RACED = ((2.0, 0.18), (1.2, 0.115), (1.1, 0.08), (1.2, 0.057))
"""(a, b): about a + b · n of n raced λ's get a second, third, fourth, and each further fold (tests/simulation)."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One λ of the curve. ``score`` is a level: what an easy fold gives away is taken off (see ``pairs``)."""

    lam_over_m: float
    score: float | None
    state: Literal["complete", "dropped", "failed", "running", "waiting"]


@dataclass(frozen=True, kw_only=True)
class Progress:
    """A study at a glance. ``curve``: by rising λ. λ's are λ/m.

    ``fits_expected`` is a forecast: how many fold fits the race spends depends on what it finds.
    ``closing_s``: how long the rest of a sound provisional answer would take if time were up now.
    """

    study: str
    slots: int
    complete: int
    parked: int
    failed: int
    fits_done: int
    fits_expected: int
    best: float | None
    best_mean: float | None
    baseline: float | None
    range: tuple[float, float]
    curve: tuple[Point, ...]
    fits_per_minute: float | None
    eta_s: float | None
    closing_s: float


@dataclass(kw_only=True)
class Clock:
    """Measures the rate of fold fits over several looks at a study, and keeps the plan that was made last.

    It runs from the first look that found a new fit: before, workers start. ``known``: fold fits per second, for a
    single look.
    """

    known: float | None = None
    fits_before: int | None = None
    began: tuple[float, int] | None = None
    previous: Plan | None = None

    def rate(self, fits: int) -> float | None:
        """Fold fits per second; None before they can be told."""
        now = time.monotonic()
        if self.fits_before is None:
            self.fits_before = fits
        if self.began is None and fits > self.fits_before:
            self.began = now, fits
        if self.began is None:
            return self.known
        elapsed, done = now - self.began[0], fits - self.began[1]
        return done / elapsed if done >= MIN_FITS and elapsed > 0 else self.known


class _Study(Protocol):
    @property
    def id(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def config(self) -> StudyConfig: ...
    @property
    def facts(self) -> Mapping[str, object]: ...


class _Tables(Protocol):
    def table(self, study_id: int) -> ScoreTable: ...


def rules_of(study: _Study) -> Rules:
    """The constants of a study's decisions."""
    return Rules.of(study.config.search, n_images=int(str(study.facts["n_images"])))


def progress(store: _Tables, study: _Study, clock: Clock) -> Progress:
    """Look at a study once. Reads the database, writes nothing."""
    table, rules = store.table(study.id), rules_of(study)
    now = clock.previous = plan(table, rules, previous=clock.previous)
    return summarise(study.name, study.config, table, now, rules, clock)


def summarise(name: str, config: StudyConfig, table: ScoreTable, now: Plan, rules: Rules, clock: Clock) -> Progress:
    """``Progress`` from the present table and plan."""
    folds: dict[int, dict[int, float]] = {row.slot: {} for row in table.slots}
    for key, score in table.scores.items():
        if key.replicate == 0:
            folds[key.slot][key.fold] = score
    search = sorted((row for row in table.slots if not row.is_baseline), key=lambda row: row.lam_over_m or 0.0)
    means = {slot: fmean(scores.values()) for slot, scores in folds.items() if scores}
    complete = [row for row in search if len(folds[row.slot]) == rules.n_folds]
    # Among λ's with the same folds: a λ dropped after an easy fold must not look best.
    most = max((len(folds[row.slot]) for row in search), default=0)
    leaders = [row for row in search if most and len(folds[row.slot]) == most]
    best = max(leaders, key=lambda row: means[row.slot], default=None)
    done = len(table.scores)
    expected = done + _remaining(table, now, rules, folds)
    rate = clock.rate(done)
    closing = plan(table, rules, closing=True, previous=now).fits
    levels = _levels(table, rules, best)
    return Progress(
        study=name,
        slots=len(search),
        complete=len(complete),
        parked=sum(slot != BASELINE for slot in now.parked),
        failed=sum(row.failed is not None for row in search),
        fits_done=done,
        fits_expected=expected,
        best=best.lam_over_m if best else None,
        best_mean=means[best.slot] if best else None,
        baseline=means.get(BASELINE),
        range=(config.low, config.high),
        curve=tuple(
            Point(
                lam_over_m=row.lam_over_m,
                score=levels.get(row.slot),
                state=_state(row, len(folds[row.slot]), now, rules),
            )
            for row in search
            if row.lam_over_m is not None
        ),
        fits_per_minute=rate * 60 if rate else None,
        eta_s=(expected - done) / rate if rate and not now.done else None,
        closing_s=((len(closing) + SPARE_FITS) / rate if rate else 0.0) + CONCLUDE_S,
    )


def _levels(table: ScoreTable, rules: Rules, best: SlotRow | None) -> dict[int, float]:
    """Level of each measured slot on the cells of the ``best`` one, as the answer states it: no easy fold flatters."""
    if best is None:
        return {}
    rows = rows_of(table)
    grid = grid_of(rows, table.scores, n_folds=rules.n_folds, n_images=rules.n_images, scale=rules.scale)
    levels = pairs.compare(grid, rows.index(best)).level
    return {row.slot: float(level) for row, level in zip(rows, levels, strict=True) if np.isfinite(level)}


def _state(
    row: SlotRow, n_folds: int, now: Plan, rules: Rules
) -> Literal["complete", "dropped", "failed", "running", "waiting"]:
    if n_folds == rules.n_folds:
        return "complete"
    if row.failed is not None:
        return "failed"
    if row.slot in now.parked:
        return "dropped"
    return "running" if n_folds else "waiting"


def _remaining(table: ScoreTable, now: Plan, rules: Rules, folds: Mapping[int, Mapping[int, float]]) -> int:
    """Fold fits still to come: those that are due, and a forecast of what later rounds keep."""
    due = sum(rules.n_folds if key.fold == WHOLE else 1 for key in now.fits)
    if now.done or not rules.races:
        return due
    cohorts = Counter(row.cohort for row in table.slots if not row.is_baseline)
    coming = 0
    for cohort, size in cohorts.items():
        members = [row.slot for row in table.slots if row.cohort == cohort and not row.is_baseline]
        behind = max((len(folds[slot]) for slot in members), default=0)
        if behind == rules.n_folds or any(slot in now.parked and now.parked[slot].after == 0 for slot in members):
            continue
        pending = sum(key.slot in members for key in now.fits)
        coming += sum(_kept(size, fold) for fold in range(max(1, behind + (pending == 0)), rules.n_folds))
        if behind == 0 and pending == 0:
            coming += size
    return due + coming


def _kept(size: int, fold: int) -> int:
    """How many of ``size`` λ's go on after ``fold`` folds, on average."""
    least, share = RACED[min(fold, len(RACED)) - 1]
    return min(size, round(least + share * size))
