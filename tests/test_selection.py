from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamsearch import fates, numerals
from lamsearch.answer import Interval, to_json
from lamsearch.errors import NoAnswerYet
from lamsearch.plan import plan
from lamsearch.records import BASELINE, FitKey, ScoreTable
from tests.score_worlds import NO_BUDGET, answer, facts, lams, play, real, rules, slots_at, world

TABLES = ["noisy-digits-0", "noisy-digits-1", "fashion-2500-0"]


@given(seed=st.integers(0, 500), n=st.integers(2, 36), bump=st.sampled_from([0.0, 0.01, 0.03]))
@settings(max_examples=60, deadline=None)
def test_helps_means_interval_above_zero_means_baseline_not_in_range(seed: int, n: int, bump: float) -> None:
    slots, scores = slots_at(lams(n)), world(n, seed=seed, bump=bump)
    have, now = play(slots, scores, rules())
    found = answer(slots, have, now)
    assert found.gain is not None
    assert found.helps == (found.verdict == "helps") == (found.gain.low > 0)
    assert (found.verdict == "hurts") == (found.gain.high < 0)
    assert (found.verdict == "not_shown") == (0.0 in found.indistinguishable)
    for point in found.curve:
        if point.mean is not None and point.slot != found.slot:
            assert point.in_range == (point.difference_low <= 0 <= point.difference_high)
            assert point.in_range == (point.lam in found.indistinguishable)
    assert found.lam_1se >= found.lam
    assert found.range_low <= found.lam <= found.range_high
    assert found.lam in found.indistinguishable
    assert found.slot not in now.parked


@pytest.mark.parametrize("name", TABLES)
def test_answer_on_real_tables_equals_one_liners(name: str) -> None:
    table = real(name)
    by_slot = np.array([[table.scores[FitKey(row.slot, 0, fold)] for fold in range(5)] for row in table.slots])
    means = by_slot[1:].mean(axis=1)
    found = answer(table.slots, table.scores, meta=table.meta)
    assert found.slot == int(np.argmax(means))
    assert found.cv.mean == pytest.approx(means.max())
    assert found.cv_sem == pytest.approx(by_slot[1:][np.argmax(means)].std(ddof=1) / np.sqrt(5))
    assert found.gain is not None
    assert found.gain.mean == pytest.approx(means.max() - by_slot[0].mean())
    assert found.lam == pytest.approx(found.lam_over_m * table.meta.m)
    assert found.lam_carried == pytest.approx(0.8 * found.lam)
    assert found.corrected is not None
    bias = (by_slot[1:].max(axis=0) - by_slot[1:][np.argmax(means)]).mean()
    assert found.corrected.mean == pytest.approx(means.max() - bias)


def test_shuffled_slots_and_results_give_the_same_answer() -> None:
    slots, scores = slots_at(lams(9)), world(9)
    assert answer(slots[::-1], dict(reversed(scores.items()))) == answer(slots, scores)


def test_a_constant_added_to_a_fold_moves_only_the_level() -> None:
    slots, scores = slots_at(lams(9)), world(9)
    moved = {key: score - (0.125 if key.fold == 2 else 0) for key, score in scores.items()}
    ours, theirs = answer(slots, scores), answer(slots, moved)
    assert (ours.lam, ours.lam_1se, ours.verdict) == (theirs.lam, theirs.lam_1se, theirs.verdict)
    assert ours.indistinguishable == theirs.indistinguishable
    assert theirs.cv.mean == pytest.approx(ours.cv.mean - 0.025)


@pytest.mark.parametrize("noise", [0.0, 0.004, 0.04])
def test_provisional_answers_are_sensible_json_from_the_first_score_on(noise: float) -> None:
    slots, scores = slots_at(lams(9)), world(9, noise=noise)
    have, now = {}, None
    with pytest.raises(NoAnswerYet, match="no score of any λ"):
        answer(slots, have)
    while now is None or not now.done:
        now = plan(ScoreTable(slots=slots, scores=have), rules(), previous=now)
        for key in now.fits[:1]:
            have[key] = scores[key]
            if any(done.slot != BASELINE for done in have):
                found = answer(slots, have, now)
                json.dumps(to_json(found), allow_nan=False)
                assert found.status == "provisional"
                assert found.slot >= 0
    assert answer(slots, have, now, final=True).status == "final"


def test_a_provisional_choice_stands_on_scores_that_differ_by_the_same_in_every_fold() -> None:
    scores = {FitKey(slot, 0, fold): 0.5 + slot / 64 + fold / 32 for slot in range(3) for fold in range(2)}
    found = answer(slots_at(lams(3)), scores)
    assert found.slot == 2
    assert found.chosen_by == "smoothed partial folds"


def test_of_one_fold_the_error_is_at_least_that_of_its_images() -> None:
    slots, scores = slots_at(lams(9)), world(9, noise=0.001)
    found = answer(slots, {key: score for key, score in scores.items() if key.fold == 0})
    assert found.cv_sem >= np.sqrt(found.cv.mean * (1 - found.cv.mean) / (1800 / 5)) > 0.005
    assert found.cv.high - found.cv.low > 2 * found.cv_sem
    perfect = answer(slots_at(lams(3)), {FitKey(slot, 0, 0): 1.0 for slot in range(-1, 3)})
    assert perfect.cv_sem > 0


def test_a_failed_baseline_leaves_an_answer_without_a_gain() -> None:
    slots, scores = slots_at(lams(6)), world(6)
    failed = (replace(slots[0], failed="out of memory"), *slots[1:])
    found = answer(failed, {key: score for key, score in scores.items() if key.slot != BASELINE})
    assert (found.gain, found.verdict, found.helps) == (None, "not_shown", False)
    assert any("out of memory" in note for note in found.notes)
    json.dumps(to_json(found), allow_nan=False)


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4), (4, 2, 0, 3, 1), (3, 4, 1, 0, 2)])
def test_a_parked_lambda_is_never_chosen_nor_lam_1se(name: str, order: tuple[int, ...]) -> None:
    table = real(name)
    scores = {key._replace(fold=order.index(key.fold)): score for key, score in table.scores.items()}
    have, now = play(table.slots, scores, rules())
    found = answer(table.slots, have, now, meta=table.meta)
    assert found.slot not in now.parked
    parked = {point.lam for point in found.curve if point.slot in now.parked}
    assert not parked & {found.lam, found.lam_1se, found.lam_1se_classical}
    assert {point.slot for point in found.curve if point.status == "pruned"} == now.parked.keys()


def test_lambdas_stopped_between_epochs_are_said_to_be_unjudged() -> None:
    slots, scores = slots_at(lams(6)), world(6)
    stopped = tuple(replace(row, stopped="median after epoch 3") if row.slot in (2, 4) else row for row in slots)
    found = answer(stopped, {key: score for key, score in scores.items() if key.slot not in (2, 4)})
    assert any("2 of 6 λ's were stopped between epochs" in note for note in found.notes), "λ = 0 is none of the six"
    assert not any("stopped" in note for note in answer(slots, scores).notes)


def test_failed_lambdas_are_counted_without_zero_and_cannot_be_chosen() -> None:
    slots, scores = slots_at(lams(6)), world(6)
    failed = tuple(replace(row, failed="crashed") if row.slot in (BASELINE, 2) else row for row in slots)
    some = {key: score for key, score in scores.items() if key.slot not in (BASELINE, 2) or key.fold == 0}
    assert answer(failed, some).notes == ("1 of 6 λ's failed and cannot be chosen.",)


def test_curve_tells_what_became_of_every_lambda() -> None:
    slots, scores = slots_at([*lams(17), 1e-5, None]), world(17)
    slots = tuple(replace(row, failed="crashed") if row.slot == 17 else row for row in slots)
    have, now = play(slots[:-1], scores, rules())
    found = answer(slots, have, now)
    status = {point.slot: point.status for point in found.curve}
    assert status[BASELINE] == status[found.slot] == "complete"
    assert status[17] == "failed"
    assert 18 not in status
    parked = [point for point in found.curve if point.status == "pruned"]
    assert parked
    assert all(point.parked is not None and point.n_cells == point.parked.after for point in parked)


def test_easy_first_fold_does_not_flatter_a_parked_lambda() -> None:
    slots, scores = slots_at(lams(5)), world(5, noise=0.001)
    easy = {key: score + (0.04 if key.fold == 0 else 0) for key, score in scores.items()}
    have = {key: score for key, score in easy.items() if key.slot != 0 or key.fold == 0}
    point = answer(slots, have).curve[1]
    full = answer(slots, easy).curve[1]
    assert (point.n_cells, full.n_cells) == (1, 5)
    assert point.mean == pytest.approx(full.mean, abs=0.006)


def test_collapsed_folds_of_the_chosen_lambda_and_of_zero_are_counted_and_said() -> None:
    slots, scores = slots_at(lams(6)), world(6)
    best = answer(slots, scores).slot
    found = answer(slots, scores, collapsed=[FitKey(best, 0, 1), FitKey(best, 0, 4), FitKey(0, 0, 0)])
    assert {point.slot: point.collapsed for point in found.curve if point.collapsed} == {best: 2, 0: 1}
    assert len(found.notes) == 1, "of another λ it stands in the table"
    assert found.notes[0].startswith("Training collapsed on 2 of 5 folds at the chosen λ:")
    zero = answer(slots, scores, collapsed=[FitKey(BASELINE, 0, fold) for fold in range(5)])
    assert zero.notes[0].startswith(
        "Training collapsed on all 5 folds at λ = 0: the gain is over networks that did not"
    )


def test_what_is_better_than_the_chosen_lambda_is_not_said_to_be_as_good() -> None:
    """λ = 0 where regularising hurts, and a λ that was dropped although it scored better on its fold."""
    rng = np.random.default_rng(0)
    height = {BASELINE: 0.93, 0: 0.9, 1: 0.9, 2: 0.93, 3: 0.8}
    keys = [FitKey(slot, 0, fold) for slot in height for fold in range(5) if slot != 2 or fold == 0]
    found = answer(slots_at(lams(4)), {key: height[key.slot] + 0.001 * rng.standard_normal() for key in keys})
    assert found.verdict == "hurts"
    zero, best, other, dropped, worse = found.curve
    assert (zero.difference_low > 0, dropped.difference_low > 0) == (True, True)
    assert [point.in_range for point in (zero, best, other, dropped, worse)] == [False, True, True, False, False]
    assert set(found.indistinguishable) == {best.lam, other.lam}
    assert found.indistinguishable_partial == ()
    assert (found.range_low, found.range_high) == (best.lam, other.lam)
    told = [fates.differs(found, point) for point in found.curve]
    assert told == ["better", *["–" if p.slot == found.slot else "no" for p in (best, other)], "better", "worse"]


class TestEdges:
    def test_high_end_in_range_proposes_a_longer_range(self) -> None:
        scores = {
            FitKey(s, 0, f): 0.8 + 0.01 * max(s, 0) + 0.001 * ((s * f) % 3) for s in range(-1, 6) for f in range(5)
        }
        edge = answer(slots_at(lams(6)), scores).edges[-1]
        assert (edge.side, edge.high) == ("high", pytest.approx(0.3))
        assert edge.message == "the best λ is the largest measured (λ/m = 0.0300): search further up"

    def test_an_end_beside_the_best_cannot_be_told_from_it(self) -> None:
        heights = [0.8, 0.81, 0.82, 0.83, 0.84, 0.8395, 0.7]  # the last is of λ = 0
        scores = {FitKey(s, 0, f): heights[s] for s in range(-1, 6) for f in range(5)}
        found = answer(slots_at(lams(6)), scores)
        assert found.slot == 4
        assert found.edges[-1].message == (
            "the largest λ measured (λ/m = 0.0300) cannot be told from the best λ: search further up"
        )

    def test_what_was_measured_is_not_the_range(self) -> None:
        scores = {FitKey(s, 0, f): 0.8 + 0.01 * max(s, 0) for s in range(-1, 5) for f in range(5)}
        edge = answer(slots_at(lams(6)), scores).edges[-1]
        assert edge.message.startswith(f"the best λ is the largest measured (λ/m = {numerals.lam(lams(6)[4])})")

    def test_one_lambda_is_one_edge(self) -> None:
        scores = {FitKey(s, 0, f): 0.9 + 0.1 * s for s in (-1, 0) for f in range(5)}
        (edge,) = answer(slots_at([1e-3]), scores).edges
        assert edge.message == "only one λ has been measured (λ/m = 1.00e-3): search on both sides"
        assert (edge.low, edge.high) == (pytest.approx(1e-7), pytest.approx(0.3))

    def test_low_end_in_range_says_that_zero_is_as_good(self) -> None:
        scores = {FitKey(s, 0, f): 0.9 - 0.02 * (s > 2) + 0.001 * ((s * f) % 3) for s in range(-1, 6) for f in range(5)}
        edge = answer(slots_at(lams(6)), scores).edges[0]
        assert (edge.side, edge.low) == ("low", None)
        assert edge.message.endswith("cannot be told from the best λ, and neither can λ = 0")

    def test_where_zero_is_better_the_search_goes_down_and_never_up(self) -> None:
        fall = {-1: 0.0, 0: 0.03, 1: 0.03, 2: 0.03}
        scores = {FitKey(s, 0, f): 0.9 - gone + 0.001 * ((3 * s * f) % 4) for s, gone in fall.items() for f in range(5)}
        found = answer(slots_at(lams(3)), scores)
        assert found.verdict == "hurts"
        (edge,) = found.edges
        assert edge.side == "low"
        assert edge.low == pytest.approx(lams(3)[0] / 10)
        assert "λ = 0 is better than every λ measured on all folds" in edge.message
        assert edge.message.endswith("search further down")

    def test_ends_are_no_news_while_lambdas_are_unfinished(self) -> None:
        slots, scores = (
            slots_at(lams(3)),
            {FitKey(s, 0, f): 0.9 + 0.01 * (s == 2) for s in (-1, 0, 1, 2) for f in range(5)},
        )
        assert answer(slots, scores).edges
        assert answer(slots, scores, budget=replace(NO_BUDGET, unfinished=1)).edges == ()

    def test_a_peak_inside_has_no_edge(self) -> None:
        assert answer(slots_at(lams(9)), world(9, bump=0.08, noise=0.001)).edges == ()


@pytest.mark.parametrize(("level", "shown"), [(0.1, False), (0.12, True), (0.11, False)])
def test_a_score_at_chance_is_told_from_one_above_it(level: float, shown: bool) -> None:
    """Two standard errors: 1,000 images guessed at 10 % have one of 0.95 pp, however alike the folds are."""
    scores = {FitKey(slot, 0, fold): level + 1e-4 * fold for slot in (-1, 0, 1, 2) for fold in range(5)}
    meta = replace(facts(n_images=1000), chance=0.1)
    found = answer(slots_at(lams(3)), scores, meta=meta)
    assert found.above_chance is shown
    assert bool(found.edges) is shown  # where nothing was learnt, no end of the range means anything


def test_a_spread_that_is_rounding_gives_no_ratio() -> None:
    scores = {FitKey(slot, 0, fold): 0.1 + 0.01 * fold for slot in (-1, 0, 1, 2) for fold in range(5)}
    assert answer(slots_at(lams(3)), scores).variance_ratio is None


def test_other_metric_has_its_own_pick() -> None:
    slots, scores = slots_at(lams(6)), world(6)
    losses = {key: -abs(key.slot - 2.0) for key in scores}
    found = answer(slots, scores, other_scores=losses)
    assert found.other_metric == "log_loss"
    assert found.other_metric_lam == pytest.approx(lams(6)[2] * 1000)
    assert found.other_metric_gain == pytest.approx(3.0), "0 at slot 2, −3 at the baseline"


def test_the_other_metrics_gain_is_judged_as_the_metrics_own() -> None:
    """By the other metric's scores alone: the same differences, so the same interval."""
    slots, scores = slots_at(lams(9)), world(9, noise=0.006)
    mine = answer(slots, scores, meta=facts(metric="log_loss"))
    other = answer(slots, scores, other_scores=scores)
    assert other.other_metric_gain is not None
    ends = {"low": other.other_metric_gain_low, "high": other.other_metric_gain_high}
    assert mine.gain == Interval(mean=other.other_metric_gain, **ends)
    without = {key: score for key, score in scores.items() if key.slot != BASELINE}
    assert answer(slots, scores, other_scores=without).other_metric_gain is None


def test_log_loss_has_no_ceiling_of_one() -> None:
    slots, scores = slots_at(lams(6)), {key: -1.5 + score for key, score in world(6).items()}
    found = answer(slots, scores, meta=facts(metric="log_loss"))
    assert found.cv.high <= 0
    assert found.cv.mean < -0.4


def test_lambda_that_cannot_matter_is_said_not_to() -> None:
    scores = {key: round(0.9 + 0.0005 * ((key.slot * 7 + key.fold * 3) % 3), 5) for key in world(9)}
    found = answer(slots_at(lams(9)), scores)
    assert (found.verdict, found.matters) == ("not_shown", False)
    assert answer(slots_at(lams(9)), world(9, bump=0.05)).matters


def test_an_end_that_was_dropped_early_and_cannot_be_told_apart_is_an_edge_and_said_to_be_partial() -> None:
    slots, scores = slots_at(lams(17)), world(17, noise=0.02, bump=0.03)
    few = {key: score for key, score in scores.items() if key.fold == 0 or key.slot in (BASELINE, 9, 10, 11)}
    found = answer(slots, few)
    assert found.range_low == min(found.indistinguishable_partial) == pytest.approx(lams(17)[0] * found.m)
    assert [edge.side for edge in found.edges] == ["low"]
    assert "lacks folds, but cannot be told from the best λ" in found.edges[0].message
    assert found.edges[0].low is None, "a fold or two are no reason to search further down"


@pytest.mark.parametrize("name", TABLES)
def test_the_race_reports_the_range_of_the_full_table(name: str) -> None:
    """Most λ's that the full table cannot tell from λ̂ are dropped early: without them the range would be a sliver."""
    table = real(name)
    whole = set(answer(table.slots, table.scores, meta=table.meta).indistinguishable)
    kept, complete = [], []
    for order in [(0, 1, 2, 3, 4), (4, 2, 0, 3, 1), (3, 4, 1, 0, 2), (1, 0, 3, 2, 4), (2, 3, 4, 1, 0)]:
        scores = {key._replace(fold=order.index(key.fold)): score for key, score in table.scores.items()}
        found = answer(table.slots, *play(table.slots, scores, rules()), meta=table.meta)
        members = set(found.indistinguishable)
        kept.append(len(whole & members) / len(whole))
        complete.append(len(whole & (members - set(found.indistinguishable_partial))) / len(whole))
    assert np.mean(kept) >= 0.8
    assert np.mean(complete) < 0.4


def test_the_smallest_detectable_gain_is_shown_in_four_of_five_studies() -> None:
    """Tables whose λ's differ from λ = 0 by exactly that gain: "helps" is the verdict in 80 % of them."""
    rng, n, detectable, true = np.random.default_rng(5), 400, [], 0.0
    for repeat in range(2):
        shown = []
        for _ in range(n):
            noise = 0.004 * rng.standard_normal((2, 5)) + 0.004 / 2.0 * rng.standard_normal((2, 1))
            pair = {
                FitKey(slot, 0, fold): 0.9 + (slot >= 0) * true + noise[slot, fold]
                for slot in (-1, 0)
                for fold in range(5)
            }
            found = answer(slots_at([1e-3]), pair)
            shown.append(found.helps)
            detectable.append(found.detectable_gain)
        if repeat == 0:
            true = float(np.sqrt(np.mean(np.square(detectable))))
    assert np.mean(shown) == pytest.approx(0.8, abs=0.06)


@given(seed=st.integers(0, 200), fold=st.integers(0, 4), steps=st.integers(-20, 20))
@settings(max_examples=40, deadline=None)
def test_a_constant_added_to_a_fold_shifts_no_points_relation_to_the_others(seed: int, fold: int, steps: int) -> None:
    slots, scores = slots_at(lams(17)), world(17, seed=seed)
    have, now = play(slots, scores, rules())
    moved = {key: score + (steps / 64 if key.fold == fold else 0.0) for key, score in have.items()}
    ours, theirs = answer(slots, have, now), answer(slots, moved, now)
    shift = [there.mean - here.mean for here, there in zip(ours.curve, theirs.curve, strict=True)]
    assert shift == pytest.approx([steps / 64 / 5] * len(shift), abs=1e-9)
    pairs = [(here.smooth, there.smooth) for here, there in zip(ours.curve[1:], theirs.curve[1:], strict=True)]
    assert all((here is None) == (there is None) for here, there in pairs)
    smooth = [there - here for here, there in pairs if here is not None]
    assert smooth == pytest.approx([steps / 64 / 5] * len(smooth), abs=1e-9)


def test_the_smoothed_curve_ends_where_scores_were_capped() -> None:
    """At a cliff it would hang in the air, far above the points."""
    slots, scores = slots_at(lams(17)), world(17)
    cliff = {key: 0.1 if key.slot >= 15 else score for key, score in scores.items()}
    smooth = {point.slot: point.smooth for point in answer(slots, cliff).curve}
    assert smooth[15] is None
    assert smooth[16] is None
    assert smooth[11] is not None


def test_a_lambda_dropped_after_the_chosen_ones_luckiest_fold_is_not_shown_low() -> None:
    slots, scores = slots_at(lams(17)), world(17, noise=0.001)
    best = answer(slots, scores).slot
    lucky = {key: score + (0.02 if key == (best, 0, 0) else 0) for key, score in scores.items()}
    dropped = {key: score for key, score in lucky.items() if key.slot in (BASELINE, best) or key.fold == 0}
    full, part = answer(slots, lucky), answer(slots, dropped)
    assert part.slot == best
    for whole, point in zip(full.curve[2:], part.curve[2:], strict=True):
        if point.slot != best:
            assert (point.n_cells, point.mean) == (1, pytest.approx(whole.mean, abs=0.006))
            assert point.difference == pytest.approx(point.mean - part.cv.mean)
