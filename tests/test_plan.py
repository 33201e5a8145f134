from __future__ import annotations

import time
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamsearch.plan import WHOLE, plan
from lamsearch.records import BASELINE, FitKey, ScoreTable
from lamsearch.rules import EPOCH_PRUNERS
from tests.score_worlds import lams, play, rules, slots_at, world

PRUNERS = ["paired", "wilcoxon", "none", "median"]


def whole_table(n: int, k: int = 5, *, cohort: int = 64, **more: int) -> tuple[tuple, dict]:
    return slots_at(lams(n), cohort=cohort), world(n, k, **more)


@given(
    pruner=st.sampled_from(PRUNERS),
    shape=st.tuples(st.integers(1, 12), st.integers(2, 12)),
    seed=st.integers(0, 99),
    more=st.fixed_dictionaries({"n_replicates": st.integers(0, 2), "until": st.sampled_from(["spent", "sure"])}),
)
@settings(max_examples=40, deadline=None)
def test_any_number_of_workers_in_any_order_ends_with_the_same_table(
    pruner: str, shape: tuple[int, int], seed: int, more: dict[str, object]
) -> None:
    slots, scores = whole_table(shape[0], 3, cohort=shape[1], seed=seed, replicates=20)
    given_rules = rules(pruner, n_folds=3, **more)
    ends = [play(slots, scores, given_rules, workers=w, seed=w, carry=w != 4) for w in (1, 4, 9)]
    assert ends[0][0] == ends[1][0] == ends[2][0]
    assert ends[0][1] == ends[1][1] == ends[2][1]


@given(pruner=st.sampled_from(PRUNERS), seed=st.integers(0, 999), part=st.floats(0, 1), closing=st.booleans())
@settings(max_examples=60, deadline=None)
def test_plan_depends_on_the_table_alone(pruner: str, seed: int, part: float, closing: bool) -> None:
    slots, scores = whole_table(10, 3, cohort=4, seed=seed % 7)
    random, given_rules = Random(seed), rules(pruner, n_folds=3)
    have, now = {}, None
    for _ in range(int(part * 33)):
        now = plan(ScoreTable(slots=slots, scores=have), given_rules, previous=now)
        if now.done:
            break
        key = random.choice(now.fits)
        for fold in range(3) if key.fold == WHOLE else [key.fold]:
            have[key._replace(fold=fold)] = scores[key._replace(fold=fold)]
    mixed = ScoreTable(
        slots=tuple(random.sample(slots, len(slots))), scores=dict(random.sample([*have.items()], len(have)))
    )
    table = ScoreTable(slots=slots, scores=have)
    assert plan(table, given_rules, closing=closing, previous=now) == plan(mixed, given_rules, closing=closing)


@pytest.mark.parametrize("pruner", PRUNERS)
def test_fits_are_unique_and_without_a_result(pruner: str) -> None:
    slots, scores = whole_table(9)
    have, now = {}, None
    while now is None or not now.done:
        now = plan(ScoreTable(slots=slots, scores=have), rules(pruner), previous=now)
        assert len(set(now.fits)) == len(now.fits)
        assert not set(now.fits) & have.keys()
        assert now.done == (not now.fits)
        for key in now.fits[:3]:
            for fold in range(5) if key.fold == WHOLE else [key.fold]:
                have[key._replace(fold=fold)] = scores[key._replace(fold=fold)]


def test_the_baseline_comes_first_and_gets_all_folds() -> None:
    slots, scores = whole_table(17)
    now = plan(ScoreTable(slots=slots, scores={}), rules())
    assert now.fits[0] == FitKey(BASELINE, 0, 0)
    assert [key.slot for key in now.fits[:18]] == list(range(-1, 17))
    # Whatever the race decides, the rest of the baseline is needed: idle workers may go ahead with it.
    assert now.fits[18:] == tuple(FitKey(BASELINE, 0, fold) for fold in range(1, 5))
    have, _ = play(slots, scores, rules())
    assert all(FitKey(BASELINE, 0, fold) in have for fold in range(5))


def test_pruner_none_measures_everything_and_parks_nothing() -> None:
    slots, scores = whole_table(12)
    have, now = play(slots, scores, rules("none"))
    assert have == scores
    assert now.parked == {}


def test_paired_race_spends_less_than_half_and_completes_a_lambda() -> None:
    slots, scores = whole_table(17)
    have, now = play(slots, scores, rules())
    assert len(have) <= 0.45 * len(scores)
    complete = [slot for slot in range(17) if all(FitKey(slot, 0, fold) in have for fold in range(5))]
    assert complete
    assert not set(complete) & now.parked.keys()
    assert set(complete) | now.parked.keys() == set(range(17))
    for slot, why in now.parked.items():
        assert why.after == sum(key.slot == slot for key in have) < 5
        assert why.reason


@pytest.mark.parametrize("pruner", sorted(EPOCH_PRUNERS))
def test_epoch_pruners_fit_whole_trials(pruner: str) -> None:
    slots, _ = whole_table(4)
    now = plan(ScoreTable(slots=slots, scores={}), rules(pruner))
    assert now.fits == tuple(FitKey(slot, 0, WHOLE) for slot in (-1, 0, 1, 2, 3))
    stopped = tuple(replace(row, stopped="median pruner, epoch 3") if row.slot == 2 else row for row in slots)
    after = plan(ScoreTable(slots=stopped, scores={}), rules(pruner), previous=now)
    assert FitKey(2, 0, WHOLE) not in after.fits
    assert after.parked[2].reason == "median pruner, epoch 3"


@pytest.mark.parametrize("pruner", ["paired", "wilcoxon", "none"])
@pytest.mark.parametrize("lost", [BASELINE, 3, 0])
def test_a_failed_slot_gets_no_more_fits_and_holds_nobody_up(pruner: str, lost: int) -> None:
    slots, scores = whole_table(6)
    failed = tuple(replace(row, failed="crashed") if row.slot == lost else row for row in slots)
    have, now = play(failed, {key: score for key, score in scores.items() if key.slot != lost}, rules(pruner))
    assert now.done
    assert all(key.slot != lost for key in have)


def test_all_slots_failed_is_done() -> None:
    slots = tuple(replace(row, failed="crashed") for row in slots_at(lams(3)))
    assert plan(ScoreTable(slots=slots, scores={}), rules()).done


def test_no_slots_at_all_is_done() -> None:
    assert plan(ScoreTable(slots=(), scores={}), rules()).done


def test_model_based_cohorts_are_proposed_one_after_the_other() -> None:
    slots, scores = slots_at([1e-4, 1e-3, None, None], cohort=2), world(4)
    have, _ = {}, None
    now = plan(ScoreTable(slots=slots, scores=have), rules())
    assert now.propose is None
    assert {key.slot for key in now.fits} == {-1, 0, 1}
    while now.propose is None:
        have[now.fits[0]] = scores[now.fits[0]]
        now = plan(ScoreTable(slots=slots, scores=have), rules(), previous=now)
    assert (now.propose, now.fits, now.done) == (1, (), False)
    known = slots_at([1e-4, 1e-3, 2e-3, 4e-3], cohort=2)
    now = plan(ScoreTable(slots=known, scores=have), rules(), previous=now)
    assert now == plan(ScoreTable(slots=known, scores=have), rules())
    assert {key.slot for key in now.fits} == {2, 3}


def test_growing_the_budget_keeps_everything_and_adds_a_cohort() -> None:
    slots, scores = slots_at(lams(14), cohort=10), world(14)
    small = slots[:11]
    have, ended = play(small, scores, rules())
    assert ended.done
    grown = plan(ScoreTable(slots=slots, scores=have), rules(), previous=ended)
    assert grown == plan(ScoreTable(slots=slots, scores=have), rules())
    assert {key.slot for key in grown.fits} == {10, 11, 12, 13}
    more, _ = play(slots, scores, rules())
    assert have.items() <= more.items()


def test_results_that_nobody_asked_for_change_no_decision() -> None:
    slots, scores = whole_table(17)
    have, _ = play(slots, scores, rules())
    first = {key: score for key, score in scores.items() if key.fold == 0}
    extra = {key: scores[key] for key in scores if key.slot in (2, 5) and key.fold > 1}
    plain = plan(ScoreTable(slots=slots, scores=first), rules())
    surplus = plan(ScoreTable(slots=slots, scores=first | extra), rules())
    assert plain.parked == surplus.parked
    assert plan(ScoreTable(slots=slots, scores=have | extra), rules()).done


def test_a_later_cohort_runs_against_the_best_of_earlier_ones() -> None:
    scores = world(20, noise=0.001)
    order = [*range(0, 20, 2), *range(1, 20, 2)]
    ladder = lams(20)
    slots = slots_at([ladder[place] for place in order], cohort=10)
    mixed = {FitKey(BASELINE if key.slot < 0 else order.index(key.slot), 0, key.fold): s for key, s in scores.items()}
    have, now = play(slots, mixed, rules())
    second = [now.parked[slot] for slot in range(10, 20) if slot in now.parked]
    assert any(why.rival is not None and 0 <= why.rival < 10 for why in second)
    assert len(have) < 0.4 * len(mixed)


class TestClosing:
    def closed(self, done_fits: int, pruner: str = "paired") -> tuple[dict, list]:
        slots, scores = whole_table(17)
        have, now = {}, None
        for _ in range(done_fits):
            now = plan(ScoreTable(slots=slots, scores=have), rules(pruner), previous=now)
            have[now.fits[0]] = scores[now.fits[0]]
        added = []
        while True:
            now = plan(ScoreTable(slots=slots, scores=have), rules(pruner), closing=True, previous=now)
            if now.done:
                return have, added
            added.append(now.fits[0])
            have[now.fits[0]] = scores[now.fits[0]]

    @pytest.mark.parametrize("pruner", ["paired", "none"])
    @pytest.mark.parametrize("done_fits", [2, 9, 18, 22, 30])
    def test_only_the_baseline_and_a_good_lambda_are_finished(self, done_fits: int, pruner: str) -> None:
        have, added = self.closed(done_fits, pruner)
        complete = [slot for slot in range(-1, 17) if all(FitKey(slot, 0, fold) in have for fold in range(5))]
        assert BASELINE in complete
        assert len(complete) >= 2
        assert len(added) <= 12

    def test_nothing_measured_means_nothing_to_finish(self) -> None:
        assert self.closed(0) == ({}, [])

    def test_a_study_that_is_done_needs_nothing(self) -> None:
        slots, scores = whole_table(17)
        have, now = play(slots, scores, rules())
        assert plan(ScoreTable(slots=slots, scores=have), rules(), closing=True, previous=now).fits == ()


class TestReplicates:
    def finalists(self, n_replicates: int, **more: float) -> dict[int, int]:
        slots, scores = slots_at(lams(17)), world(17, replicates=21, **more)
        have, _ = play(slots, scores, rules(n_replicates=n_replicates))
        counts: dict[int, int] = {}
        for key in have:
            if key.replicate:
                counts[key.slot] = counts.get(key.slot, 0) + 1
        return counts

    def test_baseline_and_at_most_four_others_are_measured_again(self) -> None:
        counts = self.finalists(3)
        assert counts[BASELINE] == 10
        assert 2 <= len(counts) <= 5
        assert set(counts.values()) == {10}

    def test_one_replicate_means_no_more(self) -> None:
        assert self.finalists(1) == {}

    def test_automatic_mode_stops_at_once_when_the_verdict_is_clear(self) -> None:
        assert self.finalists(0, bump=0.05, noise=0.002) == {}

    def test_automatic_mode_goes_on_while_it_is_not_but_never_beyond_the_full_cost(self) -> None:
        slots, scores = slots_at(lams(17)), world(17, replicates=21, bump=0.004, noise=0.006)
        have, _ = play(slots, scores, rules(n_replicates=0))
        assert any(key.replicate for key in have)
        assert len(have) <= 18 * 5


class TestUntilSure:
    def test_a_second_cohort_is_not_started_when_nothing_is_left_to_find(self) -> None:
        scores = world(40, noise=0.0002, bump=0.01)
        order = [*range(0, 40, 2), *range(1, 40, 2)]
        ladder = lams(40)
        slots = slots_at([ladder[place] for place in order], cohort=20)
        mixed = {FitKey(BASELINE if k.slot < 0 else order.index(k.slot), 0, k.fold): s for k, s in scores.items()}
        have, now = play(slots, mixed, rules(until="sure"))
        assert all(key.slot < 20 for key in have)
        assert {slot for slot, why in now.parked.items() if why.after == 0} == set(range(20, 40))

    def test_a_budget_grown_after_that_starts_afresh(self) -> None:
        scores = world(40, noise=0.0002, bump=0.01)
        given_rules = rules(until="sure")
        order = sorted(range(40), key=lambda place: (place % 4, place))
        mixed = {FitKey(BASELINE if k.slot < 0 else order.index(k.slot), 0, k.fold): s for k, s in scores.items()}
        slots = slots_at([lams(40)[place] for place in order], cohort=10)
        have, now = play(slots[:31], mixed, given_rules)
        table = ScoreTable(slots=slots, scores=have)
        assert plan(table, given_rules, previous=now) == plan(table, given_rules)

    def test_a_race_that_is_sure_completes_the_leader_alone(self) -> None:
        slots, scores = slots_at(lams(17)), world(17, noise=0.0005, bump=0.003)
        spent, _ = play(slots, scores, rules())
        have, now = play(slots, scores, rules(until="sure"))
        assert have.items() < spent.items()
        last = {key.slot for key in have if key.fold == 4}
        assert len(last) == 2
        assert BASELINE in last
        assert now.done

    def test_it_is_never_sure_while_much_may_be_left(self) -> None:
        slots, scores = slots_at(lams(40), cohort=20), world(40, noise=0.01)
        have, _ = play(slots, scores, rules(until="sure"))
        assert any(key.slot >= 20 for key in have)


def test_cost_of_a_claim_does_not_grow_with_what_is_behind() -> None:
    slots, scores = slots_at([1e-3] * 320, cohort=64), world(320, 2)
    given_rules, have, now = rules(n_folds=2), {}, None
    seconds: dict[int, list[float]] = {}
    while now is None or not now.done:
        began = time.perf_counter()
        now = plan(ScoreTable(slots=slots, scores=have), given_rules, previous=now)
        if now.fits:
            seconds.setdefault(now.fits[0].slot // 64, []).append(time.perf_counter() - began)
            have[now.fits[0]] = scores[now.fits[0]]
    medians = {cohort: sorted(values)[len(values) // 2] for cohort, values in seconds.items() if len(values) > 20}
    assert medians[4] < 3 * medians[1]
