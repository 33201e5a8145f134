"""The other λ's in words: from points that say how each of them stands."""

from __future__ import annotations

from dataclasses import replace

import pytest
from dossiers import dossier

from lamsearch import numerals, others, wording
from lamsearch.answer import Answer, CurvePoint, Interval

HELPS = dossier().answer
NOT_SHOWN = dossier(n_lams=17, bump=0.0).answer
HURTS = dossier(shift=-0.02, bump=0.0, noise=0.002).answer
STANDS = {"alike": (-0.01, 0.01), "worse": (-0.03, -0.01), "better": (0.01, 0.03)}


def point(lam: float, how: str = "alike", status: str = "complete", n: int = 5) -> CurvePoint:
    low, high = STANDS[how]
    return replace(
        HELPS.curve[1],
        **{"slot": int(10 * lam), "lam": lam, "status": status, "n_cells": n, "mean": 0.9, "in_range": how == "alike"},
        **{"difference": (low + high) / 2, "difference_low": low, "difference_high": high},
    )


def found(*points: CurvePoint, zero: str = "worse", best: float = 10.0) -> Answer:
    """An answer whose λ̂ is ``best``, with these other λ's."""
    own = replace(point(best), difference=0.0, difference_low=0.0, difference_high=0.0)
    curve = sorted([replace(point(0.0, zero), slot=-1), own, *points], key=lambda p: p.lam)
    members = [p.lam for p in curve if p.in_range and p.lam]
    ends = {"range_low": min(members), "range_high": max(members)}
    return replace(HELPS, slot=own.slot, lam=best, curve=tuple(curve), indistinguishable=tuple(members), **ends)


def test_whole_lambdas_come_first_then_those_that_cannot_be_ruled_out() -> None:
    whole = point(20.0), point(40.0, "worse"), point(0.5)
    few = point(0.1, status="pruned", n=1), point(80.0, status="pruned", n=2), point(90.0, "worse", "pruned", 1)
    assert others.how_sure(found(*whole, *few)) == (
        "Of the 3 other λ's measured on all folds, 2 cannot be told from it: 0.500 and 20.0 "
        "(95 % confidence, λ by λ). "
        "2 others, dropped after 1–2 folds, cannot be ruled out. "
        "In all 0.100–20.0, 80.0: this hardly pins λ down."
    )


@pytest.mark.parametrize(
    ("points", "said"),
    [
        ((), "No other λ has been measured on all folds."),
        ((point(20.0),), "The other λ measured on all folds, 20.0, cannot be told from it (95 % confidence). "),
        ((point(20.0, "worse"),), "The other λ measured on all folds, 20.0, does worse (95 % confidence)."),
        ((point(1.0), point(20.0)), "Both other λ's measured on all folds cannot be told from it: 1.00 and 20.0 "),
        ((point(1.0, "worse"), point(20.0, "worse")), "Both other λ's measured on all folds do worse "),
        ((point(1.0, "worse"), point(20.0)), "Of the 2 other λ's measured on all folds, 1 cannot be told from it"),
    ],
)
def test_counts_of_none_and_one_are_said_in_words_of_their_own(points: tuple[CurvePoint, ...], said: str) -> None:
    text = others.how_sure(found(*points))
    assert (text + " ").startswith(said)
    assert not any(f" {number} other" in text for number in (0, 1))


def test_of_many_whole_lambdas_runs_are_named() -> None:
    many = [point(10.0 + number, "worse" if number in (4, 7) else "alike") for number in range(1, 10)]
    text = others.how_sure(found(*many))
    assert text.startswith("Of the 9 other λ's measured on all folds, 7 cannot be told from it: 11.0–13.0, 15.0–16.0")


def test_what_failed_or_is_not_finished_was_not_dropped() -> None:
    text = others.how_sure(found(point(1.0, status="failed", n=2), point(20.0, status="running", n=3)))
    assert "1 other, failed after 2 folds, and 1 other, not finished, cannot be ruled out." in text
    assert "dropped" not in text


def test_what_scored_better_but_could_not_be_chosen_is_named() -> None:
    text = others.how_sure(found(point(1.0, "better", "pruned", 1)))
    assert "By more than the error, λ = 1.00 (1 fold) even scored better, but could not be chosen." in text
    assert "better" not in others.how_sure(found(point(1.0)))


def test_a_whole_lambda_that_scored_better_than_the_smoothed_curves_choice_is_not_said_to_be_worse() -> None:
    text = others.how_sure(found(point(1.0, "better"), point(20.0, "worse")))
    assert text.startswith("Of the 2 other λ's measured on all folds, 1 cannot be told from it: 1.00 ")
    assert "By more than the error, λ = 1.00 even scored better, which the smoothed curve does not bear out." in text


def test_before_any_lambda_has_all_folds_that_is_said() -> None:
    young = found(point(1.0, status="running", n=1))
    curve = tuple(replace(p, status="running", n_cells=1) if p.lam == 10 else p for p in young.curve)
    text = others.how_sure(replace(young, curve=curve, status="provisional"))
    assert text.startswith("No λ > 0 has been measured on all folds yet. 1 other, not finished, cannot be ruled out.")


def test_zero_is_mentioned_when_it_cannot_be_told_from_the_best() -> None:
    assert others.how_sure(found(zero="alike")).endswith("λ = 0 cannot be told from λ = 10.0 either.")
    assert "λ = 0" not in others.how_sure(found(zero="worse"))
    assert "λ = 0" not in others.how_sure(found(zero="better"))


def test_the_lede_leads_with_the_gain() -> None:
    assert HELPS.gain is not None
    said = f"The gain over λ = 0 is {numerals.span('accuracy', HELPS.gain)} (95 % interval). "
    assert others.lede(HELPS) == said + others.how_sure(HELPS)
    assert HURTS.gain is not None
    turned = Interval(mean=0.0, low=-HURTS.gain.high, high=-HURTS.gain.low)
    assert others.lede(HURTS).startswith(f"λ = 0 is better by {numerals.span('accuracy', turned)} (95 % interval). ")
    assert others.lede(replace(HELPS, gain=None)) == others.how_sure(HELPS)


def test_the_lede_does_not_repeat_what_the_headline_says() -> None:
    assert NOT_SHOWN.gain is not None
    shown = numerals.span("accuracy", NOT_SHOWN.gain)
    for matters in (True, False):
        case = replace(NOT_SHOWN, matters=matters)
        assert (wording.headline(case) + others.lede(case)).count(shown) == 1


def test_the_range_is_printed_as_it_lies_with_its_holes() -> None:
    assert (
        others.spread(found(point(0.1), point(0.2), point(1.0, "worse"), point(30.0, "worse"))) == "0.100–0.200, 10.0"
    )
    many = [point(float(n), "alike" if n % 2 else "worse") for n in range(11, 31)]
    assert others.spread(found(*many)) == "10.0–29.0 with 9 gaps"


@pytest.mark.parametrize(
    ("lam", "said"),
    [
        (1700.0, "this hardly pins λ down"),
        (31.4, "they span a factor of 3.1"),
        (20.0, "they span a factor of 2"),
    ],
)
def test_how_well_lambda_is_pinned_down(lam: float, said: str) -> None:
    text = others.how_sure(found(point(lam)))
    assert text.endswith(f"{said[0].upper()}{said[1:]}.")
    assert "In all" not in text, "the range has been named"
    few = others.how_sure(found(point(lam, status="pruned", n=1)))
    assert few.endswith(f"In all 10.0–{numerals.lam(lam)}: {said}.")


def test_dropped_lambdas_that_all_do_worse_are_said_to() -> None:
    worse = point(20.0, "worse", "pruned", 1), point(30.0, "worse", "pruned", 2)
    assert "The 2 without all folds do worse." in others.how_sure(found(*worse))
    assert "The one without all folds does worse." in others.how_sure(found(worse[0]))
    assert "do worse" not in others.how_sure(found(*worse, point(40.0, status="pruned", n=1)))


def test_where_zero_is_better_it_is_said_as_well_as_what() -> None:
    hurts = replace(found(point(20.0), point(1.0), zero="better"), verdict="hurts")
    assert "cannot be told from λ = 10.0" in others.how_sure(hurts)


def test_what_has_no_score_may_lie_between_so_no_factor_is_named() -> None:
    unknown = replace(point(15.0, status="pruned", n=0), mean=None, in_range=False)
    assert "factor" in others.how_sure(found(point(20.0)))
    assert "factor" not in others.how_sure(found(point(20.0), unknown))


def test_where_nothing_was_learnt_no_lambda_is_compared() -> None:
    nothing = replace(found(point(20.0)), above_chance=False, chance=0.1)
    assert others.how_sure(nothing) == (
        "Where nothing is learnt, λ's cannot be compared: change the learning rate, or train longer."
    )
