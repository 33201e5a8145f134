"""One study on one world, and what came of it, through the public functions that a real study uses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamsearch import pairs
from lamsearch.config import SearchConfig
from lamsearch.plan import Rules, plan
from lamsearch.records import BASELINE, FitKey, ScoreTable, SlotRow
from lamsearch.store.proposals import cohort_sizes, propose, propose_cohort
from tests.simulation.worlds import HIGH, LOW, N_VAL, World

Floats = NDArray[np.float64]


class Asked(dict[FitKey, float]):
    """A table that is full from the start and remembers which scores a plan asked for."""

    def __init__(self, scores: Mapping[FitKey, float]) -> None:
        super().__init__(scores)
        self.keys_asked: set[FitKey] = set()

    def __contains__(self, key: object) -> bool:
        self.keys_asked.add(key)  # type: ignore[arg-type]
        return super().__contains__(key)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Rows: ``decades`` rising, the baseline first. ``scores``: NaN where not measured. ``fits``: cost in fold fits."""

    decades: Floats
    scores: Floats
    n_folds: int
    n_images: int
    fits: float
    chosen: int
    one_se: int
    versus: pairs.Comparison

    @property
    def helps(self) -> bool:
        """The verdict."""
        return not bool(self.versus.inside[0])

    @property
    def share(self) -> float:
        """Fold fits as a share of the full cost of one replicate."""
        return self.fits / (len(self.decades) * self.n_folds)


def rules_for(pruner: str, n_folds: int, *, n_images: int | None = None, **more: object) -> Rules:
    return Rules(pruner=pruner, n_folds=n_folds, n_images=n_images or N_VAL * n_folds, **more)  # type: ignore[arg-type]


def outcome(decades: Floats, scores: Floats, rules: Rules, fits: float) -> Outcome:
    """The answer of a table. Rows without any score do not matter."""
    grid = pairs.Grid(
        decades=decades,
        scores=scores,
        n_folds=rules.n_folds,
        n_images=rules.n_images,
        floor=rules.scale.floor,
        near=rules.scale.near,
    )
    chosen, _ = pairs.choose(grid)
    versus = pairs.compare(grid, chosen)
    return Outcome(
        decades=decades,
        scores=scores,
        n_folds=rules.n_folds,
        n_images=rules.n_images,
        fits=fits,
        chosen=chosen,
        one_se=pairs.one_se(grid, versus),
        versus=versus,
    )


def race(
    decades: Floats,
    scores: Floats,
    rules: Rules,
    *,
    cohorts: Sequence[int] | None = None,
    planner: Callable[..., object] = plan,
) -> Outcome:
    """Plan a whole study on a full table (rows rising, baseline first; columns: replicate 0's folds, then further).

    ``cohorts``: of each row; one for all unless given.
    """
    slots = [
        SlotRow(slot=row - 1, cohort=cohorts[row] if cohorts else 0, lam_over_m=float(10.0**decade) if row else 0.0)
        for row, decade in enumerate(decades)
    ]
    k = rules.n_folds
    full = {
        FitKey(row - 1, column // k, column % k): float(score)
        for row, line in enumerate(scores)
        for column, score in enumerate(line)
    }
    table = Asked(full)
    planner(ScoreTable(slots=tuple(slots), scores=table), rules)
    seen = np.full(scores.shape, np.nan)
    for key in table.keys_asked & full.keys():
        seen[key.slot + 1, key.replicate * k + key.fold] = full[key]
    return outcome(decades, seen, rules, int(np.isfinite(seen).sum()))


def places(sampler: str, n: int, seed: int) -> Floats:
    """log10 λ/m of a space-filling sampler's first ``n`` λ's, rising, the baseline first."""
    search = SearchConfig(low=10.0**LOW, high=10.0**HIGH, sampler=sampler, seed=seed)
    return np.array([-np.inf, *sorted(np.log10(propose(search, position)) for position in range(n))])


def cohorts_of(sampler: str, n: int, seed: int) -> list[int]:
    """The cohort of each row of ``places``, as the store would form them."""
    search = SearchConfig(low=10.0**LOW, high=10.0**HIGH, sampler=sampler, seed=seed)
    numbers = [cohort for cohort, size in enumerate(cohort_sizes(search, n)) for _ in range(size)]
    order = sorted(range(n), key=lambda position: propose(search, position))
    return [0, *(numbers[position] for position in order)]


def model_based(world: World, sampler: str, n: int, seed: int, rules: Rules) -> Outcome:
    """A study whose λ's are proposed cohort by cohort from what was measured."""
    search = SearchConfig(low=10.0**LOW, high=10.0**HIGH, sampler=sampler, seed=seed)
    slots = [SlotRow(slot=BASELINE, cohort=0, lam_over_m=0.0)]
    for cohort, size in enumerate(cohort_sizes(search, n)):
        slots += [SlotRow(slot=len(slots) - 1 + number, cohort=cohort, lam_over_m=None) for number in range(size)]
    known: dict[FitKey, float] = dict(
        zip(_keys(BASELINE, rules), world.scores(np.array([-np.inf]), -1)[0], strict=True)
    )
    asked: set[FitKey] = set()
    previous = None
    while previous is None or not previous.done:
        table = Asked(known)
        previous = plan(ScoreTable(slots=tuple(slots), scores=table), rules, previous=previous)
        asked |= table.keys_asked & known.keys()
        if previous.propose is not None:
            measured = {key: known[key] for key in asked}
            fresh = propose_cohort(search, previous.propose, ScoreTable(slots=tuple(slots), scores=measured))
            for number, row in enumerate(slots):
                if row.cohort == previous.propose and row.slot != BASELINE and row.lam_over_m is None:
                    lam = fresh.pop(0)
                    slots[number] = SlotRow(slot=row.slot, cohort=row.cohort, lam_over_m=lam)
                    scores = world.scores(np.array([np.log10(lam)]), row.slot)[0]
                    known.update(zip(_keys(row.slot, rules), scores, strict=True))
    order = sorted(slots, key=lambda row: row.lam_over_m or 0.0)
    line = {row.slot: number for number, row in enumerate(order)}
    seen = np.full((len(order), rules.n_folds), np.nan)
    for key in asked:
        if key.replicate == 0:
            seen[line[key.slot], key.fold] = known[key]
    decades = np.array([-np.inf, *(np.log10(row.lam_over_m or np.nan) for row in order[1:])])
    return outcome(decades, seen, rules, int(np.isfinite(seen).sum()))


def _keys(slot: int, rules: Rules) -> Iterable[FitKey]:
    return [FitKey(slot, 0, fold) for fold in range(rules.n_folds)]
