"""What to fit next: a pure function of the slots and the scores.

Folds advance in synchronous rounds over a cohort of λ's, cohort after cohort, then come replicates of the finalists.
Decisions are taken at the end of a round from its finished folds alone, so they depend neither on the number of
workers nor on who was how fast. ``fits`` may hold, after those of the round, fits that are needed later in any case,
so that idle workers have something to do.

A plan carries private state forward (``previous``), which only saves time: the same table gives the same plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from lamsearch import certainty, cohort, finalists, race
from lamsearch.cohort import Lap, Runner
from lamsearch.records import BASELINE, FitKey, Parked, ScoreTable, SlotRow
from lamsearch.rules import WHOLE, Rules
from lamsearch.smooth import Floats

__all__ = ["WHOLE", "Plan", "Rules", "plan"]

MAX_REPLICATES = 20

Cohorts = Mapping[int, tuple[SlotRow, ...]]


@dataclass(frozen=True, kw_only=True)
class _Stop:
    """Where the plan stands between cohorts: ``at`` cohorts are behind it. ``baseline``: its scores, (≤ k,)."""

    at: int = 0
    incumbents: tuple[Runner, ...] = ()
    baseline: tuple[float, ...] = ()
    parked: Mapping[int, Parked] = field(default_factory=dict)
    spent: int = 0
    sure: bool = False


@dataclass(frozen=True, kw_only=True)
class _State:
    """``lap``: the present cohort. Once all are behind: ``replicate`` of the ``final`` λ's is under way.

    ``pending``: fits that the next step waits for; ``later``: fits that are needed in any case.
    ``cohorts``: the slots of each, and the baseline's under its own number.
    """

    rules: Rules
    slots: tuple[SlotRow, ...]
    cohorts: Cohorts
    stop: _Stop = _Stop()
    lap: Lap | None = None
    pending: tuple[FitKey, ...] = ()
    later: tuple[FitKey, ...] = ()
    propose: int | None = None
    final: tuple[Runner, ...] = ()
    replicate: int = 0
    done: bool = False
    parked: Mapping[int, Parked] = field(default_factory=dict)

    @property
    def numbers(self) -> list[int]:
        """Cohorts of λ > 0, in the order in which they run."""
        return [number for number in self.cohorts if number != BASELINE]

    @property
    def lost(self) -> frozenset[int]:
        """Slots that get no more fits."""
        return frozenset(row.slot for row in self.slots if row.failed is not None or row.stopped is not None)

    @property
    def baseline(self) -> Runner | None:
        """λ = 0 with the scores of the cohorts behind."""
        known = BASELINE in self.cohorts
        return Runner(slot=BASELINE, decade=-np.inf, scores=self.stop.baseline) if known else None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """``fits`` without a result, in the order to be claimed; ``parked`` λ's; ``propose``: a cohort whose λ's are due.

    ``done``: nothing is left to do (with ``closing``: nothing that a sound provisional answer needs).
    A parked λ may be resumed as long as the plan is not done. Slots that are never started because the answer is sure
    (``until = "sure"``; they may lack a λ) are parked after 0 folds.
    Epoch pruners fit whole trials, ``FitKey(slot, 0, WHOLE)``; only their replicates are single folds.
    """

    fits: tuple[FitKey, ...]
    parked: Mapping[int, Parked]
    propose: int | None
    done: bool
    _state: _State | None = field(default=None, compare=False, repr=False)


def plan(table: ScoreTable, rules: Rules, *, closing: bool = False, previous: Plan | None = None) -> Plan:
    """The plan for ``table``. ``closing``: time is up, finish only what a sound provisional answer needs.

    ``previous``: any earlier plan of the same study. With it the cost depends on the present cohort only.
    """
    state = _advance(_resume(table, rules, previous), table)
    if closing:
        fits = _closing(state, table)
        return Plan(fits=fits, parked=state.parked, propose=None, done=not fits, _state=state)
    ahead = dict.fromkeys((*state.pending, *state.later))
    due = tuple(key for key in ahead if cohort.is_due(key, table.scores, rules.n_folds))
    return Plan(fits=due, parked=state.parked, propose=state.propose, done=state.done, _state=state)


def _resume(table: ScoreTable, rules: Rules, previous: Plan | None) -> _State:
    """The previous state; the start of the present cohort if its slots have changed; scratch if earlier ones have."""
    old = previous._state if previous else None
    if old and old.rules == rules and (old.slots is table.slots or old.slots == table.slots):
        return old
    grouped: dict[int, list[SlotRow]] = {}
    for row in sorted(table.slots, key=lambda row: row.slot):
        grouped.setdefault(BASELINE if row.is_baseline else row.cohort, []).append(replace(row, trial_number=None))
    new = _State(rules=rules, slots=table.slots, cohorts={number: tuple(grouped[number]) for number in sorted(grouped)})
    if old and old.rules == rules and not old.stop.sure:
        behind = old.numbers[: old.stop.at]
        same = all(old.cohorts.get(number) == new.cohorts.get(number) for number in (BASELINE, *behind))
        if same and new.numbers[: old.stop.at] == behind:
            return replace(new, stop=old.stop)
    return new


def _advance(state: _State, table: ScoreTable) -> _State:
    """Take all steps for which the results are there."""
    before, k = state, state.rules.n_folds
    while not (state.done or state.propose is not None):
        if any(cohort.is_due(key, table.scores, k) for key in state.pending):
            break
        if state.lap:
            lap = cohort.advance(state.lap, table.scores, state.rules)
            state = replace(state, lap=lap, pending=lap.pending)
            state = _behind(state, lap) if lap.over else state
        elif state.stop.at < len(state.numbers):
            state = _open(state)
        else:
            state = _replicate(state, table)
    if state is before:
        return state
    return replace(state, parked={**state.stop.parked, **(state.lap.parked if state.lap else {}), **_stopped(state)})


def _open(state: _State) -> _State:
    """Start the next cohort, or ask for its λ's."""
    number = state.numbers[state.stop.at]
    rows = [row for row in state.cohorts[number] if row.lam_over_m is not None]
    if any(row.lam_over_m is None and row.failed is None for row in state.cohorts[number]):
        return replace(state, propose=number, pending=(), later=())
    lap = cohort.start(rows, state.baseline, state.stop.incumbents, state.lost, state.rules)
    later = []
    if state.rules.races and state.baseline and BASELINE not in state.lost:
        later += [FitKey(BASELINE, 0, fold) for fold in range(1, state.rules.n_folds)]
    following = state.cohorts[state.numbers[state.stop.at + 1]] if state.stop.at + 1 < len(state.numbers) else ()
    if state.rules.until == "spent" and all(row.lam_over_m is not None for row in following):
        later += cohort.due(cohort.start(following, None, (), state.lost, state.rules), {}, state.rules)
    return replace(state, lap=lap, pending=(), later=tuple(later))


def _behind(state: _State, lap: Lap) -> _State:
    """Put a finished cohort behind: its best λ's are what the next cohort must beat."""
    stop, standing = state.stop, lap.standing
    own = [runner for runner in cohort.finishers(lap) if runner.slot not in {old.slot for old in stop.incumbents}]
    base = next((cohort.runner(standing, int(row)).scores for row in np.flatnonzero(~standing.positive)), ())
    sure = state.rules.until == "sure" and stop.at + 1 < len(state.numbers)
    sure = sure and certainty.nothing_to_find(
        standing, _places(state), state.rules.scale.tolerance, state.rules.scale.floor
    )
    stop = _Stop(
        at=len(state.numbers) if sure else stop.at + 1,
        incumbents=cohort.best([*stop.incumbents, *own]),
        baseline=base,
        parked={**stop.parked, **lap.parked, **(_unstarted(state) if sure else {})},
        spent=stop.spent + int(standing.seen[standing.ours & standing.positive].sum()),
        sure=sure,
    )
    return replace(state, stop=stop, lap=None, pending=(), later=())


def _places(state: _State) -> Floats:
    """Where a λ still to come may lie, in decades: over the whole range of those known."""
    known = [row.lam_over_m for number in state.numbers for row in state.cohorts[number] if row.lam_over_m is not None]
    return np.linspace(np.log10(min(known)), np.log10(max(known)), 128)


def _unstarted(state: _State) -> dict[int, Parked]:
    rest = [row.slot for number in state.numbers[state.stop.at + 1 :] for row in state.cohorts[number]]
    return {slot: Parked(slot=slot, after=0, rival=None, margin=None, reason=certainty.REASON) for slot in rest}


def _stopped(state: _State) -> dict[int, Parked]:
    return {
        row.slot: Parked(slot=row.slot, after=0, rival=None, margin=None, reason=row.stopped, epochs=row.stopped_epochs)
        for row in state.slots
        if row.stopped is not None
    }


def _replicate(state: _State, table: ScoreTable) -> _State:
    """The next replicate of the finalists, if one is asked for or (automatic) worth its price."""
    rules, done = state.rules, replace(state, pending=(), done=True)
    runners = sorted([*state.stop.incumbents, *filter(None, [state.baseline])], key=lambda r: (r.decade, r.slot))
    final = state.final or finalists.finalists(runners, rules)
    following = state.replicate + 1
    fits = finalists.replicate_fits([runner for runner in final if runner.slot not in state.lost], following, rules)
    if not fits or following >= (rules.n_replicates or MAX_REPLICATES):
        return done
    if rules.n_replicates == 0:
        full = (sum(len(state.cohorts[number]) for number in state.numbers) + 1) * rules.n_folds
        spent = state.stop.spent + rules.n_folds + len(fits) * following
        if spent > full or finalists.settled(final, table.scores, state.replicate, rules):
            return done
    return replace(state, final=final, replicate=following, pending=fits)


def _closing(state: _State, table: ScoreTable) -> tuple[FitKey, ...]:
    if state.lap is None or state.done:
        return ()
    standing, lost, keys = state.lap.standing, state.lost, []
    for slot, folds in finalists.closing_fits(_so_far(standing, table, lost), state.rules):
        missing = [key for fold in folds if (key := FitKey(slot, 0, fold)) not in table.scores]
        keys += [FitKey(slot, 0, WHOLE)] if state.rules.whole and missing else missing
    return tuple(keys)


def _so_far(standing: race.Standing, table: ScoreTable, lost: frozenset[int]) -> list[Runner]:
    """The rows of a cohort that can still be finished (or are), each with the scores of its first folds so far."""
    runners = []
    for row, slot in enumerate(standing.slots):
        scores = []
        for fold in range(standing.n_folds):
            score = table.scores.get(FitKey(slot, 0, fold))
            if score is None:
                break
            scores.append(score)
        if slot not in lost or len(scores) == standing.n_folds:
            runners.append(Runner(slot=slot, decade=float(standing.decades[row]), scores=tuple(scores)))
    return runners
