from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamsearch.certainty import sure
from lamsearch.race import Decision, Standing, argmax_largest, judge, last_look, look
from lamsearch.records import BASELINE

TAU = FLOOR = 0.001


def standing(scores: np.ndarray, *, open_rows: np.ndarray | None = None) -> Standing:
    """Rows: the baseline, then λ's rising from 1e-6 to 1e-2."""
    n = len(scores)
    return Standing(
        slots=(BASELINE, *range(n - 1)),
        decades=np.concatenate([[-np.inf], np.linspace(-6, -2, n - 1)]),
        scores=scores,
        open=np.ones(n, dtype=bool) if open_rows is None else open_rows,
        ours=np.ones(n, dtype=bool),
        failed=np.zeros(n, dtype=bool),
    )


def decide(given_: Standing, fold: int) -> Decision:
    return judge(given_, fold, tau=TAU, floor=FLOOR)


@st.composite
def partial_races(draw: st.DrawFn) -> tuple[Standing, int]:
    """Any race after any fold: some rows parked earlier, some λ's collapsed, scores in steps of 1/256."""
    n, k = draw(st.integers(2, 14)), draw(st.integers(2, 6))
    fold = draw(st.integers(1, k - 1))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    scores = np.round((0.9 + 0.02 * rng.standard_normal((n, k))) * 256) / 256
    scores[rng.random(n) < 0.15] = 0.1015625
    seen = np.where(rng.random(n) < 0.6, fold, rng.integers(1, fold + 1, n))
    seen[0] = fold
    seen[1 + rng.integers(0, n - 1)] = fold
    scores[np.arange(k) >= seen[:, None]] = np.nan
    return standing(scores, open_rows=seen == fold), fold


@given(partial_races())
@settings(max_examples=150, deadline=None)
def test_baseline_and_both_leaders_are_never_parked(race: tuple[Standing, int]) -> None:
    now, fold = race
    decision = decide(now, fold)
    rivals = now.open & now.positive
    view = look(now, fold, now.open, floor=FLOOR)
    raw_best = argmax_largest(np.where(rivals, now.scores[:, :fold].mean(axis=1), -np.inf), rivals)
    for row in (0, view.best, raw_best):
        assert decision.need[row] == fold + 1
        assert now.slots[row] not in decision.parked


@given(partial_races(), st.lists(st.integers(-50, 50), min_size=6, max_size=6))
@settings(max_examples=100, deadline=None)
def test_a_constant_added_to_a_fold_changes_no_decision(race: tuple[Standing, int], shifts: list[int]) -> None:
    now, fold = race
    moved = Standing(**{**vars(now), "scores": now.scores + np.array(shifts[: now.n_folds]) / 64})
    ours, theirs = decide(now, fold), decide(moved, fold)
    np.testing.assert_array_equal(ours.need, theirs.need)
    assert ours.parked.keys() == theirs.parked.keys()


@given(partial_races())
@settings(max_examples=100, deadline=None)
def test_a_decision_never_asks_for_less_than_was_measured_nor_more_than_k(race: tuple[Standing, int]) -> None:
    now, fold = race
    for decision in (decide(now, fold), last_look(now, floor=FLOOR)):
        assert np.all(decision.need >= now.seen)
        assert np.all(decision.need <= now.n_folds)


@given(partial_races())
@settings(max_examples=60, deadline=None)
def test_slot_numbers_do_not_matter(race: tuple[Standing, int]) -> None:
    now, fold = race
    renamed = Standing(**{**vars(now), "slots": (BASELINE, *reversed(now.slots[1:]))})
    np.testing.assert_array_equal(decide(now, fold).need, decide(renamed, fold).need)


def bump(n: int = 17, k: int = 5, seen: int = 1, noise: float = 0.002) -> np.ndarray:
    rng = np.random.default_rng(1)
    decades = np.linspace(-6, -2, n)
    truth = np.concatenate([[0.0], 0.02 * np.exp(-((decades + 3) ** 2)) - 0.1 * np.maximum(0, decades + 2.5)])
    scores = 0.9 + truth[:, None] + noise * rng.standard_normal((n + 1, k))
    scores[:, seen:] = np.nan
    return scores


def test_first_cut_keeps_the_bump_and_parks_the_rest_with_evidence() -> None:
    now = standing(bump())
    decision = decide(now, 1)
    kept = now.decades[(decision.need == 2) & now.positive]
    assert 2 <= len(kept) <= 6
    assert np.all(np.abs(kept + 3) <= 1)
    why = decision.parked[0]
    assert (why.after, why.rival in range(17)) == (1, True)
    assert why.margin == pytest.approx(0.02, abs=0.012)
    assert why.basis == "on the smoothed curve", "which a margin of raw scores is not"
    assert "unlikely to beat the leader" in why.reason


def test_a_collapsed_neighbour_does_not_hide_the_bump_beside_the_cliff() -> None:
    scores = bump()
    scores[-3:, 0] = 0.1
    decision = decide(standing(scores), 1)
    assert decision.need[13] == 2  # λ/m = 1e-3, where the bump is
    assert {14, 15, 16} <= decision.parked.keys()


def test_a_failed_row_gets_no_more_folds() -> None:
    now = standing(bump())
    failed = np.zeros(18, dtype=bool)
    failed[[0, 13]] = True
    decision = decide(Standing(**{**vars(now), "failed": failed}), 1)
    assert decision.need[0] == decision.need[13] == 1
    assert 12 not in decision.parked


def test_a_parked_row_that_the_smoother_now_puts_first_is_resumed() -> None:
    scores = bump(seen=1)
    scores[:, 0] = 0.92
    scores[13, 0] = 0.95  # the best of the first fold was parked (by a rule that did not look at it, say) …
    going_on = [0, 5, 9]
    scores[going_on, 1] = 0.92  # … and those that went on are no better than the rest
    open_rows = np.isfinite(scores[:, 1])
    decision = decide(standing(scores, open_rows=open_rows), 2)
    assert decision.need[13] == 3


def test_a_hopeful_parked_row_gets_a_second_look_of_one_fold() -> None:
    scores = bump(seen=1, noise=0.0)
    scores[:, 0] = [0.92, *(0.92 + 0.001 * (-1) ** row for row in range(17))]
    scores[[0, 3, 9], 1] = 0.92
    decision = decide(standing(scores, open_rows=np.isfinite(scores[:, 1])), 2)
    looked_at = [row for row in range(18) if not np.isfinite(scores[row, 1]) and decision.need[row] == 2]
    assert len(looked_at) == 1


def test_last_look_completes_the_smoothers_best() -> None:
    scores = bump(k=4, seen=4, noise=0.0005)
    scores[1:, 1:] = np.nan
    scores[2] = 0.9  # some other λ is complete; the bump has one fold only
    decision = last_look(standing(scores), floor=FLOOR)
    assert decision.need[13] == 4
    assert decision.need.sum() <= np.isfinite(scores).sum() + 6


@pytest.mark.parametrize("fold", [1, 2, 3, 4])
def test_a_race_is_called_sure_from_the_third_fold_on(fold: int) -> None:
    decision = sure(standing(bump(seen=fold, noise=0.0002)), fold, 0.005, FLOOR)
    assert (decision is not None) == (fold >= 3)
    if decision:
        assert sorted(np.flatnonzero(decision.need == 5)) == [0, 13]
        assert len(decision.parked) == 16
        assert all("tolerance" in why.reason for why in decision.parked.values())


def test_a_race_is_not_sure_while_a_parked_lambda_may_still_win() -> None:
    scores = bump(seen=3, noise=0.0002)
    scores[1:6, 1:] = np.nan
    open_rows = np.isfinite(scores[:, 2])
    assert sure(standing(scores, open_rows=open_rows), 3, 0.005, FLOOR) is not None
    scores[3, 0] += 0.04  # parked after the first fold, although it was the best there
    assert sure(standing(scores, open_rows=open_rows), 3, 0.005, FLOOR) is None


@pytest.mark.parametrize("fold", [1, 2])
def test_one_lambda_alone_goes_on(fold: int) -> None:
    scores = np.full((2, 3), np.nan)
    scores[:, :fold] = 0.9
    decision = decide(standing(scores), fold)
    assert decision.need.tolist() == [fold + 1, fold + 1]
