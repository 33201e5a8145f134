"""One cohort of λ's on its way through the folds: which fold fits are due, and what follows once they are in.

A ``Lap`` is immutable. ``advance`` absorbs a finished round, takes the next decision, and so on until fits are due or
the cohort is over. It looks only at scores that it has asked for itself, so that results which arrive by other ways
(a deadline, an earlier plan of a smaller budget) never change a decision.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lamsearch import certainty, race, wilcoxon
from lamsearch.records import FitKey, Parked, SlotRow
from lamsearch.rules import WHOLE, Rules

INCUMBENTS = 64
"""A later cohort is raced against at most so many of the best complete λ's of earlier ones."""


@dataclass(frozen=True, kw_only=True)
class Runner:
    """A λ with the scores of its first folds, (≤ k,). Runners with all k of them are what later cohorts must beat."""

    slot: int
    decade: float
    scores: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Lap:
    """``standing`` of the rows; ``need`` (n,) folds before the next decision; ``fold`` decisions taken.

    ``pending``: fits of this round without a result. ``doomed``: slots whose missing fits will never come.
    """

    standing: race.Standing
    need: race.Counts
    fold: int
    pending: tuple[FitKey, ...]
    parked: Mapping[int, Parked]
    doomed: frozenset[int]
    over: bool = False


def start(
    rows: Iterable[SlotRow], baseline: Runner | None, incumbents: Sequence[Runner], lost: frozenset[int], rules: Rules
) -> Lap:
    """A cohort before its first fit. Every λ of ``rows`` is known; ``lost``: slots that are failed or stopped."""
    own = [Runner(slot=row.slot, decade=float(np.log10(row.lam_over_m or np.nan))) for row in rows]
    if baseline is not None:
        own.append(baseline)
    standing = runners_standing([*incumbents, *own], n_folds=rules.n_folds, ours={entry.slot for entry in own})
    goal = 1 if rules.races else rules.n_folds
    need = np.where(standing.ours, np.maximum(goal, standing.seen), standing.seen)
    return Lap(standing=standing, need=need, fold=0, pending=(), parked={}, doomed=lost)


def runners_standing(
    runners: Iterable[Runner], *, n_folds: int, ours: Container[int] | None = None, parked: Container[int] = ()
) -> race.Standing:
    """A standing of ``runners`` in any order; all of them are ``ours`` unless said otherwise."""
    ordered = sorted(runners, key=lambda runner: (runner.decade, runner.slot))
    scores = np.full((len(ordered), n_folds), np.nan)
    for row, entry in enumerate(ordered):
        scores[row, : len(entry.scores)] = entry.scores
    return race.Standing(
        slots=tuple(entry.slot for entry in ordered),
        decades=np.array([entry.decade for entry in ordered]),
        scores=scores,
        open=np.array([entry.slot not in parked for entry in ordered]),
        ours=np.array([ours is None or entry.slot in ours for entry in ordered]),
        failed=np.zeros(len(ordered), dtype=bool),
    )


def advance(lap: Lap, scores: Mapping[FitKey, float], rules: Rules) -> Lap:
    """The lap as far as ``scores`` carry it: fits are ``pending``, or it is ``over``."""
    while not lap.over:
        lap = replace(lap, pending=due(lap, scores, rules))
        if lap.pending:
            return lap
        lap = _decide(_absorb(lap, scores), rules)
    return lap


def finishers(lap: Lap) -> list[Runner]:
    """The λ > 0 that have all folds."""
    standing = lap.standing
    full = np.flatnonzero(standing.positive & (standing.seen == standing.n_folds))
    return [runner(standing, int(row)) for row in full]


def runner(standing: race.Standing, row: int) -> Runner:
    """One row of a standing."""
    seen = tuple(float(score) for score in standing.scores[row] if np.isfinite(score))
    return Runner(slot=standing.slots[row], decade=float(standing.decades[row]), scores=seen)


def best(runners: Iterable[Runner]) -> tuple[Runner, ...]:
    """The ``INCUMBENTS`` best by mean; ties go to the larger λ."""

    def rank(entry: Runner) -> tuple[float, float, int]:
        return (-round(sum(entry.scores) / len(entry.scores), race.ROUNDING), -entry.decade, entry.slot)

    return tuple(sorted(runners, key=rank)[:INCUMBENTS])


def is_due(key: FitKey, scores: Mapping[FitKey, float], n_folds: int) -> bool:
    """False once the fit has its result; a whole trial, once it has those of all folds."""
    if key.fold == WHOLE:
        return any(key._replace(fold=fold) not in scores for fold in range(n_folds))
    return key not in scores


def due(lap: Lap, scores: Mapping[FitKey, float], rules: Rules) -> tuple[FitKey, ...]:
    """Fits of this round that have no result, fold by fold, in the order of slots: the baseline first."""
    seen, found = lap.standing.seen, []
    for row in np.flatnonzero(lap.need > seen):
        slot = lap.standing.slots[row]
        keys = [FitKey(slot, 0, fold) for fold in range(seen[row], lap.need[row])]
        if slot not in lap.doomed:
            missing = [key for key in keys if key not in scores]
            found += [FitKey(slot, 0, WHOLE)] if rules.whole and missing else missing
    return tuple(sorted(found, key=lambda key: (key.fold, key.slot)))


def _absorb(lap: Lap, scores: Mapping[FitKey, float]) -> Lap:
    table, failed = lap.standing.scores.copy(), lap.standing.failed.copy()
    seen = lap.standing.seen
    for row in np.flatnonzero(lap.need > seen):
        for fold in range(seen[row], lap.need[row]):
            key = FitKey(lap.standing.slots[row], 0, fold)
            if key not in scores:
                failed[row] = True
                break
            table[row, fold] = scores[key]
    return replace(lap, standing=replace(lap.standing, scores=table, failed=failed))


def _decide(lap: Lap, rules: Rules) -> Lap:
    fold, k = lap.fold + 1, rules.n_folds
    if not rules.races or fold > k + 1 or (fold >= k and rules.pruner == "wilcoxon"):
        return replace(lap, over=True)
    if rules.pruner == "wilcoxon":
        decision = wilcoxon.judge(lap.standing, fold)
    elif fold >= k:
        decision = race.last_look(lap.standing, floor=rules.scale.floor)
    else:
        decision = race.judge(lap.standing, fold, tau=rules.scale.tau, floor=rules.scale.floor)
        if rules.until == "sure" and (
            early := certainty.sure(lap.standing, fold, rules.scale.tolerance, rules.scale.floor)
        ):
            decision, fold = early, k + 1
    still = ~lap.standing.ours | (decision.need >= min(fold + 1, k))
    standing = replace(lap.standing, open=still)
    parked = _evidence(lap.standing, {**lap.parked, **decision.parked}, still)
    return replace(lap, standing=standing, need=decision.need, fold=fold, parked=parked)


def _evidence(standing: race.Standing, parked: Mapping[int, Parked], still: race.Rows) -> dict[int, Parked]:
    """``parked`` without the rows that go on, each with the number of folds that it has had by now."""
    rows = {slot: row for row, slot in enumerate(standing.slots)}
    return {
        slot: replace(why, after=int(standing.seen[rows[slot]]))
        for slot, why in parked.items()
        if not still[rows[slot]]
    }
