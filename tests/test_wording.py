"""The sentences: each verdict in its own words, from the answer's numbers alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from dossiers import dossier

from lamsearch import changes, fates, numerals, wording
from lamsearch.answer import Answer, Interval
from lamsearch.records import FitKey, Parked
from tests.score_worlds import answer, lams, slots_at

HELPS = dossier().answer
NOT_SHOWN = dossier(n_lams=17, bump=0.0).answer
NO_MATTER = dossier(bump=0.0, cliff=10.0, noise=0.003).answer
HURTS = dossier(shift=-0.02, bump=0.0, noise=0.002).answer


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (62.345, "62.3"), (1.1812e-3, "1.18e-3"), (0.01, "0.0100"), (1583.04, "1,583"), (2.5e7, "2.50e7")],
)
def test_lambda_has_three_digits(value: float, text: str) -> None:
    assert numerals.lam(value) == text


def test_numbers_that_are_not_known_are_dashes() -> None:
    assert {numerals.lam(float("nan")), numerals.level("accuracy", None), numerals.percent(None)} == {"–"}
    assert {numerals.change("accuracy", float("inf")), numerals.duration(float("nan"))} == {"–"}


def test_accuracies_are_percent_and_their_differences_points() -> None:
    assert numerals.level("accuracy", 0.9512) == "95.12 %"
    assert numerals.change("accuracy", -0.0081) == "−0.81 pp"
    assert numerals.span("accuracy", Interval(mean=0.0, low=-0.003, high=0.0132)) == "−0.30 to +1.32 pp"


def test_of_log_loss_it_is_said_that_plus_is_better() -> None:
    assert "; + is better): it helps" in wording.gain(replace(HELPS, metric="log_loss"))
    assert "+ is better" not in wording.gain(HELPS)


def test_log_loss_is_shown_as_itself_and_a_gain_is_still_above_zero() -> None:
    assert numerals.level("log_loss", -0.25) == "0.2500"
    assert numerals.change("log_loss", 0.01) == "+0.0100"


@pytest.mark.parametrize(("seconds", "text"), [(8.44, "8.4 s"), (132.0, "2 min 12 s"), (11_100.0, "3 h 05 min")])
def test_durations(seconds: float, text: str) -> None:
    assert numerals.duration(seconds) == text


def test_every_verdict_has_its_own_words() -> None:
    assert [answer.verdict for answer in (HELPS, NOT_SHOWN, NO_MATTER, HURTS)] == [
        "helps",
        "not_shown",
        "not_shown",
        "hurts",
    ]
    assert wording.headline(HELPS) == f"Regularisation helps. Use λ = {numerals.lam(HELPS.lam)}."
    assert wording.headline(NOT_SHOWN).startswith("A gain over λ = 0 is not shown.")
    assert wording.headline(NO_MATTER).startswith("λ does not matter here")
    assert "(95 % interval): less than 1 pp either way." in wording.headline(NO_MATTER)
    as_good = replace(NOT_SHOWN, gain=Interval(mean=-0.001, low=-0.02, high=0.018))
    assert "Use λ = 0: it scores at least as well as the best λ > 0 found" in wording.headline(as_good)
    assert wording.headline(HURTS).startswith("Regularisation hurts here. Use λ = 0;")


def test_a_provisional_answer_says_so_far() -> None:
    answer = replace(HELPS, status="provisional", test=None)
    assert wording.headline(answer).startswith("So far: ")
    assert "not measured yet" in wording.terminal(answer)
    assert changes.would_change(answer)[0].startswith("The search is not over")


def test_without_a_baseline_nothing_is_claimed() -> None:
    answer = replace(HELPS, gain=None, detectable_gain=None, verdict="not_shown", helps=False)
    assert "unknown" in wording.headline(answer)
    assert wording.gain(answer).startswith("unknown")


def test_not_shown_names_the_gain_that_would_have_been_seen() -> None:
    assert NOT_SHOWN.detectable_gain is not None
    shown = f"a true gain of {100 * NOT_SHOWN.detectable_gain:.2f} pp is shown in four of five such studies"
    assert shown in wording.gain(NOT_SHOWN)
    assert "four of five" not in wording.gain(HELPS)


def test_lambda_does_not_matter_unless_larger_ones_are_told_to_be_worse() -> None:
    level = {"in_range": True, "difference_low": -0.001, "difference_high": 0.001}
    fine = replace(NO_MATTER, curve=tuple(replace(point, **level) for point in NO_MATTER.curve))
    assert wording.headline(fine).startswith("λ does not matter here. ")
    top = fine.curve[-1]
    above = replace(top, lam=2 * top.lam, in_range=False, difference_low=0.001, difference_high=0.003)
    better = replace(fine, curve=(*fine.curve, above))
    assert wording.headline(better).startswith("λ does not matter here. ")
    worse = replace(above, difference_low=-0.003, difference_high=-0.001)
    harmful = replace(fine, curve=(*fine.curve, worse))
    assert wording.headline(harmful).startswith("λ does not matter here, unless it is too large. ")


def test_lam_1se_says_when_no_larger_lambda_could_be_chosen() -> None:
    same = replace(HELPS, lam_1se=HELPS.lam)
    alone = replace(same, curve=tuple(p for p in HELPS.curve if p.status != "complete" or p.lam <= HELPS.lam))
    assert wording.one_se(alone).endswith("the same: no larger λ was measured on all folds")
    assert "no larger" not in wording.one_se(HELPS)


def test_where_regularising_hurts_lam_1se_is_no_recommendation() -> None:
    assert wording.one_se(HURTS).endswith("of the best λ > 0, not of λ = 0")
    assert "not of λ = 0" not in wording.one_se(HELPS)


def test_a_second_look_at_the_test_set_is_counted() -> None:
    assert HELPS.test is not None
    again = replace(HELPS, test=replace(HELPS.test, looks=2))
    assert "look no. 2" in wording.test(again)
    assert "look" not in wording.test(HELPS)


def test_dropped_lambdas_name_their_rival_or_their_reason() -> None:
    parked = Parked(slot=3, after=1, rival=7, margin=0.0209, reason="behind others")
    assert fates.parked("accuracy", parked, "λ = 127") == "dropped after 1 fold, 2.09 pp behind λ = 127"
    smoothed = replace(parked, basis="on the smoothed curve")
    assert fates.parked("accuracy", smoothed, "λ = 127") == (
        "dropped after 1 fold, 2.09 pp behind λ = 127 on the smoothed curve"
    )
    stopped = Parked(slot=3, after=0, rival=None, margin=None, reason="below the median at epoch 4")
    assert fates.parked("accuracy", stopped, "") == "dropped: below the median at epoch 4"


def test_what_became_of_a_lambda_counts_its_collapsed_folds() -> None:
    point = next(p for p in HELPS.curve if p.status == "pruned")
    said = fates.fate(HELPS, replace(point, n_cells=2, collapsed=1))
    assert said == f"{fates.fate(HELPS, point)}; collapsed on 1 of 2 folds"
    assert "collapsed" not in fates.fate(HELPS, point)


def test_the_terminal_block_holds_the_whole_answer() -> None:
    text = wording.terminal(HELPS)
    for label, fact in wording.facts(HELPS):
        assert label in text
        assert fact in text
    assert "125 of 255 fold fits (49 %)" in text


def test_no_line_of_the_terminal_block_has_control_characters() -> None:
    assert all(character.isprintable() or character == "\n" for character in wording.terminal(NOT_SHOWN))


def test_the_cost_counts_epochs_that_left_no_score() -> None:
    answer = dossier(n_lams=17).answer
    plain = wording.cost(answer)
    spent = replace(answer.budget, epochs=300, epochs_full=900, stopped_epochs=40)
    assert "epochs" not in plain
    assert (
        wording.cost(replace(answer, budget=spent))
        == f"{plain}; 33 % of the epochs, with those of λ's dropped on the way"
    )


def collapsed(found: Answer, folds: dict[int, int]) -> Answer:
    """``found`` with so many folds of each slot collapsed."""
    return replace(found, curve=tuple(replace(p, collapsed=folds.get(p.slot, 0)) for p in found.curve))


def test_training_that_collapsed_everywhere_is_no_answer() -> None:
    everywhere = collapsed(HELPS, {-1: 5, HELPS.slot: 5})
    assert "Nothing was learnt" in wording.headline(everywhere)
    largest = max(HELPS.curve, key=lambda p: p.lam)
    assert wording.headline(collapsed(HELPS, {largest.slot: largest.n_cells})) == wording.headline(HELPS)


def test_one_collapsed_fold_leaves_the_verdict() -> None:
    assert wording.headline(collapsed(HELPS, {HELPS.slot: 4})) == wording.headline(HELPS)
    assert wording.headline(collapsed(HURTS, {HURTS.slot: 1})) == wording.headline(HURTS)


def test_where_only_regularised_training_collapsed_zero_is_still_recommended() -> None:
    said = wording.headline(collapsed(HURTS, {HURTS.slot: 5}))
    assert said.startswith("Regularisation hurts here: every λ tried (λ/m from ")
    assert said.endswith("is too strong to learn. Use λ = 0.")


def test_a_small_lambda_that_learnt_but_could_not_be_chosen_is_not_called_too_strong() -> None:
    case = collapsed(HURTS, {HURTS.slot: 5})
    small = next(point for point in case.curve if point.lam > 0 and point.slot != case.slot)
    learns = replace(small, status="failed", mean=0.9, difference=0.5, difference_low=0.4, difference_high=0.6)
    curve = tuple(learns if point.slot == small.slot else point for point in case.curve)
    said = wording.headline(replace(case, curve=curve))
    assert "every λ tried" not in said
    assert said.startswith("Regularisation hurts here. Use λ = 0; even at the best λ > 0 measured on all folds, ")


def test_earlier_looks_at_the_test_images_are_told() -> None:
    grown = replace(HELPS, test=None, status="provisional")
    assert "looked at" not in wording.test(grown)
    assert wording.test(replace(grown, looked=1)).endswith("(they have been looked at once before)")
    assert wording.test(replace(grown, looked=2)).endswith("(they have been looked at 2 times before)")


def test_nothing_was_learnt_if_the_best_score_is_chance() -> None:
    said = wording.headline(replace(NO_MATTER, above_chance=False, chance=0.1))
    assert said.startswith(
        "Nothing was learnt: the accuracy is not shown to be better than chance (10.00 %) even at the "
    )
    assert "does not matter" not in said


def test_an_answer_that_time_cut_short_says_so_first() -> None:
    short = replace(HELPS, budget=replace(HELPS.budget, unfinished=16, trials=17))
    said = "Time was up, with 16 of 17 λ's unfinished. So far: "
    assert wording.headline(short).startswith(said + "Regularisation helps.")
    harmless = wording.headline(replace(NO_MATTER, budget=short.budget))
    assert harmless.startswith(said + "λ = ")
    assert "does not matter" not in harmless, "most λ's are unknown"


def test_a_change_of_log_loss_says_what_it_is_of_and_which_sign_is_better() -> None:
    said = wording.headline(replace(NO_MATTER, metric="log_loss"))
    assert "changes the log loss by" in said
    assert "(95 % interval; + is better)" in said


def test_a_loss_that_cannot_be_ruled_out_matters() -> None:
    """A gain that is small at best is no reason to call λ harmless: the loss may be large."""
    slots = slots_at(lams(3))
    rng = np.random.default_rng(0)
    keys = [FitKey(slot, 0, fold) for slot in (-1, 0, 1, 2) for fold in range(5)]
    scores = {key: 0.9 - 0.015 * (key.slot >= 0) + 0.008 * rng.standard_normal() for key in keys}
    found = answer(slots, scores)
    assert found.gain is not None
    assert found.gain.low < -0.01
    assert found.matters


def test_a_provisional_answer_from_partial_folds_claims_no_ends_and_says_how_many_folds() -> None:
    found = answer(slots_at(lams(3)), {FitKey(-1, 0, 0): 0.9, FitKey(1, 0, 0): 0.92})
    said = wording.terminal(found)
    assert found.edges == ()
    assert "from 1 of 5 folds" in said
    assert "No λ > 0 has been measured on all folds yet." in said


def test_no_change_has_no_minus_sign() -> None:
    assert numerals.change("accuracy", -1e-9) == "+0.00 pp"
